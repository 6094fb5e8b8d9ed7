"""The shards that a runtime serves: the subscriptions of each. Machines are not its business.

It runs on the event loop. A shard's subscriptions end in the reverse order of their beginning: what is stored is
followed as long as a command can come.
"""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from aether.ports import Connection, Subscription
from aether.runtime.router import Router

log = logging.getLogger("aether.runtime")


class ServedShards:
    """Subscriptions by shard. `follow_stored`: also to events that other writers store."""

    def __init__(
        self,
        connection: Connection,
        router: Router,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        *,
        follow_stored: bool,
    ) -> None:
        self._connection = connection
        self._router = router
        self._spawn = spawn
        self._follow_stored = follow_stored
        self._subscriptions: dict[int, list[Subscription]] = {}

    @property
    def shards(self) -> list[int]:
        """Those that have subscriptions now."""
        return list(self._subscriptions)

    async def serve(self, shard: int) -> None:
        """Subscribe to the shard's commands. Raises `Unavailable`, and then nothing of it is left."""
        subscriptions = self._subscriptions.setdefault(shard, [])
        connection, router = self._connection, self._router
        try:
            if self._follow_stored:
                subscriptions.append(await connection.bus.follow_shards([shard], router.stored))
            subscriptions.append(await connection.transport.serve(shard, router.receive))
        except BaseException:
            self.abandon(shard)
            raise

    async def leave(self, shard: int, delivered: Callable[[], None]) -> None:
        """End the shard's subscriptions; what had reached them has been delivered, and `delivered` takes it then."""
        subscriptions = self._subscriptions.get(shard, [])
        for subscription in reversed(subscriptions):
            await _stop(subscription)
        delivered()
        if self._subscriptions.get(shard) is subscriptions:  # cancelled, it leaves them to `abandon`
            del self._subscriptions[shard]

    def abandon(self, shard: int) -> None:
        """End the shard's subscriptions in the background."""
        for subscription in self._subscriptions.pop(shard, ()):
            self._spawn(_stop(subscription))


async def _stop(subscription: Subscription) -> None:
    try:
        await subscription.stop()
    except Exception:
        log.exception("a subscription did not stop cleanly")
