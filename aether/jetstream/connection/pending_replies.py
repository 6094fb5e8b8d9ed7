"""Replies that are awaited: one subject prefix, a token for each, and a certain end.

Every receiver is called exactly once for a single reply: with the message, or with the `NoReply` that took its place
(time-out, lost connection, no responder). A receiver of many replies is called for each until it is forgotten or ended.
Single-threaded and synchronous; it sends nothing and owns no timer: it says when `sweep` is due, and the session calls
it then. So a connection on which nothing is awaited has no timer.
"""

import logging
from collections.abc import Callable, Collection
from enum import Enum, unique
from math import inf
from typing import TypeAlias

from aether.jetstream.connection.message import Message

log = logging.getLogger("aether.connection")


@unique
class NoReply(Enum):
    """Why there is no reply. The value is for people."""

    LOST = "the connection was lost before the answer"
    TIMED_OUT = "no answer in time"
    NO_RESPONDERS = "no worker listens"
    MOVED = "another worker answers now"
    FORBIDDEN = "the server does not permit it"


Reply: TypeAlias = Message | NoReply
ReceiveReply: TypeAlias = Callable[[Reply], None]


class _Waiting:
    __slots__ = ("deadline_s", "many", "receive", "subject")

    def __init__(self, receive: ReceiveReply, deadline_s: float, many: bool, subject: str) -> None:
        self.receive = receive
        self.deadline_s = deadline_s
        self.many = many
        self.subject = subject


class PendingReplies:
    """The waiting receivers of one connection; `prefix` ends with a dot.

    `due` is called with the earliest deadline, a time of the event loop's clock, whenever that becomes earlier or has
    been swept: `sweep` must be called after it.
    """

    def __init__(self, prefix: str, due: Callable[[float], None]) -> None:
        self._prefix = prefix
        self._prefix_length = len(prefix)
        self._due = due
        self._due_s = inf
        self._waiting: dict[str, _Waiting] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def expect(self, receive: ReceiveReply, deadline_s: float, *, many: bool = False, subject: str = "") -> str:
        """Register a receiver until a time of the event loop's clock; the subject to reply to.

        `subject` is the one that was asked, for `interrupt`.
        """
        self._count += 1
        token = str(self._count)
        self._waiting[token] = _Waiting(receive, deadline_s, many, subject)
        if deadline_s < self._due_s:
            self._due_at(deadline_s)
        return self._prefix + token

    def forget(self, reply_to: str) -> bool:
        """Stop waiting; False when the receiver was called for the last time already."""
        return self._waiting.pop(reply_to[self._prefix_length :], None) is not None

    def deliver(self, message: Message) -> None:
        """Hand a message to its receiver; a reply that is no longer awaited is dropped."""
        token = message.subject[self._prefix_length :]
        waiting = self._waiting.get(token)
        if waiting is None:
            return
        no_responders = message.no_responders
        if no_responders or not waiting.many:
            del self._waiting[token]
        _call_receiver(waiting.receive, NoReply.NO_RESPONDERS if no_responders else message)

    def sweep(self, now_s: float) -> None:
        """End the receivers whose deadline has passed."""
        self._due_s = inf
        for token in [token for token, waiting in self._waiting.items() if waiting.deadline_s <= now_s]:
            ended = self._waiting.pop(token, None)
            if ended is not None:
                _call_receiver(ended.receive, NoReply.TIMED_OUT)
        earliest_s = min((waiting.deadline_s for waiting in self._waiting.values()), default=inf)
        if earliest_s < self._due_s:
            self._due_at(earliest_s)

    def interrupt(self, subjects: Collection[str]) -> None:
        """End the receivers of what was asked below these subjects, each of which ends with a dot."""
        prefixes = tuple(subjects)
        for token in [token for token, waiting in self._waiting.items() if waiting.subject.startswith(prefixes)]:
            ended = self._waiting.pop(token, None)
            if ended is not None:
                _call_receiver(ended.receive, NoReply.MOVED)

    def forbid(self, subject: str) -> None:
        """End the receiver of one message on a subject: the server has dropped one.

        It is the last one sent. The server reports each dropped message, and what was sent before the server began to
        drop them was not dropped.
        """
        for token in reversed(list(self._waiting)):
            waiting = self._waiting[token]
            if waiting.subject == subject:
                del self._waiting[token]
                _call_receiver(waiting.receive, NoReply.FORBIDDEN)
                return

    def end(self) -> None:
        """End every receiver: no reply can come any more."""
        waiting, self._waiting = self._waiting, {}
        for ended in waiting.values():
            _call_receiver(ended.receive, NoReply.LOST)

    def _due_at(self, deadline_s: float) -> None:
        self._due_s = deadline_s
        self._due(deadline_s)


def _call_receiver(receive: ReceiveReply, reply: Reply) -> None:
    try:
        receive(reply)
    except Exception:
        # One receiver's bug must not keep the others from being called.
        log.exception("a receiver of a reply raised")
