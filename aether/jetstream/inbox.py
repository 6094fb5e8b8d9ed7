"""The stream of tells on JetStream: `Inbox`.

A relayed tell is stored on the condition that the relay mark of its source shard is still the one that its relayer
wrote (`Nats-Expected-Last-Subject-Sequence-Subject`), so a relayer that writes the mark shuts out those before it. A
mark counts on the connection that it was written on and on no later one: a server that comes back after a power cut may
give the mark's sequence to another message. Nothing is removed from the stream but its beginning
(`aether.jetstream.inbox_beginning`), so what stays is not rewritten.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from aether.core.backoff import Backoff
from aether.core.relay_mark import Place, decode_place
from aether.errors import InvalidCommand, Unavailable
from aether.ids import ActorId, Position
from aether.jetstream.api import (
    StoredMessage,
    direct_batch,
    direct_last,
    last_sequence,
    leader_last,
    leader_next,
    stream_state,
)
from aether.jetstream.connection.headers import expected_elsewhere_head, expected_head
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.connection.session import NatsSession
from aether.jetstream.history_reader import commits, until_durable, until_written
from aether.jetstream.inbox_beginning import InboxBeginning, Made
from aether.jetstream.inbox_end import InboxEnd
from aether.jetstream.inbox_relays import InboxRelays
from aether.jetstream.replicas import stale_s
from aether.jetstream.shard_consumer import ShardSubjects, commits_follower, tells_follower
from aether.jetstream.shard_feed import ShardFeed
from aether.jetstream.stream_writes import write, write_once
from aether.names import CLIENT_SOURCE, Names
from aether.ports import (
    SENDING_BYTES_MAX,
    Durability,
    Hear,
    HearCommits,
    InboxBatch,
    InboxMessage,
    InboxSize,
    StoredCommit,
    Subscription,
    WentBack,
)
from aether.sends import SENDS_MARK
from aether.tells import check_same_tell
from aether.wire import told_and_done

TELL_HEADERS_BYTES = 1024
"""Room in a message for the headers that it carries and those the server adds when it repeats it."""

ROW_BYTES = 3072
"""Room in the row of a dead letter for what it says beside the tell."""

RELAYS_AT_ONCE = 64
"""So many tells of one shard are on their way at once."""

READS_AT_ONCE = 8
"""So many shards are read at once. The server answers what one connection asks in its order, and looks at each message
between two of a shard: the renewal of the member's row stands behind them."""

STALE_READS_MAX = 50
STALE = Backoff(first_s=0.01, cap_s=0.1)


class JetStreamInbox:
    """`Inbox` of one namespace. With durabilities, what it gives is on the disk: of commits, and of the inbox."""

    def __init__(self, connection: NatsConnection, names: Names, replicas: int) -> None:
        self.relays_at_once = RELAYS_AT_ONCE if replicas == 1 else 1
        """Replicas refuse a message that is conditioned on a subject while another one that is, too, is on its way."""
        self.scan_again_s = stale_s(replicas)
        self.durability: Durability | None = None
        self.commits_durability: Durability | None = None
        self.beginning = InboxBeginning(connection, names)
        self._connection = connection
        self._names = names
        self._reading = asyncio.Semaphore(READS_AT_ONCE)
        self._relays = InboxRelays(connection, names)
        commits = ShardSubjects(
            names.stream, names.shards, names.events_of_shard, names.events_all, names.shard_of_event, SENDS_MARK
        )
        tells = ShardSubjects(names.inbox, names.shards, names.tells_to, names.tells_all, names.target_of_tell)
        self._commits, self._tells = ShardFeed(connection, commits), ShardFeed(connection, tells)
        self.end = InboxEnd(connection, names, lambda: self._tells.reached)

    @property
    def tell_bytes_max(self) -> int:
        """Largest tell, in bytes."""
        return self._connection.payload_bytes_max - TELL_HEADERS_BYTES - ROW_BYTES

    # ---------------------------------------------------------------------------------------- the sender's side

    @property
    def epoch(self) -> int:
        """Another number when what was read may be gone."""
        return self.end.epoch

    async def went_back(self) -> WentBack | None:
        """What the stream has lost when it went back last, once it is beyond that. Raises `Unavailable`."""
        return await self.end.passed()

    async def commands_done(self, actor_id: ActorId, command_ids: set[str], after: Position) -> set[str]:
        """Which of these commits of the actor after a position say to be done. Raises `Unavailable`."""
        done = set[str]()
        async for commit in commits(self._connection, self._names, actor_id, after, None):
            done |= told_and_done(commit.payload, actor_id, commit.position) & command_ids
        return done

    async def relay_mark(self, shard: int) -> InboxMessage | None:
        """The shard's relay mark, by the stream's leader. Raises `Unavailable`."""
        found = await leader_last(self._connection, self._names.inbox, self._names.relay_mark(shard))
        return None if found is None else InboxMessage(found.sequence, found.payload)

    async def claim_relay(self, shard: int, payload: bytes, expected: int) -> int | None:
        """Write the mark and wait until it is on the disk; None when the last one is not at `expected`."""
        await self.end.passed()
        session = self._connection.session or await self._connection.ready()
        sequence = await write(self._connection, self._names.relay_mark(shard), payload, expected_head(expected))
        if sequence is None:
            return None
        if self.durability is not None:
            await until_written(self.durability, Position(sequence))
        self._check_same(session)
        self._relays.claimed(shard, sequence, session)
        return sequence

    async def move_relay_mark(self, shard: int, payload: bytes, mark: int) -> int | None:
        """Write the mark in place of our own, which is at `mark`. Raises `Unavailable`."""
        session = self._relays.session_of(shard, mark)
        if session is None:
            return None
        sequence = await write(self._connection, self._names.relay_mark(shard), payload, expected_head(mark))
        if sequence is not None:
            self._relays.claimed(shard, sequence, session)
        return sequence

    def relay(self, target: int, source: int, payload: bytes, mark: int) -> Awaitable[int | None]:
        """Store a tell: its sequence, or None when the source's mark is not at `mark`. Raises `Unavailable`.

        It is sent at once; what it raises comes when it is awaited.
        """
        return self._relays.relay(self._names.tell(target, source), source, payload, mark)

    def relay_task(self, task: str, source: int, payload: bytes, mark: int) -> Awaitable[int | None]:
        """Store the start of a task: its sequence, or None; as `relay`. Raises `Unavailable`."""
        return self._relays.relay(self._names.task(task, source), source, payload, mark)

    async def relayed(self, source: int, after: int, mark: int) -> list[tuple[int, Place]]:
        """The tells and task starts from a shard before its mark: the read is complete when it comes to that."""
        names, stale = self._names, 0
        own, found = names.relay_mark(source), list[tuple[int, Place]]()
        while True:
            async with self._reading:
                batch = await direct_batch(self._connection, names.inbox, names.tells_from(source), after + 1)
            for message in batch.messages:
                if message.sequence == mark and message.subject == own:
                    return found
                if names.is_sent(message.subject):
                    found.append((message.sequence, decode_place(message.payload)))
                after = message.sequence
            if after > mark or stale > STALE_READS_MAX:
                raise Unavailable(f"the relay mark of shard {source} is not found at {mark}")
            if not batch.more:
                stale = await _wait_for_replica(stale)

    async def end_of_commits(self) -> Position:
        """The last position, by the leader; all up to it is on the disk. Raises `Unavailable`."""
        end = Position(await last_sequence(self._connection, self._names.stream))
        if self.commits_durability is not None:
            await until_durable(self.commits_durability, end)
        return end

    async def commits_that_send(self, shard: int, after: Position, until: Position) -> list[StoredCommit]:
        """The commits of a shard that send something; who leads the stream has the last word on whether there are more.

        A leader that was replaced and does not know it may say that there are none. See `scan_again_s`.
        """
        names, found, size = self._names, list[StoredCommit](), 0
        subject, last = names.events_of_shard(shard), int(after)
        while last < until and size < SENDING_BYTES_MAX:
            async with self._reading:
                batch = await direct_batch(self._connection, names.stream, subject, last + 1, having=SENDS_MARK)
            messages, last = batch.messages, max(last, batch.last)
            if not batch.more:
                async with self._reading:
                    missed = await leader_next(self._connection, names.stream, subject, last + 1)
                if missed is None or missed.sequence > until:
                    last = until
                else:
                    messages, last = [*messages, missed], missed.sequence
            for message in messages:
                if message.sequence <= until and SENDS_MARK in message.payload:
                    actor_id = names.parse_event(message.subject)
                    found.append(StoredCommit(actor_id, Position(message.sequence), message.payload))
                    size += len(message.payload)
        return found

    # ---------------------------------------------------------------------------------------- the target's side

    async def end_of_tells(self) -> int:
        """The last sequence, by the leader. Raises `Unavailable`."""
        seen = self.end.seen
        end = await last_sequence(self._connection, self._names.inbox)
        self.end.saw(end, seen)
        return end

    async def tells(self, target: int, after: int) -> InboxBatch:
        """Some of the tells to a shard after a sequence, once they are on the disk. Raises `Unavailable`.

        A replica that lags gives the beginning of what there is, never a part with a gap.
        """
        async with self._reading:
            batch = await direct_batch(self._connection, self._names.inbox, self._names.tells_to(target), after + 1)
        if batch.messages:
            self.end.read(batch.messages[-1].sequence)
            if self.durability is not None:
                await until_durable(self.durability, Position(batch.messages[-1].sequence))
        return InboxBatch([_message(message) for message in batch.messages], batch.more)

    async def next_tell(self, target: int, after: int) -> int:
        """The first tell to a shard after a sequence, by the leader; 0 for none. Raises `Unavailable`."""
        async with self._reading:
            found = await leader_next(self._connection, self._names.inbox, self._names.tells_to(target), after + 1)
        return found.sequence if found is not None else 0

    async def applied_mark(self, shard: int) -> int:
        """Up to which sequence all tells to a shard are applied. Raises `Unavailable`."""
        found = await direct_last(self._connection, self._names.inbox, self._names.applied_mark(shard))
        return int(found.payload) if found is not None and found.payload.isdigit() else 0

    async def write_applied_mark(self, shard: int, sequence: int) -> None:
        """Write that all tells to a shard up to this sequence are applied. Raises `Unavailable`."""
        await self.end.passed()
        await write(self._connection, self._names.applied_mark(shard), b"%d" % sequence)

    async def write_dead_letter(self, tell: int, payload: bytes, expected: int) -> int | None:
        """The row's sequence, once it is on the disk; None when the one before is not at `expected`.

        Raises `InvalidCommand` for one that is too large, `Unavailable`.
        """
        most = self._connection.payload_bytes_max - TELL_HEADERS_BYTES
        if self._connection.payload_bytes_max and len(payload) > most:
            raise InvalidCommand(f"the row of a dead letter is at most {most} bytes, this is {len(payload)}")
        return await self._durable(self._names.dead_letter(tell), payload, expected_head(expected))

    async def dead_letter(self, tell: int) -> InboxMessage | None:
        """The row of a tell, by the leader. Raises `Unavailable`."""
        found = await leader_last(self._connection, self._names.inbox, self._names.dead_letter(tell))
        return None if found is None else _message(found)

    async def dead_letters(self, after: int) -> InboxBatch:
        """Some of the rows after a sequence; the leader says whether there are more. Raises `Unavailable`."""
        subject = self._names.dead_letters()
        batch = await direct_batch(self._connection, self._names.inbox, subject, after + 1)
        if batch.more:
            return InboxBatch([_message(message) for message in batch.messages], more=True)
        last = batch.messages[-1].sequence if batch.messages else after
        missed = await leader_next(self._connection, self._names.inbox, subject, last + 1)
        found = batch.messages if missed is None else [*batch.messages, missed]
        return InboxBatch([_message(message) for message in found], more=missed is not None)

    async def send_again(self, target: int, payload: bytes, tell: int, row: int) -> int | None:
        """Store it once, while its row is at `row`; its sequence, once it is on the disk. Raises `Unavailable`.

        As with relay marks: once our row is written no worker that wrote one before stores anything, so what is found
        is all there is. For what another one has stored that is not waited for: who has stored it does.
        """
        subject = self._names.sent_again(target, tell)
        found = await leader_last(self._connection, self._names.inbox, subject)
        if found is not None:
            return found.sequence
        return await self._durable(
            subject, payload, expected_elsewhere_head(row, self._names.dead_letter(tell).encode())
        )

    async def _durable(self, subject: str, payload: bytes, head: bytes) -> int | None:
        await self.end.passed()
        session = self._connection.session or await self._connection.ready()
        sequence = await write(self._connection, subject, payload, head)
        if sequence is not None and self.durability is not None:
            await until_written(self.durability, Position(sequence))
            self._check_same(session)
        return sequence

    def _check_same(self, session: NatsSession) -> None:
        """Over another connection a sequence may be another message's: a power cut may have come between."""
        if self._connection.session is not session:
            raise Unavailable("the connection was lost meanwhile")

    # ---------------------------------------------------------------------------------------- its beginning

    async def size(self) -> InboxSize:
        """What the stream has now. Raises `Unavailable`."""
        state = await stream_state(self._connection, self._names.inbox)
        return InboxSize(state.first_seq, state.last_seq, state.messages, state.bytes)

    async def made(self) -> Made:
        """Which stream it is now, and over which connection. Raises `Unavailable`."""
        return await self.beginning.made()

    async def until_on_disk(self, sequence: int) -> None:
        """Return when all that was read up to a sequence is on the disk. Raises `Unavailable`."""
        if self.durability is not None:
            await until_durable(self.durability, Position(sequence))

    async def purge(self, below: int, made: Made) -> int:
        """Remove what is before a sequence, or less; how many messages that were. Raises `Unavailable`."""
        return await self.beginning.purge(below, made)

    async def follow(self, shard: int, hear: Hear, ring: Callable[[], None]) -> Subscription:
        """Call back of a shard's tells from soon on. Each shard has one follower."""
        self._tells.durability = self.durability
        return self._tells.follow(shard, tells_follower(hear, ring))

    async def follow_commits(self, shard: int, hear: HearCommits, ring: Callable[[], None]) -> Subscription:
        """Call back of a shard's commits from soon on. Each shard has one follower."""
        self._commits.durability = self.commits_durability
        return self._commits.follow(shard, commits_follower(self._names, hear, ring))

    def on_connected(self, connected: Callable[[], None]) -> Callable[[], None]:
        """Call this with each new connection, until what is returned is called."""
        return self._connection.listen(lambda session: connected() if session is not None else None)

    # ---------------------------------------------------------------------------------------- clients

    async def send(self, target: int, payload: bytes, message_id: str) -> int:
        """Store a client's tell, once for an id that comes again within two minutes, and wait until it is on the disk.

        Raises `InvalidCommand` for one that is too large, and for an id that came with another one; `Unavailable`.
        """
        if self._connection.payload_bytes_max and len(payload) > self.tell_bytes_max:
            text = f"a tell is at most {self.tell_bytes_max} bytes, this is {len(payload)}"
            raise InvalidCommand(text, path="args")
        subject = self._names.tell(target, CLIENT_SOURCE)
        if not self.end.is_passed:
            await self.end.passed()
        session = self._connection.session or await self._connection.ready()
        sequence, known = await write_once(self._connection, subject, payload, message_id)
        if known:
            found = await leader_next(self._connection, self._names.inbox, subject, sequence)
            if found is not None and found.sequence == sequence:  # else it is applied, and removed
                check_same_tell(payload, found.payload)
        if self.durability is not None:
            await until_written(self.durability, Position(sequence))
            self._check_same(session)
        return sequence


def _message(stored: StoredMessage) -> InboxMessage:
    return InboxMessage(stored.sequence, stored.payload)


async def _wait_for_replica(stale: int) -> int:
    # Spreads the questions to a replica that lags; nothing depends on the value.
    await asyncio.sleep(STALE.delay_s(stale, random.random()))  # noqa: S311 - no secret
    return stale + 1
