"""What a stream stores for some shards, as it is stored: one ordered consumer for all shards that are followed.

A read by a filter costs the server a look at each message of the stream since the shard's last one, of whichever shard
it is; the consumer looks at each message once. What it gives is a statement: between two sequences there is no other
message of the shard. So a receiver that misses one sees that, and reads. A hole in the consumer's numbering, missing
heartbeats and a new connection end a consumer, and the next one rings for every shard; when shards are added, the next
one goes on where the one before stands, and rings for the new ones. Receivers are synchronous; one task.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from secrets import token_hex
from typing import NamedTuple

from aether.aio import first_of
from aether.background import Background
from aether.core.backoff import Backoff
from aether.errors import Unavailable
from aether.ids import Position
from aether.jetstream.api import Answered, Method, last_sequence
from aether.jetstream.connection.headers import LAST_CONSUMER, STATUS, STATUS_HEARTBEAT
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection, StandingSubscription
from aether.jetstream.connection.session import NatsSession
from aether.jetstream.watch import delivered_sequences
from aether.log_lines import Repeated, words
from aether.ports import Durability

HEARTBEAT_S = 2.0
HEARTBEATS_MISSED_MAX = 2.5

SETTLE_S = 0.02
"""Shards come many at a time: so long after the first one the consumer is made for all of them."""

FILTERS_MAX = 512
"""More shards than this are followed by a filter for all, and what is not theirs is left out."""

PASSED_EVERY_S = 1.0
"""How often every shard is told how far the consumer has come, and what was kept for it."""

RETRY = Backoff(first_s=0.05, cap_s=1.0)

_NANOSECONDS = 1_000_000_000
log = logging.getLogger("aether.jetstream")

_consumer_create: Method[Answered] = Method("CONSUMER.CREATE.{}", Answered)
_consumer_delete: Method[Answered] = Method("CONSUMER.DELETE.{}", Answered)


class ShardSubjects(NamedTuple):
    """Which messages of a stream are of a shard: its filter, the filter for all, and the shard of a subject.

    With `having` it is those that have these bytes, and they are handed on now and then; else at once.
    """

    stream: str
    of_shard: Callable[[int], str]
    of_all: str
    shard_of: Callable[[str], int]
    having: bytes = b""


class Stored(NamedTuple):
    """A message of the stream."""

    subject: str
    sequence: int
    payload: bytes


class ShardFollower(NamedTuple):
    """Who is called back of one shard.

    - `hear`: after a sequence and up to another there are these messages of the shard and no other.
    - `ring`: there may be messages that were not given.
    """

    hear: Callable[[int, int, Sequence[Stored]], None]
    ring: Callable[[], None]


class _Consumer:
    """One consumer of the server. All messages of its shards from after `begin` up to `position` were delivered.

    `last`: up to where a shard was told what there is. `kept`: what it was not told yet.
    """

    __slots__ = (
        "begin",
        "broken",
        "delivered",
        "heard_s",
        "kept",
        "last",
        "name",
        "passed_s",
        "position",
        "session",
        "shards",
        "standing",
    )

    def __init__(self, session: NatsSession, shards: Iterable[int], begin: int) -> None:
        self.name = f"shards_{token_hex(8)}"
        self.session = session
        self.shards = frozenset(shards)
        self.begin = self.position = begin
        self.standing: StandingSubscription | None = None
        self.delivered = 0
        self.last: dict[int, int] = {}
        self.kept: dict[int, list[Stored]] = {}
        self.heard_s = self.passed_s = 0.0
        self.broken = False


class ShardFeed:
    """The followers of one worker in one stream, and the consumer that they have now. `durability` is the stream's."""

    def __init__(self, connection: NatsConnection, subjects: ShardSubjects) -> None:
        self.durability: Durability | None = None
        self._connection = connection
        self._subjects = subjects
        self._followers: dict[int, ShardFollower] = {}
        self._consumer: _Consumer | None = None
        self._due = asyncio.Event()
        self._background = Background()
        self._task: asyncio.Task[None] | None = None
        self._not_made = Repeated(log, logging.INFO, "a stream cannot be followed yet")

    def follow(self, shard: int, follower: ShardFollower) -> "_Following":
        """Call back of a shard from soon on: its ring says when. A shard has one follower, the last one."""
        self._followers[shard] = follower
        if self._consumer is not None and shard in self._consumer.shards:
            self._background.once("aether shard feed", _ring(follower))
        else:
            self._due.set()
        if self._task is None:
            self._task = self._background.once("aether shard feed", self._keep())
        return _Following(self, shard, follower)

    def unfollow(self, shard: int, follower: ShardFollower) -> None:
        """Call back no more. Without any follower the consumer ends, soon."""
        if self._followers.get(shard) is not follower:
            return
        del self._followers[shard]
        if not self._followers or (
            self._consumer is not None and 2 * len(self._followers) < len(self._consumer.shards)
        ):
            self._due.set()

    def _connected(self, _: object) -> None:
        if self._consumer is not None:
            self._consumer.broken = True
        self._due.set()

    async def _keep(self) -> None:
        unlisten = self._connection.listen(self._connected)
        try:
            await self._keep_followed()
        finally:
            unlisten()
            self._task, consumer, self._consumer = None, self._consumer, None
            await self._end(consumer)

    async def _keep_followed(self) -> None:
        failures = 0
        while not self._connection.closed:
            await first_of(self._due.wait(), timeout_s=self._patience_s())
            if not self._due.is_set():
                if self._patience_s() > 0:
                    continue
                log.warning("a consumer says nothing", extra={"stream": self._subjects.stream})
                self._break()
            # Spreads the retries of many workers; nothing depends on the value.
            pause_s = RETRY.delay_s(failures - 1, random.random()) if failures else SETTLE_S  # noqa: S311 - no secret
            await asyncio.sleep(pause_s)
            self._due.clear()
            if not self._followers:
                return
            try:
                await self._begin()
                failures = 0
                self._not_made.over()
            except Unavailable as error:
                self._not_made.again(error=words(error))
                failures += 1
                self._due.set()

    def _patience_s(self) -> float:
        now_s = asyncio.get_running_loop().time()
        quiet_s = now_s - self._consumer.heard_s if self._consumer is not None else 0.0
        return max(0.0, HEARTBEATS_MISSED_MAX * HEARTBEAT_S - quiet_s)

    def _break(self) -> None:
        if self._consumer is not None:
            self._consumer.broken = True
        self._due.set()

    async def _begin(self) -> None:
        """Have a consumer for all shards that are followed now, in place of the one before."""
        session = self._connection.session or await self._connection.ready()
        before = self._consumer
        if before is None or before.broken or before.session is not session:
            end = await last_sequence(self._connection, self._subjects.stream)
            consumer, known = _Consumer(session, self._followers, end), frozenset[int]()
        else:
            self._passed(before)  # so that nothing is left that the next one would have to say
            consumer, known = _Consumer(session, self._followers, before.position), before.shards
        try:
            await self._open(consumer)
        except BaseException:
            self._background.once("aether shard feed", self._end(consumer))
            raise
        self._consumer = consumer
        if consumer.broken:
            self._due.set()
        if before is not None and before.broken:
            known = frozenset()
        for shard, follower in list(self._followers.items()):
            if shard not in known:
                follower.ring()
        await self._end(before)

    async def _open(self, consumer: _Consumer) -> None:
        deliver_to = f"_INBOX.{consumer.name}"
        receive = partial(self._receive, consumer)
        consumer.standing = await self._connection.subscribe(deliver_to, lambda _, message: receive(message))
        several, subjects = len(consumer.shards) <= FILTERS_MAX, self._subjects
        config = {
            "name": consumer.name,
            "deliver_subject": deliver_to,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": consumer.begin + 1,
            "filter_subjects": [subjects.of_shard(one) for one in consumer.shards] if several else [subjects.of_all],
            "ack_policy": "none",
            "replay_policy": "instant",
            "max_deliver": 1,
            "idle_heartbeat": int(HEARTBEAT_S * _NANOSECONDS),
            "inactive_threshold": int(10 * HEARTBEAT_S * _NANOSECONDS),
            "mem_storage": True,
            "num_replicas": 1,
        }
        body = {"stream_name": subjects.stream, "config": config, "action": "create"}
        await _consumer_create(self._connection, f"{subjects.stream}.{consumer.name}", body)
        consumer.heard_s = asyncio.get_running_loop().time()

    async def _end(self, consumer: _Consumer | None) -> None:
        if consumer is None:
            return
        if consumer.standing is not None:
            await consumer.standing.stop()
        if self._connection.session is not None:
            try:
                await _consumer_delete(self._connection, f"{self._subjects.stream}.{consumer.name}")
            except Unavailable as error:
                # The server removes an unused consumer itself, only later.
                log.debug("a consumer was not removed", extra={"error": words(error)})

    # ------------------------------------------------------------------------------------------ what comes

    def _receive(self, consumer: _Consumer, message: Message) -> None:
        consumer.heard_s = asyncio.get_running_loop().time()
        try:
            if message.reply:
                self._delivered(consumer, message)
            else:
                self._heartbeat(consumer, message)
        except (ValueError, IndexError) as error:
            log.warning("what a consumer delivers cannot be read", extra={"error": repr(error)})
            self._missed(consumer)

    def _delivered(self, consumer: _Consumer, message: Message) -> None:
        sequence, delivered, _ = delivered_sequences(message.reply)
        if delivered != consumer.delivered + 1:
            self._missed(consumer)
        consumer.delivered = delivered
        if consumer.broken:
            return
        consumer.position = sequence
        having = self._subjects.having
        if having in message.data:  # b"" is in all
            shard = self._subjects.shard_of(message.subject)
            stored = Stored(message.subject, sequence, message.data)
            if having:
                consumer.kept.setdefault(shard, []).append(stored)
            elif shard in consumer.shards:
                self._state(consumer, shard, sequence, (stored,))
        if consumer.heard_s - consumer.passed_s > PASSED_EVERY_S:
            self._passed(consumer)

    def _heartbeat(self, consumer: _Consumer, message: Message) -> None:
        headers = message.headers or {}
        if headers.get(STATUS) != STATUS_HEARTBEAT or int(headers.get(LAST_CONSUMER, "0")) > consumer.delivered:
            self._missed(consumer)
        elif not consumer.broken:
            self._passed(consumer)

    def _missed(self, consumer: _Consumer) -> None:
        consumer.broken = True
        if consumer is self._consumer:
            self._due.set()

    def _passed(self, consumer: _Consumer) -> None:
        consumer.passed_s, kept, consumer.kept = consumer.heard_s, consumer.kept, {}
        for shard in consumer.shards:
            if consumer.last.get(shard, consumer.begin) < consumer.position:
                self._state(consumer, shard, consumer.position, kept.get(shard, ()))

    def _state(self, consumer: _Consumer, shard: int, until: int, messages: Sequence[Stored]) -> None:
        after = consumer.last.get(shard, consumer.begin)
        consumer.last[shard] = until
        if self.durability is None:
            self._hear(consumer, shard, after, until, messages, "")
            return
        done = partial(self._hear, consumer, shard, after, until, messages)
        if messages and not self._subjects.having:
            self.durability.after_read(Position(until), done)
        else:
            self.durability.after_notice(Position(until), done)

    def _hear(
        self, consumer: _Consumer, shard: int, after: int, until: int, messages: Sequence[Stored], why_not: str
    ) -> None:
        """Over another connection the server may have lost it meanwhile, and may give its sequence to another one."""
        follower = self._followers.get(shard)
        if follower is None:
            return
        if why_not or consumer.session is not self._connection.session:
            follower.ring()
        else:
            follower.hear(after, until, messages)


class _Following:
    """A `Subscription` to a shard."""

    def __init__(self, feed: ShardFeed, shard: int, follower: ShardFollower) -> None:
        self._feed = feed
        self._shard = shard
        self._follower = follower

    async def stop(self) -> None:
        """End it. Idempotent."""
        self._feed.unfollow(self._shard, self._follower)


async def _ring(follower: ShardFollower) -> None:
    follower.ring()
