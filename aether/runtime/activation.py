"""What a machine waits for: its replay, with retries, and a user's asynchronous handler, with its deadline.

The coroutines of virtual machines and their turns. The rest of both is plain calls, which can be compiled; a coroutine
with `try` or `with` around an `await` must not be (docs/decisions.md).
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

from aether.errors import Unavailable
from aether.ids import ActorId, Version
from aether.model.definition import ActorType, Scope
from aether.runtime.fold import Fold
from aether.runtime.host import Host


class Replaying(Scope, Protocol):
    """A machine whose history is read."""

    actor_id: ActorId
    actor_type: ActorType

    @property
    def stopped(self) -> bool:
        """Whether the machine has ended meanwhile."""
        ...

    @property
    def seen(self) -> int:
        """The latest position that was heard of and not applied."""
        ...

    def still_wanted(self, why: Unavailable) -> bool:
        """Whether somebody still waits: then the history is read again."""
        ...

    def replayed(self, fold: Fold, snapshot_version: Version, seen: int, took_s: float) -> None:
        """Go on with this fold. `seen` is what had been heard of when the read began. Raises `HistoryRegressed`."""
        ...

    def failed(self, error: Exception) -> None:
        """The history cannot be folded."""
        ...


async def replay(machine: Replaying, host: Host, delay_s: float) -> None:
    """Replay until it succeeds, or nobody waits any more, or the history says that it cannot."""
    attempt = 0
    while True:
        if delay_s:
            await asyncio.sleep(delay_s)
        try:
            async with host.activations:
                started_s, seen = host.clock.boot_s(), machine.seen
                fold, version = await host.replayer.replay(machine.actor_id, machine.actor_type, machine)
            machine.replayed(fold, version, seen, host.clock.boot_s() - started_s)
            return
        except Unavailable as error:
            if not machine.still_wanted(error):
                return
            delay_s = host.retry_delay_s(attempt)
            attempt += 1
        except Exception as error:  # whatever it is, everybody who waits hears of it
            machine.failed(error)
            return


async def bounded(result: Awaitable[Any], limit: asyncio.Timeout) -> Any:
    """The result of a handler, unless the limit comes first."""
    async with limit:
        return await result
