"""Stored-event notices: the messages that the server repeats once they are stored. The hot half of following shards.

A shard whose commits a consumer delivers needs no notices: they rest, and the consumer's deliveries are handed on.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial

from aether.aio import set_once
from aether.errors import InvalidCommand
from aether.ids import Position
from aether.jetstream.connection.headers import SEQUENCE
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import StandingSubscription
from aether.names import PROBE, Names
from aether.ports import Durability, StoredCommit

log = logging.getLogger("aether.jetstream")


def commit_of(names: Names, sequence: int, subject: str, payload: bytes) -> StoredCommit | None:
    """The commit that a stored message is, or None for one that is of no actor of a model."""
    try:
        actor_id = names.actor_of_event(subject)
    except InvalidCommand as error:
        log.warning("a stored message is of no actor", extra={"subject": subject, "error": error.message})
        return None
    return None if actor_id is None or actor_id == PROBE else StoredCommit(actor_id, Position(sequence), payload)


class DurableNotices:
    """Hands on the commits of notices, in their order, each once it is on the disk; at once without a `durability`.

    When it will not be known whether they are, they are dropped: the receiver looks for gaps, or does not need to.
    """

    __slots__ = ("_durability", "_held", "_leaving", "_receive")

    def __init__(self, receive: Callable[[StoredCommit], None], durability: Durability | None) -> None:
        self._receive = receive
        self._durability = durability
        self._held: list[StoredCommit] = []
        self._leaving: list[asyncio.Future[None]] = []

    def all_handed_on(self) -> asyncio.Future[None]:
        """Set once nothing is held."""
        leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._leaving.append(leaving)
        self._let_leave()
        return leaving

    def forget(self) -> Position | None:
        """Drop what is not handed on yet; the position of the first, None without one."""
        held, self._held = self._held, []
        self._let_leave()
        return held[0].position if held else None

    def add(self, commit: StoredCommit) -> None:
        """A notice has arrived."""
        if self._durability is None:
            self._receive(commit)
            return
        self._held.append(commit)
        if len(self._held) == 1:
            self._durability.after_notice(commit.position, partial(self._durable, commit))

    def _durable(self, first: StoredCommit, why_not: str) -> None:
        """The first that is held is on the disk, and perhaps more of them."""
        assert self._durability is not None
        if not self._held or self._held[0] is not first:
            return  # it was forgotten
        held, self._held = self._held, []
        if why_not:
            self._let_leave()
            log.debug("stored commits are not handed on", extra={"commits": len(held), "why": why_not})
            return
        until = self._durability.position
        for number, commit in enumerate(held):
            if number and commit.position > until:
                self._held = held[number:] + self._held
                self._durability.after_notice(commit.position, partial(self._durable, commit))
                return
            self._receive(commit)
        self._let_leave()

    def _let_leave(self) -> None:
        if self._leaving and not self._held:
            leaving, self._leaving = self._leaving, []
            for waiter in leaving:
                set_once(waiter, None)


class Follower:
    """Receives the notices of some shards, or what is delivered in their place, and hands on their commits."""

    def __init__(
        self, names: Names, receive: Callable[[StoredCommit], None], durability: Durability | None = None
    ) -> None:
        self._names = names
        self._notices = DurableNotices(receive, durability)

    def receive(self, _: object, message: Message) -> None:
        """One notice."""
        self.stored(message.integer(SEQUENCE), message.subject, message.data)

    def stored(self, sequence: int, subject: str, payload: bytes) -> None:
        """One stored message."""
        commit = commit_of(self._names, sequence, subject, payload)
        if commit is not None:
            self._notices.add(commit)


class ShardNotices:
    """The followers of shards and their subscriptions to notices, which rest while a consumer delivers the commits."""

    __slots__ = ("_followed",)

    def __init__(self) -> None:
        self._followed: dict[int, dict[StandingSubscription, Follower]] = {}

    def add(self, shard: int, follower: Follower, standing: StandingSubscription) -> None:
        """A shard is followed, by one follower more."""
        self._followed.setdefault(shard, {})[standing] = follower

    def remove(self, shard: int, standing: StandingSubscription) -> None:
        """It is followed no more with this subscription. Idempotent."""
        followed = self._followed.get(shard, {})
        followed.pop(standing, None)
        if not followed:
            self._followed.pop(shard, None)

    def stored(self, shard: int, sequence: int, subject: str, payload: bytes) -> None:
        """A consumer delivers a commit of the shard."""
        followed = self._followed.get(shard)
        if followed is not None:
            for follower in list(followed.values()):
                follower.stored(sequence, subject, payload)

    def rest(self, shards: Iterable[int]) -> None:
        """A consumer delivers all that these shards store: no notices are needed on this session. Idempotent."""
        for shard in shards:
            for standing in self._followed.get(shard, ()):
                standing.rest()

    def resume(self, shards: Iterable[int]) -> None:
        """No consumer delivers what these shards store: notices are needed again. Idempotent."""
        for shard in shards:
            for standing in self._followed.get(shard, ()):
                standing.resume()
