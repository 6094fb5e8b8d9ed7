"""Histories on JetStream: one commit is one message, published if its subject's last sequence is the expected one.

`commit_publisher` writes them, `history_reader` reads them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from time import time_ns

from aether.aio import set_once
from aether.errors import InvalidCommand
from aether.ids import ActorId, Position, Version
from aether.jetstream.api import last_sequence, leader_since
from aether.jetstream.bus import NATSEventBus
from aether.jetstream.commit_publisher import CommitPublisher
from aether.jetstream.connection.nats_connection import NatsConnection
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
from aether.jetstream.stream_writes import batch_refused
from aether.jetstream.version_cache import VERSIONS_MAX, VersionCache, last_version
from aether.names import PROBE, Names
from aether.ports import (
    START,
    AppendOutcome,
    Durability,
    EventStored,
    StoredCommit,
    Subscription,
)
from aether.wire import Event, encode_commit

APPEND_TIMEOUT_S = 5.0


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
        self._commits = CommitPublisher(connection, names, append_timeout_s)
        self._versions = VersionCache(versions_max)
        self._followed: NATSEventBus | None = None
        self.publish = self._commits.publish
        self.publish_together = self._commits.publish_together

    @property
    def durability(self) -> Durability | None:
        """What tells which commits are on the disk; None where the acknowledgement does."""
        return self._commits.durability

    @durability.setter
    def durability(self, durability: Durability | None) -> None:
        self._commits.durability = durability

    @property
    def commit_bytes_max(self) -> int:
        """Largest payload of one commit, in bytes."""
        return self._commits.commit_bytes_max

    @property
    def together_max(self) -> int:
        """Commits of one atomic batch (ADR-50), which only saves syncs of the server's."""
        return self._commits.together_max

    async def appends_refused(self) -> str:
        """Why an append would be refused now, or "". Raises `Unavailable` when the server says nothing.

        A message that begins a batch (ADR-50) is checked as every other one and then waits for the rest of its batch,
        which does not come: the server drops it after 10 s. It is as large as what was refused, as room may be short.
        """
        batch_id = f"{self._commits.batch_prefix}probe{time_ns()}"
        refused = await batch_refused(self._connection, self._names.event(PROBE), batch_id, self._commits.refused_bytes)
        if not refused:
            self._commits.refused_bytes = 0
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
        self._commits.versions = self._versions
        return _Following(self, subscription)

    def unfollow(self) -> None:
        """Trust the version cache no more."""
        self._followed = None
        self._commits.versions = None
        self._versions.clear()

    def _hear(self, notice: EventStored) -> None:
        self._versions.update(notice.actor_id, notice.position, notice.version)


class _Following:
    def __init__(self, store: JetStreamEventStore, subscription: Subscription) -> None:
        self._store = store
        self._subscription = subscription

    async def stop(self) -> None:
        self._store.unfollow()
        await self._subscription.stop()
