"""Hands over the commands that core NATS brings, and sends their answers. The hot path: see `docs/hot-path.md`.

A command that is none, or not of the subject's shard, is answered here. An answer leaves at once, on the connection
that brought the command; when that is gone it is dropped, and the client asks again.
"""

import logging
from collections.abc import Callable

from aether.errors import InvalidCommand, Unavailable
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.session import NatsSession
from aether.names import Names
from aether.ports import Delivery
from aether.short_answers import short_answer
from aether.wire import encode_error

log = logging.getLogger("aether.jetstream")


class Deliver:
    """Receives the messages of a shard's subjects, and hands over their commands."""

    __slots__ = ("_names", "_receive", "_shard")

    def __init__(self, names: Names, shard: int, receive: Callable[[Delivery], None]) -> None:
        self._names = names
        self._shard = shard
        self._receive = receive

    def __call__(self, session: NatsSession, message: Message) -> None:
        """Hand over one command, or answer why it is none."""
        respond = Respond(session, message.reply)
        try:
            # Refuses an actor of another shard than the subject names, so the shard is the one subscribed to.
            actor_id = self._names.parse_command(message.subject)
        except InvalidCommand as error:
            respond(encode_error(error))
        else:
            self._receive(Delivery(self._shard, actor_id, message.data, respond))


class Respond:
    """Sends one answer on the connection that the question came by."""

    __slots__ = ("_reply_to", "_session")

    def __init__(self, session: NatsSession, reply_to: str) -> None:
        self._session = session
        self._reply_to = reply_to

    def __call__(self, answer: bytes) -> None:
        """Send the answer, or a shorter one that says that it is too large; never raises."""
        if not self._reply_to:
            return
        try:
            self._session.publish(self._reply_to, answer)
        except Unavailable:
            log.debug("an answer could not be sent: there is no connection", extra={"reply_to": self._reply_to})
        except InvalidCommand:
            self._shorten(answer)

    def _shorten(self, answer: bytes) -> None:
        bytes_max = self._session.payload_bytes_max
        log.error("an answer is too large and is shortened", extra={"bytes": len(answer), "bytes_max": bytes_max})
        try:
            self._session.publish(self._reply_to, short_answer(answer, bytes_max))
        except Unavailable:
            log.debug("an answer could not be sent: there is no connection", extra={"reply_to": self._reply_to})
        except InvalidCommand:
            log.error("the server takes no message that is large enough for an answer", extra={"bytes_max": bytes_max})
