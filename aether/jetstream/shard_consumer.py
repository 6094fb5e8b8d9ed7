"""What one ordered consumer has delivered for the shards of a stream, and what each shard is told of it.

The compiled half of `aether.jetstream.shard_feed`: plain calls between two reads of the socket, no coroutine.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from secrets import token_hex
from typing import NamedTuple

from aether.ids import Position
from aether.jetstream.connection.headers import LAST_CONSUMER, STATUS, STATUS_HEARTBEAT
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection, StandingSubscription
from aether.jetstream.connection.session import NatsSession
from aether.jetstream.watch import delivered_sequences
from aether.names import Names
from aether.ports import Durability, Hear, HearCommits, InboxMessage, StoredCommit

PASSED_EVERY_S = 1.0
"""How often every shard is told how far the consumer has come, and what was kept for it."""

KEPT_BYTES_MAX = 1024 * 1024
"""How much is kept for all shards: what comes with more is handed on at once."""

log = logging.getLogger("aether.jetstream")


class ShardSubjects(NamedTuple):
    """Which messages of a stream are of a shard: its filter, the filter for all, and the shard of a subject.

    `shards`: how many there are. With `having` it is those that have these bytes, and they are handed on now and then;
    else at once.
    """

    stream: str
    shards: int
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


def tells_follower(hear: Hear, ring: Callable[[], None]) -> ShardFollower:
    """Who hears of the tells to a shard, one by one."""

    def heard(after: int, until: int, messages: Sequence[Stored]) -> None:
        if not messages:
            hear(after, until, None)
        for _, sequence, payload in messages:
            hear(after, sequence, InboxMessage(sequence, payload))
            after = sequence

    return ShardFollower(heard, ring)


def commits_follower(names: Names, hear: HearCommits, ring: Callable[[], None]) -> ShardFollower:
    """Who hears of the commits of a shard."""

    def heard(after: int, until: int, messages: Sequence[Stored]) -> None:
        commits = [
            StoredCommit(names.parse_event(subject), Position(sequence), payload)
            for subject, sequence, payload in messages
        ]
        hear(Position(after), Position(until), commits)

    return ShardFollower(heard, ring)


class ShardConsumer:
    """One consumer of the server. All messages of its shards from after `begin` up to `position` were delivered.

    `followers` are those of its feed, by shard; `missed` is called when it is `broken`: it may have missed a message.
    """

    __slots__ = (
        "_connection",
        "_delivered",
        "_durability",
        "_followers",
        "_kept",
        "_kept_bytes",
        "_last",
        "_missed",
        "_now_s",
        "_passed_s",
        "_subjects",
        "begin",
        "broken",
        "heard_s",
        "name",
        "position",
        "session",
        "shards",
        "standing",
    )

    def __init__(
        self,
        connection: NatsConnection,
        session: NatsSession,
        subjects: ShardSubjects,
        durability: Durability | None,
        followers: dict[int, ShardFollower],
        begin: int,
        missed: Callable[["ShardConsumer"], None],
    ) -> None:
        self.name = f"shards_{token_hex(8)}"
        self.session = session
        self.shards = frozenset(followers)
        self.begin = begin
        self.position = begin
        self.standing: StandingSubscription | None = None
        self.heard_s = 0.0
        self.broken = False
        self._connection = connection
        self._subjects = subjects
        self._durability = durability
        self._followers = followers
        self._missed = missed
        self._now_s = asyncio.get_running_loop().time
        self._delivered = 0
        self._passed_s = 0.0
        self._last: dict[int, int] = {}
        """Up to where a shard was told what there is."""
        self._kept: dict[int, list[Stored]] = {}
        """What it was not told yet."""
        self._kept_bytes = 0

    def receive(self, _: object, message: Message) -> None:
        """A message that it delivers, or its heartbeat."""
        self.heard_s = self._now_s()
        try:
            if message.reply:
                self._take(message)
            else:
                self._heartbeat(message)
        except (ValueError, IndexError) as error:
            log.warning("what a consumer delivers cannot be read", extra={"error": repr(error)})
            self.break_off()

    def break_off(self) -> None:
        """It may have missed a message, and says nothing more."""
        self.broken = True
        self._missed(self)

    def _take(self, message: Message) -> None:
        sequence, delivered = _sequences(message.reply)
        if delivered != self._delivered + 1:
            self.break_off()
        self._delivered = delivered
        if self.broken:
            return
        self.position = sequence
        having = self._subjects.having
        if having in message.data:  # b"" is in all
            shard = self._subjects.shard_of(message.subject)
            stored = Stored(message.subject, sequence, message.data)
            if having:
                self._kept.setdefault(shard, []).append(stored)
                self._kept_bytes += len(message.data)
            elif shard in self.shards:
                self._state(shard, sequence, (stored,))
        if self.heard_s - self._passed_s > PASSED_EVERY_S or self._kept_bytes >= KEPT_BYTES_MAX:
            self.say_passed()

    def _heartbeat(self, message: Message) -> None:
        headers = message.headers or {}
        if headers.get(STATUS) != STATUS_HEARTBEAT or int(headers.get(LAST_CONSUMER, "0")) > self._delivered:
            self.break_off()
        elif not self.broken:
            self.say_passed()

    def say_passed(self) -> None:
        """Tell every shard up to where all was delivered, and what was kept for it."""
        kept = self._kept
        self._passed_s, self._kept, self._kept_bytes = self.heard_s, {}, 0
        for shard in self.shards:
            if self._last.get(shard, self.begin) < self.position:
                self._state(shard, self.position, kept.get(shard, ()))

    def _state(self, shard: int, until: int, messages: Sequence[Stored]) -> None:
        after = self._last.get(shard, self.begin)
        self._last[shard] = until
        if self._durability is None:
            self._hear(shard, after, until, messages, "")
            return
        done = partial(self._hear, shard, after, until, messages)
        if messages and not self._subjects.having:
            self._durability.after_read(Position(until), done)
        else:
            self._durability.after_notice(Position(until), done)

    def _hear(self, shard: int, after: int, until: int, messages: Sequence[Stored], why_not: str) -> None:
        """Over another connection the server may have lost it meanwhile, and may give its sequence to another one."""
        follower = self._followers.get(shard)
        if follower is None:
            return
        if why_not or self.session is not self._connection.session:
            follower.ring()
        else:
            follower.hear(after, until, messages)


def _sequences(reply: str) -> tuple[int, int]:
    """`delivered_sequences` without the third, which costs most where there is no domain."""
    if reply.count(".") == 8:
        _, sequence, delivered, _, _ = reply.rsplit(".", 4)
        return int(sequence), int(delivered)
    sequences = delivered_sequences(reply)
    return sequences[0], sequences[1]
