"""Stored-event notices: the messages that the server repeats once they are stored. The hot half of following shards."""

import logging
from collections.abc import Callable

from aether.errors import InvalidCommand
from aether.ids import Position
from aether.jetstream.headers import SEQUENCE
from aether.jetstream.message import Message
from aether.names import Names
from aether.ports import StoredCommit

_log = logging.getLogger(__name__)


def commit_of(names: Names, sequence: int, subject: str, payload: bytes) -> StoredCommit | None:
    """The commit that a stored message is, or None for one that is of no actor of the namespace."""
    try:
        actor_id = names.actor_of_event(subject)
    except InvalidCommand as error:
        _log.warning("a stored message is of no actor", extra={"subject": subject, "error": error.message})
        return None
    return None if actor_id is None else StoredCommit(actor_id, Position(sequence), payload)


class Follower:
    """Receives the notices of some shards and hands on their commits."""

    def __init__(self, names: Names, receive: Callable[[StoredCommit], None]) -> None:
        self._names = names
        self._receive = receive

    def heard(self, _: object, message: Message) -> None:
        """One notice."""
        commit = commit_of(self._names, int(message.header(SEQUENCE)), message.subject, message.data)
        if commit is not None:
            self._receive(commit)
