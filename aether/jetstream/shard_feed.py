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

from aether.aio import first_of
from aether.background import Background
from aether.core.backoff import Backoff
from aether.errors import Unavailable
from aether.jetstream.api import Answered, Method, last_sequence
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.connection.session import NatsSession
from aether.jetstream.shard_consumer import ShardConsumer, ShardFollower, ShardSubjects
from aether.log_lines import Repeated, words
from aether.ports import Durability

HEARTBEAT_S = 2.0
HEARTBEATS_MISSED_MAX = 2.5

SETTLE_S = 0.02
"""Shards come many at a time: so long after the first one the consumer is made for all of them."""

FILTERS_MAX = 512
ALL_FROM = 0.75
"""More shards than `FILTERS_MAX`, or this part of all of them, are followed by one filter for all, and what is not
theirs is left out: the server looks for each message among the filters, which costs more than to deliver some too many.
"""

RETRY = Backoff(first_s=0.05, cap_s=1.0)

_NANOSECONDS = 1_000_000_000
log = logging.getLogger("aether.jetstream")

_consumer_create: Method[Answered] = Method("CONSUMER.CREATE.{}", Answered)
_consumer_delete: Method[Answered] = Method("CONSUMER.DELETE.{}", Answered)


class ShardFeed:
    """The followers of one worker in one stream, and the consumer that they have now. `durability` is the stream's."""

    def __init__(self, connection: NatsConnection, subjects: ShardSubjects) -> None:
        self.durability: Durability | None = None
        self._connection = connection
        self._subjects = subjects
        self._followers: dict[int, ShardFollower] = {}
        self._consumer: ShardConsumer | None = None
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

    @property
    def reached(self) -> int:
        """Up to which sequence the last consumer has delivered; 0 when there was none."""
        return self._consumer.position if self._consumer is not None else 0

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
                log.warning("a consumer sends no heartbeats and is replaced", extra={"stream": self._subjects.stream})
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
            consumer, known = self._consumer_from(session, end), frozenset[int]()
        else:
            before.say_passed()  # so that nothing is left that the next one would have to say
            consumer, known = self._consumer_from(session, before.position), before.shards
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

    def _consumer_from(self, session: NatsSession, begin: int) -> ShardConsumer:
        return ShardConsumer(
            self._connection, session, self._subjects, self.durability, self._followers, begin, self._missed
        )

    async def _open(self, consumer: ShardConsumer) -> None:
        deliver_to = f"_INBOX.{consumer.name}"
        consumer.standing = await self._connection.subscribe(deliver_to, consumer.receive)
        subjects, count = self._subjects, len(consumer.shards)
        several = count <= FILTERS_MAX and count < ALL_FROM * subjects.shards
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

    async def _end(self, consumer: ShardConsumer | None) -> None:
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

    def _missed(self, consumer: ShardConsumer) -> None:
        if consumer is self._consumer:
            self._due.set()


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
