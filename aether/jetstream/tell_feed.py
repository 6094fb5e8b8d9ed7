"""The tells to a worker's shards as the server stores them: one ordered consumer for all shards that are followed.

A read by a filter costs the server a look at each message of the stream since the shard's last one, of whichever shard
it is; the consumer looks at each message once. It begins with what is stored after it, and promises no more than the
read does: each tell comes with the sequence of the one to the same shard before it, so a receiver that misses one sees
that, and reads. A hole in the consumer's numbering, missing heartbeats, a new connection and a change of the shards end
a consumer; the next one rings for every shard. Receivers are synchronous; one task.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from functools import partial
from secrets import token_hex
from typing import NamedTuple

from aether.aio import first_of
from aether.background import Background
from aether.core.backoff import Backoff
from aether.errors import Unavailable
from aether.ids import Position
from aether.jetstream.api import Answered, Method
from aether.jetstream.connection.headers import LAST_CONSUMER, STATUS, STATUS_HEARTBEAT
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection, StandingSubscription
from aether.jetstream.connection.session import NatsSession
from aether.jetstream.watch import delivered_sequences
from aether.log_lines import Repeated, words
from aether.names import Names
from aether.ports import Durability, Hear, InboxMessage

HEARTBEAT_S = 2.0
HEARTBEATS_MISSED_MAX = 2.5

SETTLE_S = 0.02
"""Shards come many at a time: so long after the first one the consumer is made for all of them."""

FILTERS_MAX = 512
"""More shards than this are followed by a filter for all, and what is not theirs is left out."""

RETRY = Backoff(first_s=0.05, cap_s=1.0)

_NANOSECONDS = 1_000_000_000
log = logging.getLogger("aether.jetstream")

_consumer_create: Method[Answered] = Method("CONSUMER.CREATE.{}", Answered)
_consumer_delete: Method[Answered] = Method("CONSUMER.DELETE.{}", Answered)


class Follower(NamedTuple):
    """Who is called back of one shard. See `ports.Inbox.follow`."""

    hear: Hear
    ring: Callable[[], None]


class _Consumer:
    """One consumer of the server, and the last tell to each shard that it has delivered."""

    __slots__ = ("delivered", "heard_s", "last", "name", "session", "shards", "standing")

    def __init__(self, session: NatsSession, shards: Iterable[int]) -> None:
        self.name = f"tells_{token_hex(8)}"
        self.session = session
        self.shards = frozenset(shards)
        self.standing: StandingSubscription | None = None
        self.delivered = 0
        self.last: dict[int, int] = {}
        self.heard_s = 0.0


class TellFeed:
    """The followers of one worker, and the consumer that they have now."""

    def __init__(self, connection: NatsConnection, names: Names) -> None:
        self.durability: Durability | None = None
        self._connection = connection
        self._names = names
        self._followers: dict[int, Follower] = {}
        self._consumer: _Consumer | None = None
        self._due = asyncio.Event()
        self._background = Background()
        self._task: asyncio.Task[None] | None = None
        self._unlisten: Callable[[], None] | None = None
        self._not_made = Repeated(log, logging.INFO, "tells cannot be followed yet")

    def follow(self, shard: int, follower: Follower) -> "_Following":
        """Call back of a shard's tells from soon on: its ring says when."""
        self._followers[shard] = follower
        self._due.set()
        if self._task is None:
            self._unlisten = self._connection.listen(lambda _: self._due.set())
            self._task = self._background.forever("aether tells feed", self._keep)
        return _Following(self, shard, follower)

    async def unfollow(self, shard: int, follower: Follower) -> None:
        """Call back no more. Without any follower the consumer ends."""
        if self._followers.get(shard) is not follower:
            return
        del self._followers[shard]
        consumer = self._consumer
        if self._followers:
            if consumer is not None and 2 * len(self._followers) < len(consumer.shards):
                self._due.set()
            return
        task, self._task = self._task, None
        if self._unlisten is not None:
            self._unlisten()
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        await self._end(self._consumer)
        self._consumer = None

    async def _keep(self) -> None:
        failures = 0
        while True:
            await first_of(self._due.wait(), timeout_s=self._patience_s())
            if not self._due.is_set():
                if self._patience_s() > 0:
                    continue
                log.warning("the consumer of tells says nothing", extra={"stream": self._names.inbox})
            # Spreads the retries of many workers; nothing depends on the value.
            pause_s = RETRY.delay_s(failures - 1, random.random()) if failures else SETTLE_S  # noqa: S311 - no secret
            await asyncio.sleep(pause_s)
            self._due.clear()
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

    async def _begin(self) -> None:
        """Have a consumer for all shards that are followed now, in place of the one before."""
        session = self._connection.session or await self._connection.ready()
        consumer = _Consumer(session, self._followers)
        try:
            await self._open(consumer)
        except BaseException:
            self._background.once("aether tells feed", self._end(consumer))
            raise
        before, self._consumer = self._consumer, consumer
        for follower in list(self._followers.values()):
            follower.ring()
        await self._end(before)

    async def _open(self, consumer: _Consumer) -> None:
        deliver_to = f"_INBOX.{consumer.name}"
        receive = partial(self._receive, consumer)
        consumer.standing = await self._connection.subscribe(deliver_to, lambda _, message: receive(message))
        several = len(consumer.shards) <= FILTERS_MAX
        names = self._names
        config = {
            "name": consumer.name,
            "deliver_subject": deliver_to,
            "deliver_policy": "new",
            "filter_subjects": [names.tells_to(one) for one in consumer.shards] if several else [names.tells_all],
            "ack_policy": "none",
            "replay_policy": "instant",
            "max_deliver": 1,
            "idle_heartbeat": int(HEARTBEAT_S * _NANOSECONDS),
            "inactive_threshold": int(10 * HEARTBEAT_S * _NANOSECONDS),
            "mem_storage": True,
            "num_replicas": 1,
        }
        body = {"stream_name": names.inbox, "config": config, "action": "create"}
        await _consumer_create(self._connection, f"{names.inbox}.{consumer.name}", body)
        consumer.heard_s = asyncio.get_running_loop().time()

    async def _end(self, consumer: _Consumer | None) -> None:
        if consumer is None:
            return
        if consumer.standing is not None:
            await consumer.standing.stop()
        if self._connection.session is not None:
            try:
                await _consumer_delete(self._connection, f"{self._names.inbox}.{consumer.name}")
            except Unavailable as error:
                # The server removes an unused consumer itself, only later.
                log.debug("a consumer of tells was not removed", extra={"error": words(error)})

    # ------------------------------------------------------------------------------------------ what comes

    def _receive(self, consumer: _Consumer, message: Message) -> None:
        consumer.heard_s = asyncio.get_running_loop().time()
        if not message.reply:
            self._told_of_itself(consumer, message)
            return
        try:
            sequence, delivered, _ = delivered_sequences(message.reply)
        except (ValueError, IndexError) as error:
            log.warning("what the consumer of tells delivers cannot be read", extra={"error": repr(error)})
            self._due.set()
            return
        if delivered != consumer.delivered + 1:
            consumer.last.clear()
            self._due.set()
        consumer.delivered = delivered
        shard = self._names.target_of_tell(message.subject)
        if shard in self._followers:
            before = consumer.last.get(shard)
            consumer.last[shard] = sequence
            self._hand_on(consumer, InboxMessage(sequence, message.data), shard, before)

    def _told_of_itself(self, consumer: _Consumer, message: Message) -> None:
        headers = message.headers or {}
        last = headers.get(LAST_CONSUMER, "0")
        if headers.get(STATUS) != STATUS_HEARTBEAT or not last.isdigit() or int(last) > consumer.delivered:
            self._due.set()

    def _hand_on(self, consumer: _Consumer, message: InboxMessage, shard: int, before: int | None) -> None:
        if self.durability is None:
            self._hear(consumer, message, shard, before, "")
        else:
            done = partial(self._hear, consumer, message, shard, before)
            self.durability.after_read(Position(message.sequence), done)

    def _hear(self, consumer: _Consumer, message: InboxMessage, shard: int, before: int | None, why_not: str) -> None:
        """Over another connection the server may have lost it meanwhile, and may give its sequence to another one."""
        follower = self._followers.get(shard)
        if follower is None:
            return
        if before is None or why_not or consumer.session is not self._connection.session:
            follower.ring()
        else:
            follower.hear(message, before)


class _Following:
    """A `Subscription` to the tells of a shard."""

    def __init__(self, feed: TellFeed, shard: int, follower: Follower) -> None:
        self._feed = feed
        self._shard = shard
        self._follower = follower

    async def stop(self) -> None:
        """End it. Idempotent."""
        await self._feed.unfollow(self._shard, self._follower)
