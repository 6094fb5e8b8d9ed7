"""Histories in memory: `EventStore`, with the version cache that notices keep current.

The server's step decides, the link's fault decides what the writer learns of it. Never decodes a commit but the last
one that a version is asked of.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import datetime

from aether.aio import set_once
from aether.errors import InvalidCommand, Unavailable, UnreadableEvent
from aether.ids import ActorId, Position, Version
from aether.memory.faults import Disconnected, Fault, FaultPoint, Late, Lost, StoredLater, StoredUnknown
from aether.memory.link import Link, Waiter
from aether.ports import (
    START,
    Append,
    AppendOutcome,
    Committed,
    EventBus,
    EventStored,
    StoredCommit,
    Subscription,
    Unknown,
)
from aether.wire import Event, decode_commit, encode_commit

NO_ACKNOWLEDGEMENT = Unknown("no acknowledgement")

TOGETHER_MAX = 1_000
"""As on a server, so that what is simulated here groups as it does there."""

READ_ROUNDS_MAX = 5
"""How often a read that a stale replica cut short is taken up again."""


class InMemoryEventStore:
    """The histories of a namespace, as one node sees them."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._space = link.space
        self._versions: dict[ActorId, Version] = {}
        self._following = False
        link.on_down[self._versions.clear] = None

    @property
    def commit_bytes_max(self) -> int:
        """Largest payload of one commit, in bytes."""
        return self._link.payload_bytes_max

    def publish(
        self, actor_id: ActorId, payload: bytes, expected: Position, done: Callable[[AppendOutcome], None]
    ) -> None:
        """Append a commit; `done` gets the outcome from the event loop, or at once when nothing can be sent."""
        fault = self._link.fault(FaultPoint.APPEND)
        if not self._link.up:
            done(Unknown("the connection was lost" if isinstance(fault, Disconnected) else "not connected"))
        elif len(payload) > self.commit_bytes_max:
            done(Unknown(f"{len(payload)} bytes are more than a message holds"))
        else:
            self._send(fault, lambda: self._store(actor_id, payload, expected), done)

    def _send(
        self, fault: Fault | None, store: Callable[[], AppendOutcome], done: Callable[[AppendOutcome], None]
    ) -> None:
        waiter: Waiter[AppendOutcome] = Waiter(self._link, done, broken=Unknown("the connection was lost"))
        clock, soon = self._link.clock, asyncio.get_running_loop().call_soon
        match fault:
            case Late(delay_s):
                outcome = store()
                clock.call_after(delay_s, lambda: waiter.resolve(outcome))
            case StoredUnknown():
                store()
                soon(waiter.resolve, NO_ACKNOWLEDGEMENT)
            case StoredLater(delay_s):
                clock.call_after(delay_s, store)
                soon(waiter.resolve, NO_ACKNOWLEDGEMENT)
            case Lost():
                soon(waiter.resolve, NO_ACKNOWLEDGEMENT)
            case _:
                soon(waiter.resolve, store())

    @property
    def together_max(self) -> int:
        """Any number; nothing is gained by it here."""
        return TOGETHER_MAX

    def publish_together(self, appends: Sequence[Append]) -> None:
        """`publish` for each."""
        for append in appends:
            self.publish(append.actor_id, append.payload, append.expected, append.done)

    async def appends_refused(self) -> str:
        """Why an append would be refused now, or "". Raises `Unavailable`."""
        return await self._link.call(FaultPoint.LAST, lambda _: self._space.refusal)

    async def append(self, actor_id: ActorId, events: Sequence[Event], expected: Position) -> AppendOutcome:
        """`publish` for events, awaited. Raises `InvalidCommand` when they are over `commit_bytes_max` or none."""
        if not events:
            raise InvalidCommand("a commit holds at least one event", path="events")
        payload = encode_commit(events)
        if len(payload) > self.commit_bytes_max:
            text = f"a commit is at most {self.commit_bytes_max} bytes, this is {len(payload)}"
            raise InvalidCommand(text, path="events")
        outcome: asyncio.Future[AppendOutcome] = asyncio.get_running_loop().create_future()
        self.publish(actor_id, payload, expected, lambda result: set_once(outcome, result))
        return await outcome

    async def read(
        self, actor_id: ActorId, after: Position = START, until: Position | None = None
    ) -> AsyncIterator[StoredCommit]:
        """Commits after a position, complete up to `until`; raises `Unavailable` when that is not reached."""
        if until is None:
            last = await self.last(actor_id)
            until = last.position if last else START
        for _ in range(READ_ROUNDS_MAX):
            if after >= until:
                return
            seen = await self._link.call(FaultPoint.READ, self._reader(actor_id, after))
            reached = bool(seen) and seen[-1].position >= until
            for commit in seen:
                if commit.position <= until:
                    yield commit
                    after = commit.position
            if reached:
                return
        if after < until:
            raise Unavailable(f"the history of {actor_id} was not read up to position {until}")

    async def read_batches(self, actor_id: ActorId, after: Position) -> AsyncIterator[list[StoredCommit]]:
        """Commits after a position, one at a time, complete up to the last one now. Raises `Unavailable`."""
        async for commit in self.read(actor_id, after):
            yield [commit]

    async def read_stream(
        self, after: Position, until: Position, *, kind: str | None = None, key: str | None = None
    ) -> AsyncIterator[list[StoredCommit]]:
        """The commits of all actors, of one kind, or of one actor between two positions, one at a time."""
        for commit in await self._link.call(FaultPoint.READ, lambda _: self._space.commits[after:until]):
            if kind in (None, commit.actor_id.kind) and key in (None, commit.actor_id.key):
                yield [commit]

    async def search_stream(
        self, after: Position, until: Position, having: bytes
    ) -> AsyncIterator[tuple[Position, list[StoredCommit]]]:
        """The commits of all actors between two positions that hold these bytes."""
        found = await self._link.call(FaultPoint.READ, lambda _: self._space.commits[after:until])
        yield until, [commit for commit in found if having in commit.payload]

    async def positions_since(self, time: datetime) -> tuple[Position, Position]:
        """The position before the first commit of this time or later, by its events, and the last one."""
        commits = await self._link.call(FaultPoint.READ, lambda _: self._space.commits)
        last = Position(len(commits))
        for commit in commits:
            with suppress(UnreadableEvent):  # one that a test has spoilt has no time
                if decode_commit(commit.payload, commit.actor_id, commit.position)[-1].time >= time:
                    return Position(commit.position - 1), last
        return last, last

    async def last_position(self) -> Position:
        """The position of the stream's last commit. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.LAST, lambda _: Position(len(self._space.commits)))

    async def last(self, actor_id: ActorId) -> StoredCommit | None:
        """The actor's last commit. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.LAST, lambda _: self._space.last(actor_id))

    async def keys(self, kind: str, shard: int) -> list[str]:
        """The keys of a kind's actors of one shard that have a history. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.LAST, lambda _: self._space.keys(kind, shard))

    async def actors(self, shard: int) -> list[ActorId]:
        """The actors of all kinds of one shard that have a history. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.LAST, lambda _: self._space.actors(shard))

    async def latest_version(self, actor_id: ActorId) -> Version:
        """The actor's version: from the cache while `follow` keeps it, else from its last commit."""
        if actor_id not in self._versions:
            last = await self.last(actor_id)
            version = decode_commit(last.payload, actor_id, last.position)[-1].version if last else Version(0)
            if not self._following:
                return version
            self._remember(actor_id, version)
        return self._versions[actor_id]

    async def follow(self, bus: EventBus) -> Subscription:
        """Keep the version cache current by the stored-event notices of `bus`, until stopped."""
        subscription = await bus.subscribe_to_event_stored(self._announced)
        self._following = True
        return _CacheFollow(subscription, self._unfollow)

    def _store(self, actor_id: ActorId, payload: bytes, expected: Position) -> AppendOutcome:
        outcome = self._space.append(actor_id, payload, expected)
        if isinstance(outcome, Committed):
            self._versions.pop(actor_id, None)
        return outcome

    def _reader(self, actor_id: ActorId, after: Position) -> Callable[[bool], list[StoredCommit]]:
        def seen(stale: bool) -> list[StoredCommit]:
            commits = self._space.after(actor_id, after)
            return commits[:-1] if stale else commits

        return seen

    def _announced(self, notice: EventStored) -> None:
        self._remember(notice.actor_id, notice.version)

    def _remember(self, actor_id: ActorId, version: Version) -> None:
        self._versions[actor_id] = max(version, self._versions.get(actor_id, version))

    def _unfollow(self) -> None:
        self._following = False
        self._versions.clear()


class _CacheFollow:
    def __init__(self, subscription: Subscription, unfollow: Callable[[], None]) -> None:
        self._subscription = subscription
        self._unfollow = unfollow

    async def stop(self) -> None:
        self._unfollow()
        await self._subscription.stop()
