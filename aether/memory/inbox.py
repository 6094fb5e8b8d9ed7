"""The stream of tells in memory: `Inbox`. A list, whose indices are the sequences."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from aether.core.relay_mark import Place, decode_place
from aether.errors import InvalidCommand, Unavailable
from aether.ids import ActorId, Position
from aether.memory.faults import Dropped, FaultPoint, Late, Lost, StoredLater
from aether.memory.link import Link
from aether.memory.server import GONE, InboxEntry
from aether.names import CLIENT_SOURCE, Names, shard_of
from aether.ports import (
    SENDING_BYTES_MAX,
    Hear,
    HearCommits,
    InboxBatch,
    InboxMessage,
    InboxSize,
    NotSent,
    StoredCommit,
    Subscription,
    WentBack,
)
from aether.sends import SENDS_MARK
from aether.tells import check_same_tell
from aether.wire import told_and_done

TELLS_AT_ONCE = 256
RELAYS_AT_ONCE = 64

M = TypeVar("M")


class InMemoryInbox:
    """The tells of a namespace, as one node sees them."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._space = link.space
        self._names = Names(link.namespace, link.shards)
        self.relays_at_once = RELAYS_AT_ONCE
        self.scan_again_s = 0.0
        self._generation = 0
        self._claims: dict[int, tuple[int, int]] = {}
        link.on_down[self._broken] = None

    def _broken(self) -> None:
        self._generation += 1

    def on_connected(self, connected: Callable[[], None]) -> Callable[[], None]:
        """Call this when the connection is back, until what is returned is called."""
        self._link.on_up[connected] = None
        return lambda: self._link.on_up.pop(connected, None)

    @property
    def tell_bytes_max(self) -> int:
        """Largest tell, in bytes."""
        return self._link.payload_bytes_max

    @property
    def epoch(self) -> int:
        """What was read is never gone."""
        return 0

    async def went_back(self) -> WentBack | None:
        """Nothing is lost."""
        return None

    async def commands_done(self, actor_id: ActorId, command_ids: set[str], after: Position) -> set[str]:
        """Which of these commits of the actor after a position say to be done. Raises `Unavailable`."""

        def read(_: bool) -> set[str]:
            commits = [one for one in self._space.commits[after:] if one.actor_id == actor_id]
            done = (told_and_done(one.payload, actor_id, one.position) for one in commits)
            return set().union(*done) & command_ids

        return await self._link.call(FaultPoint.TELL_READ, read)

    async def relay_mark(self, shard: int) -> InboxMessage | None:
        """The shard's relay mark. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.TELL_READ, lambda _: self._last(self._names.relay_mark(shard)))

    async def claim_relay(self, shard: int, payload: bytes, expected: int) -> int | None:
        """The new mark's sequence, or None when the last one is not at `expected`. Raises `Unavailable`."""
        subject, generation = self._names.relay_mark(shard), self._generation
        sequence = await self._write(subject, payload, (subject, expected))
        if sequence is not None:
            self._claims[shard] = (sequence, generation)
        return sequence

    async def move_relay_mark(self, shard: int, payload: bytes, mark: int) -> int | None:
        """The new mark's sequence, or None when ours, at `mark`, is not the last one. Raises `Unavailable`."""
        if self._claims.get(shard) != (mark, self._generation):
            return None
        return await self.claim_relay(shard, payload, mark)

    async def relay(self, target: int, source: int, payload: bytes, mark: int) -> int | None:
        """Store a tell: its sequence, or None when the source's mark is not at `mark`. Raises `Unavailable`."""
        return await self._relay(self._names.tell(target, source), source, payload, mark)

    async def relay_task(self, task: str, source: int, payload: bytes, mark: int) -> int | None:
        """Store the start of a task: its sequence, or None; as `relay`. Raises `Unavailable`."""
        return await self._relay(self._names.task(task, source), source, payload, mark)

    async def _relay(self, subject: str, source: int, payload: bytes, mark: int) -> int | None:
        if self._claims.get(source) != (mark, self._generation):
            return None
        return await self._write(subject, payload, (self._names.relay_mark(source), mark))

    async def relayed(self, source: int, after: int, mark: int) -> list[tuple[int, Place]]:
        """The tells and task starts from a shard that stand before its mark. Raises `Unavailable`."""

        def read(_: bool) -> list[tuple[int, Place]]:
            if self._space.last_tell(self._names.relay_mark(source)) < mark:
                raise Unavailable("the mark is gone")
            return [
                (sequence, decode_place(entry.payload))
                for sequence, entry in enumerate(self._space.tells[after : mark - 1], after + 1)
                if self._names.is_sent(entry.subject) and entry.subject.endswith(f".{source}")
            ]

        return await self._link.call(FaultPoint.TELL_READ, read)

    async def end_of_commits(self) -> Position:
        """The last position. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.TELL_READ, lambda _: Position(len(self._space.commits)))

    async def commits_that_send(self, shard: int, after: Position, until: Position) -> list[StoredCommit]:
        """The commits of a shard that send something. Raises `Unavailable`."""

        def read(_: bool) -> list[StoredCommit]:
            found, size = list[StoredCommit](), 0
            for commit in self._space.commits[after:until]:
                if shard_of(commit.actor_id, self._names.shards) == shard and SENDS_MARK in commit.payload:
                    found.append(commit)
                    size += len(commit.payload)
                    if size >= SENDING_BYTES_MAX:
                        break
            return found

        return await self._link.call(FaultPoint.TELL_READ, read)

    async def end_of_tells(self) -> int:
        """The last sequence. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.TELL_READ, lambda _: len(self._space.tells))

    async def tells(self, target: int, after: int) -> InboxBatch:
        """Some of the tells to a shard after a sequence. Raises `Unavailable`."""
        return await self._batch(self._names.tell(target, ""), after)

    async def _batch(self, beginning: str, after: int) -> InboxBatch:
        def read(_: bool) -> InboxBatch:
            found = [
                InboxMessage(sequence, entry.payload)
                for sequence, entry in enumerate(self._space.tells[after:], after + 1)
                if entry.subject.startswith(beginning)
            ]
            return InboxBatch(found[:TELLS_AT_ONCE], len(found) > TELLS_AT_ONCE)

        return await self._link.call(FaultPoint.TELL_READ, read)

    async def send(self, target: int, payload: bytes, message_id: str) -> int:
        """Store a client's tell; its sequence.

        Raises `Unavailable`, `InvalidCommand` for one that is too large, and for an id that came with another one.
        """
        sequence = await self._write(self._names.tell(target, CLIENT_SOURCE), payload, None, message_id)
        assert sequence is not None
        if (stored := self._space.tells[sequence - 1].payload) != payload and stored:
            check_same_tell(payload, stored)
        return sequence

    async def next_tell(self, target: int, after: int) -> int:
        """The first tell to a shard after a sequence, or 0. Raises `Unavailable`."""
        messages = (await self.tells(target, after)).messages
        return messages[0].sequence if messages else 0

    async def size(self) -> InboxSize:
        """What is there now. Raises `Unavailable`."""
        tells = await self._link.call(FaultPoint.TELL_READ, lambda _: list(enumerate(self._space.tells, 1)))
        left = [(sequence, one) for sequence, one in tells if one is not GONE]
        first = left[0][0] if left else len(tells) + 1
        return InboxSize(first, len(tells), len(left), sum(len(one.payload) for _, one in left))

    async def made(self) -> Any:
        """There is one stream for ever; which connection it is. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.TELL_READ, lambda _: self._generation)

    async def until_on_disk(self, sequence: int) -> None:
        """It is."""

    async def purge(self, below: int, made: Any) -> int:
        """Empty what is before a sequence; how many there were. Raises `Unavailable`."""
        fault = self._link.fault(FaultPoint.TELL)
        if not self._link.up:
            raise NotSent("not connected")
        if made != self._generation:
            raise Unavailable("the connection was lost meanwhile")
        if isinstance(fault, StoredLater):  # as one whose sender was frozen
            self._link.clock.call_after(fault.delay_s, lambda: self._space.purge_tells(below))
        if isinstance(fault, StoredLater | Lost):
            raise Unavailable("a purge was not answered")
        count = self._space.purge_tells(below)
        await self._link.round_trip()
        return count

    async def applied_mark(self, shard: int) -> int:
        """Up to which sequence all tells to a shard are applied. Raises `Unavailable`."""
        found = await self._link.call(FaultPoint.TELL_READ, lambda _: self._last(self._names.applied_mark(shard)))
        return int(found.payload) if found is not None else 0

    async def write_applied_mark(self, shard: int, sequence: int) -> None:
        """Write that all tells to a shard up to this sequence are applied. Raises `Unavailable`."""
        await self._write(self._names.applied_mark(shard), b"%d" % sequence, None)

    async def write_dead_letter(self, tell: int, payload: bytes, expected: int) -> int | None:
        """The row's sequence; None when the one before is not at `expected`. Raises `Unavailable`, `InvalidCommand`."""
        subject = self._names.dead_letter(tell)
        return await self._write(subject, payload, (subject, expected))

    async def dead_letter(self, tell: int) -> InboxMessage | None:
        """The row of a tell. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.TELL_READ, lambda _: self._last(self._names.dead_letter(tell)))

    async def dead_letters(self, after: int) -> InboxBatch:
        """Some of the rows after a sequence. Raises `Unavailable`."""
        return await self._batch(self._names.dead_letters().removesuffix("*"), after)

    async def send_again(self, target: int, payload: bytes, tell: int, row: int) -> int | None:
        """Store it once; its sequence, or None when its row is not at `row`. Raises `Unavailable`."""
        subject = self._names.sent_again(target, tell)
        found = await self._link.call(FaultPoint.TELL_READ, lambda _: self._space.last_tell(subject))
        return found or await self._write(subject, payload, (self._names.dead_letter(tell), row))

    async def follow(self, shard: int, hear: Hear, ring: Callable[[], None]) -> Subscription:
        """Call back when a tell to the shard was stored."""
        beginning, bell = self._names.tell(shard, ""), _Bell(self._link, hear, ring)

        def stored(sequence: int, entry: InboxEntry) -> None:
            if entry.subject.startswith(beginning):
                bell.stored(sequence, InboxMessage(sequence, entry.payload))

        self._space.tell_bells[stored] = None
        bell.end = lambda: self._space.tell_bells.pop(stored, None)
        return bell

    async def follow_commits(self, shard: int, hear: HearCommits, ring: Callable[[], None]) -> Subscription:
        """Call back when a commit of the shard was stored."""

        def heard(after: int, until: int, commits: Sequence[StoredCommit]) -> None:
            hear(Position(after), Position(until), commits)

        bell = _Bell(self._link, heard, ring)

        def stored() -> None:
            commit = self._space.commits[-1]
            if shard_of(commit.actor_id, self._names.shards) == shard:
                bell.stored(commit.position, [commit] if SENDS_MARK in commit.payload else [])

        self._space.append_listeners[stored] = None
        bell.end = lambda: self._space.append_listeners.pop(stored, None)
        return bell

    def _last(self, subject: str) -> InboxMessage | None:
        sequence = self._space.last_tell(subject)
        return InboxMessage(sequence, self._space.tells[sequence - 1].payload) if sequence else None

    async def _write(
        self, subject: str, payload: bytes, expected: tuple[str, int] | None, message_id: str = ""
    ) -> int | None:
        if len(payload) > self.tell_bytes_max:
            text = f"a tell is at most {self.tell_bytes_max} bytes, this is {len(payload)}"
            raise InvalidCommand(text, path="args")
        store = partial(self._space.store_tell, InboxEntry(subject, payload), expected, message_id)
        return await self._link.store(FaultPoint.TELL, store)


class _Bell(Generic[M]):
    """Calls back of what is stored for one shard. It knows up to where it has, or it only rings."""

    def __init__(self, link: Link, hear: Callable[[int, int, M], None], ring: Callable[[], None]) -> None:
        self._link = link
        self._hear = hear
        self._ring = ring
        self._last = -1
        self._restarts = link.space.restarts
        self._loop = asyncio.get_running_loop()
        self.end: Callable[[], object] = lambda: None
        link.on_up[self._begin] = None

    async def stop(self) -> None:
        """End it. Idempotent."""
        self.end()
        self._link.on_up.pop(self._begin, None)

    def stored(self, sequence: int, message: M) -> None:
        """A message was stored."""
        if not self._link.up:
            return
        before, self._last = self._last, sequence
        told = partial(self._told, before, sequence, message, self._restarts)
        match self._link.fault(FaultPoint.NOTICE):
            case Late(delay_s):
                self._link.clock.call_after(delay_s, told)
            case Dropped():
                self._last = -1
            case _:
                self._loop.call_soon(told)

    def _begin(self) -> None:
        self._last, self._restarts = -1, self._link.space.restarts
        self._ring()

    def _told(self, before: int, sequence: int, message: M, restarts: int) -> None:
        if before >= 0 and restarts == self._link.space.restarts:
            self._hear(before, sequence, message)
        else:
            self._ring()
