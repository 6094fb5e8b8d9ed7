"""Stored-event notices: the messages that the server repeats once they are stored. The hot half of following shards."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from aether.aio import set_once
from aether.errors import InvalidCommand
from aether.ids import Position
from aether.jetstream.connection.headers import SEQUENCE
from aether.jetstream.connection.message import Message
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

    When it will not be known whether they are, they are dropped; `dropped` is called with the position of the first.
    """

    __slots__ = ("_dropped", "_durability", "_held", "_leaving", "_receive")

    def __init__(
        self,
        receive: Callable[[StoredCommit], None],
        durability: Durability | None,
        dropped: Callable[[Position], None] | None = None,
    ) -> None:
        self._receive = receive
        self._dropped = dropped
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
            if self._dropped is not None:
                self._dropped(first.position)
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
    """Receives the notices of some shards and hands on their commits."""

    def __init__(
        self, names: Names, receive: Callable[[StoredCommit], None], durability: Durability | None = None
    ) -> None:
        self._names = names
        self._notices = DurableNotices(receive, durability)

    def receive(self, _: object, message: Message) -> None:
        """One notice."""
        commit = commit_of(self._names, message.integer(SEQUENCE), message.subject, message.data)
        if commit is not None:
            self._notices.add(commit)
