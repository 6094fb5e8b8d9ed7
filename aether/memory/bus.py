"""Every stored commit, on every node, in stream order: `EventBus`.

A subscription is a cursor over the stream; the server's notice is only a doorbell. So a dropped notice delays what it
told of until the next one or the rescan, and can neither lose it nor change the order.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence

from aether.errors import UnreadableEvent
from aether.memory.faults import Dropped, FaultPoint, Late
from aether.memory.link import Link
from aether.names import shard_of
from aether.ports import EventStored, StoredCommit
from aether.wire import decode_commit

log = logging.getLogger("aether.memory")

RESCAN_S = 5.0
"""How long after a dropped notice the stream is looked through without one."""


class InMemoryEventBus:
    """The broadcast of a namespace, as one node receives it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def subscribe(
        self, receive: Callable[[StoredCommit], None], *, kind: str | None = None, key: str | None = None
    ) -> "StreamCursor":
        """Deliver commits stored from now on, of all actors, of one kind, or of one actor."""

        def select(commit: StoredCommit) -> None:
            if kind in (None, commit.actor_id.kind) and key in (None, commit.actor_id.key):
                receive(commit)

        return StreamCursor(self._link, select)

    async def follow_shards(self, shards: Sequence[int], receive: Callable[[StoredCommit], None]) -> "ShardFollower":
        """Deliver the commits of some shards as they are stored; what is lost on the way is not made up for."""
        return ShardFollower(self._link, frozenset(shards), receive)

    async def subscribe_to_event_stored(self, receive: Callable[[EventStored], None]) -> "StreamCursor":
        """Deliver a notice for each commit stored from now on; one that is no commit is logged and gives none."""
        return StreamCursor(self._link, lambda commit: _notify(commit, receive))


class StreamCursor:
    """A subscription to a namespace's stream, from the position where it is now."""

    def __init__(self, link: Link, receive: Callable[[StoredCommit], None]) -> None:
        self._link = link
        self._receive = receive
        self._commits = link.space.commits
        self._seen = len(self._commits)
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        link.space.append_listeners[self._ring] = None
        link.on_up[self._catch_up] = None

    async def stop(self) -> None:
        """End it; what was stored before has been received. Idempotent."""
        self._catch_up()
        self._stopped = True
        self._link.space.append_listeners.pop(self._ring, None)
        self._link.on_up.pop(self._catch_up, None)

    def _ring(self) -> None:
        if not self._link.up:
            return
        match self._link.fault(FaultPoint.NOTICE):
            case Late(delay_s):
                self._link.clock.call_after(delay_s, self._catch_up)
            case Dropped():
                self._link.clock.call_after(RESCAN_S, self._catch_up)
            case _:
                self._loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        while self._link.up and not self._stopped and self._seen < len(self._commits):
            self._seen += 1
            self._receive(self._commits[self._seen - 1])


class ShardFollower:
    """The commits of some shards in order, without a cursor: a dropped one is gone, as is all that a break misses."""

    def __init__(self, link: Link, shards: frozenset[int], receive: Callable[[StoredCommit], None]) -> None:
        self._link = link
        self._shards = shards
        self._receive = receive
        self._arrived: deque[StoredCommit] = deque()
        self._loop = asyncio.get_running_loop()
        link.space.append_listeners[self._ring] = None
        link.on_down[self._arrived.clear] = None

    async def stop(self) -> None:
        """End it; what had arrived has been received. Idempotent."""
        self._hand_over()
        self._link.space.append_listeners.pop(self._ring, None)
        self._link.on_down.pop(self._arrived.clear, None)

    def _ring(self) -> None:
        commit = self._link.space.commits[-1]
        if not self._link.up or shard_of(commit.actor_id, self._link.shards) not in self._shards:
            return
        fault = self._link.fault(FaultPoint.NOTICE)
        if isinstance(fault, Dropped):
            return
        self._arrived.append(commit)
        if isinstance(fault, Late):
            self._link.clock.call_after(fault.delay_s, self._hand_over)
        else:
            self._loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        while self._arrived:
            self._receive(self._arrived.popleft())


def _notify(commit: StoredCommit, receive: Callable[[EventStored], None]) -> None:
    try:
        version = decode_commit(commit.payload, commit.actor_id, commit.position)[-1].version
    except UnreadableEvent as error:
        log.warning("a stored message is no commit", extra={"actor": error.actor, "position": error.position})
        return
    receive(EventStored(commit.actor_id, version, commit.position))
