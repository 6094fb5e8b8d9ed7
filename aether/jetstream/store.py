"""Histories on JetStream: one commit is one message, published if its subject's last sequence is the expected one.

`publish` is on the hot path (see `docs/hot-path.md`): a plain publish whose acknowledgement comes to the connection's
own inbox. The server's answer is mapped to an outcome in one place, by its error code; everything that is not certain
is `Unknown`. `history_reader` reads histories.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from secrets import token_hex
from time import time_ns

from msgspec import DecodeError

from aether.aio import set_once
from aether.errors import AetherError, InvalidCommand
from aether.ids import ActorId, Position, Version
from aether.jetstream.api import Acknowledgement, decode_acknowledgement, last_sequence, leader_since
from aether.jetstream.bus import NATSEventBus
from aether.jetstream.connection.headers import ERROR_WRONG_LAST_SEQUENCE, batch_head, expected_head
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.connection.pending_replies import NoReply, Reply
from aether.jetstream.history_reader import (
    EVERY_SUBJECT,
    batches,
    commits,
    durable,
    last_commit,
    search_batches,
    stream_batches,
    until_durable,
)
from aether.jetstream.key_listing import actors_of_shard, keys_of_kind
from aether.jetstream.refusals import UNANSWERED, proves_not_stored, shown
from aether.jetstream.stream_writes import batch_refused
from aether.jetstream.version_cache import VERSIONS_MAX, VersionCache, last_version
from aether.names import PROBE, Names
from aether.ports import (
    START,
    Append,
    AppendOutcome,
    Committed,
    Conflict,
    Durability,
    EventStored,
    Fenced,
    Refused,
    StoredCommit,
    Subscription,
    Unknown,
)
from aether.wire import Event, encode_commit

log = logging.getLogger("aether.jetstream")

APPEND_TIMEOUT_S = 5.0
COMMIT_HEADERS_BYTES = 1024
"""Room in a message for the header that every commit carries and those the server adds when it repeats it."""

TOGETHER_MAX = 500
"""Commits of one atomic batch; the server takes 1,000."""


class JetStreamEventStore:
    """`EventStore` of one namespace.

    With a `durability` the server's acknowledgement does not decide: a commit counts as stored, and a read as
    made, once what it found is on the disk.
    """

    def __init__(
        self,
        connection: NatsConnection,
        names: Names,
        *,
        append_timeout_s: float = APPEND_TIMEOUT_S,
        versions_max: int = VERSIONS_MAX,
    ) -> None:
        self._connection = connection
        self._names = names
        self.durability: Durability | None = None
        self._append_timeout_s = append_timeout_s
        self._versions = VersionCache(versions_max)
        self._followed: NATSEventBus | None = None
        self._batch_prefix = f"{token_hex(8)}."
        self._batches = 0
        self._refused_bytes = 0

    @property
    def commit_bytes_max(self) -> int:
        """Largest payload of one commit, in bytes: it must also fit when the server repeats it with its headers."""
        return self._connection.payload_bytes_max - COMMIT_HEADERS_BYTES

    def publish(
        self, actor_id: ActorId, payload: bytes, expected: Position, done: Callable[[AppendOutcome], None]
    ) -> None:
        """Append a commit; `done` gets the outcome from the event loop, or at once when nothing can be sent."""
        session = self._connection.session
        if session is None:
            return done(Unknown("there is no connection"))
        if len(payload) > self.commit_bytes_max:
            return done(Unknown(f"{len(payload)} bytes are more than a commit holds"))
        try:
            session.send(
                self._names.event(actor_id),
                payload,
                _Publishing(self, actor_id, len(payload), done),
                self._append_timeout_s,
                headers=expected_head(expected),
            )
        except AetherError as error:
            done(Unknown(error.message))
        return None

    @property
    def together_max(self) -> int:
        """Commits of one atomic batch (ADR-50), which only saves syncs of the server's."""
        return TOGETHER_MAX if self.durability is None else 1

    def publish_together(self, appends: Sequence[Append]) -> None:
        """Append commits of different actors as one atomic batch: one sync of the disk for all of them, by the server.

        A refused batch has stored nothing and names no culprit, so its commits are then published one by one.
        """
        session = self._connection.session
        if session is None:
            for append in appends:
                append.done(Unknown("there is no connection"))
            return
        self._batches += 1
        batch_id = f"{self._batch_prefix}{self._batches}".encode()
        try:
            for number, append in enumerate(appends, 1):
                subject, last = self._names.event(append.actor_id), number == len(appends)
                head = batch_head(batch_id, number, append.expected, last=last)
                if last:
                    session.send(subject, append.payload, lambda reply: self._batch_settled(appends, reply),
                                    self._append_timeout_s, headers=head)  # fmt: skip
                else:
                    session.publish(subject, append.payload, headers=head)
        except AetherError as error:
            for append in appends:
                append.done(Unknown(error.message))

    def _batch_settled(self, appends: Sequence[Append], reply: Reply) -> None:
        try:
            self._tell_batch(appends, reply)
        except Exception as error:  # a fault of ours: callers that have an outcome ignore a second one
            log.exception("the outcome of a batch could not be reported")
            for append in appends:
                append.done(Unknown(f"its acknowledgement could not be read: {error!r}"))

    def _tell_batch(self, appends: Sequence[Append], reply: Reply) -> None:
        acknowledgement = _acknowledged(reply)
        refused = isinstance(acknowledgement, Acknowledgement) and acknowledgement.error is not None
        # A message of a batch that reached no stream has stored nothing, and a batch that lacks one is not stored.
        if refused or (isinstance(reply, NoReply) and reply in UNANSWERED):
            for append in appends:
                if append.may_send():
                    self.publish(append.actor_id, append.payload, append.expected, append.done)
                else:
                    append.done(Fenced())
            return
        whole = isinstance(acknowledgement, Acknowledgement) and acknowledgement.count == len(appends)
        first = acknowledgement.seq - len(appends) + 1 if isinstance(acknowledgement, Acknowledgement) else 0
        why = acknowledgement if isinstance(acknowledgement, str) else "a part of the batch was acknowledged"
        for place, append in enumerate(appends):
            self.report(self._stored(append.actor_id, Position(first + place)) if whole else Unknown(why), append.done)

    async def appends_refused(self) -> str:
        """Why an append would be refused now, or "". Raises `Unavailable` when the server says nothing.

        A message that begins a batch (ADR-50) is checked as every other one and then waits for the rest of its batch,
        which does not come: the server drops it after 10 s. It is as large as what was refused, as room may be short.
        """
        batch_id = f"{self._batch_prefix}probe{time_ns()}"
        refused = await batch_refused(self._connection, self._names.event(PROBE), batch_id, self._refused_bytes)
        if not refused:
            self._refused_bytes = 0
        return refused

    async def append(self, actor_id: ActorId, events: Sequence[Event], expected: Position) -> AppendOutcome:
        """`publish` for events, awaited. Raises `InvalidCommand` when they are over `commit_bytes_max` or none."""
        if not events:
            raise InvalidCommand("a commit holds at least one event", path="events")
        payload = encode_commit(events)
        if self._connection.payload_bytes_max and len(payload) > self.commit_bytes_max:
            text = f"a commit is at most {self.commit_bytes_max} bytes, this is {len(payload)}"
            raise InvalidCommand(text, path="events")
        outcome: asyncio.Future[AppendOutcome] = asyncio.get_running_loop().create_future()
        self.publish(actor_id, payload, expected, lambda result: set_once(outcome, result))
        return await outcome

    def read(
        self, actor_id: ActorId, after: Position = START, until: Position | None = None
    ) -> AsyncIterator[StoredCommit]:
        """Commits after a position, complete up to `until`; raises `Unavailable` when that is not reached."""
        if self.durability is None:
            return commits(self._connection, self._names, actor_id, after, until)
        return durable(batches(self._connection, self._names, actor_id, after, until), self.durability)

    def read_batches(self, actor_id: ActorId, after: Position) -> AsyncIterator[list[StoredCommit]]:
        """The same up to the leader's last position now, as many commits at a time as one answer of the server has."""
        return batches(self._connection, self._names, actor_id, after, None)

    def read_stream(
        self, after: Position, until: Position, *, kind: str | None = None, key: str | None = None
    ) -> AsyncIterator[list[StoredCommit]]:
        """The commits of all actors, of one kind, or of one actor between two positions, some at a time."""
        if kind is None:
            subjects = EVERY_SUBJECT
        elif key is None:
            subjects = self._names.events_of_kind_anywhere(kind)
        else:
            subjects = self._names.event(ActorId(kind, key))
        return stream_batches(self._connection, self._names, subjects, after, until)

    def search_stream(
        self, after: Position, until: Position, having: bytes
    ) -> AsyncIterator[tuple[Position, list[StoredCommit]]]:
        """The commits of all actors between two positions that hold these bytes, some at a time."""
        return search_batches(self._connection, self._names, after, until, having)

    async def positions_since(self, time: datetime) -> tuple[Position, Position]:
        """The position before the first commit stored at this time or later, and the last one, by the leader."""
        first = await leader_since(self._connection, self._names.stream, EVERY_SUBJECT, time)
        last = Position(await last_sequence(self._connection, self._names.stream))
        return (Position(first.sequence - 1) if first is not None else last), last

    async def last_position(self) -> Position:
        """The position of the stream's last commit, by its leader, once it is durable. Raises `Unavailable`."""
        position = Position(await last_sequence(self._connection, self._names.stream))
        if self.durability is not None:
            await until_durable(self.durability, position)
        return position

    async def last(self, actor_id: ActorId) -> StoredCommit | None:
        """The actor's last commit, by the stream's leader. Raises `Unavailable`."""
        last = await last_commit(self._connection, self._names, actor_id)
        if last is not None and self.durability is not None:
            await until_durable(self.durability, last.position)
        return last

    async def keys(self, kind: str, shard: int) -> list[str]:
        """The keys of a kind's actors of one shard that have a history. Raises `Unavailable`."""
        return await keys_of_kind(self._connection, self._names, kind, shard)

    async def actors(self, shard: int) -> list[ActorId]:
        """The actors of all kinds of one shard that have a history. Raises `Unavailable`."""
        return await actors_of_shard(self._connection, self._names, shard)

    async def latest_version(self, actor_id: ActorId) -> Version:
        """The actor's version: from the cache while the followed bus keeps it current, else from its last commit."""
        bus = self._followed
        current = bus is not None and bus.synced
        if current:
            known = self._versions.get(actor_id)
            if known is not None:
                if self.durability is not None:
                    await until_durable(self.durability, self._versions.position(actor_id))
                return known
            # Before the read, so that a notice which overtakes its answer is not lost.
            self._versions.note(actor_id)
        last = await self.last(actor_id)
        version = last_version(last.payload, actor_id, last.position) if last is not None else Version(0)
        if current:
            self._versions.learn(actor_id, last.position if last is not None else START, version)
        return version

    async def follow(self, bus: NATSEventBus) -> Subscription:
        """Keep the version cache current by the stored-event notices of `bus`, until stopped."""
        subscription = await bus.subscribe_to_event_stored(self._hear)
        self._followed = bus
        return _Following(self, subscription)

    def unfollow(self) -> None:
        """Trust the version cache no more."""
        self._followed = None
        self._versions.clear()

    def _hear(self, notice: EventStored) -> None:
        self._versions.update(notice.actor_id, notice.position, notice.version)

    def outcome(self, actor_id: ActorId, reply: Reply, payload_bytes: int = 0) -> AppendOutcome:
        """The one table of outcomes: stored, refused for the position or for a reason of the server's, or not known."""
        if isinstance(reply, NoReply):
            refused = UNANSWERED.get(reply)
            silent = Unknown(reply.value, unanswered=reply is NoReply.TIMED_OUT)
            return silent if refused is None else self._refused(refused, payload_bytes)
        acknowledgement = _acknowledged(reply)
        if isinstance(acknowledgement, str):
            return Unknown(acknowledgement)
        refusal = acknowledgement.error
        if refusal is None:
            if acknowledgement.seq > 0:
                return self._stored(actor_id, Position(acknowledgement.seq))
            return Unknown("no sequence was acknowledged")
        if refusal.err_code == ERROR_WRONG_LAST_SEQUENCE:
            return Conflict()
        if proves_not_stored(refusal.err_code, refusal.description):
            return self._refused(shown(refusal), payload_bytes)
        return Unknown(shown(refusal))

    def report(self, outcome: AppendOutcome, done: Callable[[AppendOutcome], None]) -> None:
        """Report an outcome; that a commit is stored, when it is durable."""
        if self.durability is not None and isinstance(outcome, Committed):
            self.durability.after_write(outcome.position, _Durable(outcome, done))
        else:
            done(outcome)

    def _refused(self, reason: str, payload_bytes: int) -> Refused:
        self._refused_bytes = max(self._refused_bytes, payload_bytes)
        return Refused(reason)

    def _stored(self, actor_id: ActorId, position: Position) -> Committed:
        if self._followed is not None:
            self._versions.update(actor_id, position, None)
        return Committed(position)


def _acknowledged(reply: Reply) -> Acknowledgement | str:
    """What the server answered to a publish, or why that is not known."""
    if isinstance(reply, NoReply):
        return reply.value
    try:
        return decode_acknowledgement(reply.data)
    except DecodeError as error:
        return f"the acknowledgement cannot be read: {error}"


class _Publishing:
    """One commit on its way: called with the acknowledgement. A class, as a closure is two objects more."""

    __slots__ = ("_actor_id", "_bytes", "_done", "_store")

    def __init__(
        self, store: JetStreamEventStore, actor_id: ActorId, bytes_: int, done: Callable[[AppendOutcome], None]
    ) -> None:
        self._store = store
        self._actor_id = actor_id
        self._bytes = bytes_
        self._done = done

    def __call__(self, reply: Reply) -> None:
        try:
            outcome = self._store.outcome(self._actor_id, reply, self._bytes)
        except Exception as error:  # a fault of ours
            outcome = Unknown(f"its acknowledgement could not be read: {error!r}")
        self._store.report(outcome, self._done)


class _Durable:
    """A commit that is acknowledged: called when it is on the disk, or when that will not be known."""

    __slots__ = ("_committed", "_done")

    def __init__(self, committed: Committed, done: Callable[[AppendOutcome], None]) -> None:
        self._committed = committed
        self._done = done

    def __call__(self, why_not: str) -> None:
        self._done(Unknown(why_not) if why_not else self._committed)


class _Following:
    def __init__(self, store: JetStreamEventStore, subscription: Subscription) -> None:
        self._store = store
        self._subscription = subscription

    async def stop(self) -> None:
        self._store.unfollow()
        await self._subscription.stop()
