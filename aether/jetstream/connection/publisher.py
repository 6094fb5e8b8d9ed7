"""What leaves on one connection: messages, and requests whose replies come back.

The compiled half of a session: plain calls between two reads of the socket, no coroutine (see `docs/hot-path.md`).
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias

from aether.errors import InvalidCommand, Unavailable
from aether.jetstream.connection.headers import encode_head
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.pending_replies import NoReply, PendingReplies, ReceiveReply, Reply
from aether.ports import NotSent

Headers: TypeAlias = Mapping[str, str] | bytes | None
"""By name, or as the header block that they make."""


class FrameWriter(Protocol):
    """What carries messages: the protocol, or the fallback through nats-py."""

    def publish(self, subject: str, reply_to: str, head: bytes, payload: bytes) -> None:
        """Send a message at the end of this turn of the event loop. Raises `Unavailable`."""
        ...


class Arrival:
    """Resolves a future with the one reply, the `whole` message or its data only, or with the error it comes to."""

    __slots__ = ("_arrived", "_subject", "_whole")

    def __init__(self, arrived: "asyncio.Future[Any]", subject: str, *, whole: bool) -> None:
        self._arrived = arrived
        self._subject = subject
        self._whole = whole

    def __call__(self, reply: Reply) -> None:
        """The reply has come, or will not come."""
        if self._arrived.done():  # cancelled
            return
        if isinstance(reply, Message):
            self._arrived.set_result(reply if self._whole else reply.data)
        else:
            unheard = reply is NoReply.NO_RESPONDERS or reply is NoReply.FORBIDDEN
            error = NotSent if unheard else Unavailable
            gone = {"gone": True} if reply is NoReply.FORBIDDEN else {}
            self._arrived.set_exception(error(f"{reply.value}: {self._subject}", **gone))


class Publisher:
    """Its session gives it `frames` and `pending`, and resolves `ended` when nothing can be sent any more."""

    def __init__(
        self, frames: FrameWriter, pending: PendingReplies, ended: "asyncio.Future[str]", payload_bytes_max: int
    ) -> None:
        self._frames = frames
        self._pending = pending
        self._ended = ended
        self._payload_bytes_max = payload_bytes_max
        self._loop = asyncio.get_running_loop()
        self._now_s = self._loop.time

    def publish(self, subject: str, payload: bytes, reply_to: str = "", headers: Headers = None) -> None:
        """Send a message at the end of this turn of the event loop.

        Raises `InvalidCommand` for one that is too large (the server would close the connection), `NotSent` when the
        connection has ended and `Unavailable` when it ended just now.
        """
        if self._ended.done():
            raise NotSent("there is no connection any more")
        head = headers if isinstance(headers, bytes) else encode_head(headers) if headers else b""
        size = len(payload) + len(head)
        if size > self._payload_bytes_max:
            raise InvalidCommand(f"a message is at most {self._payload_bytes_max} bytes, this is {size}")
        self._frames.publish(subject, reply_to, head, payload)

    def send(
        self,
        subject: str,
        payload: bytes,
        receive: ReceiveReply,
        timeout_s: float,
        headers: Headers = None,
        many: bool = False,
    ) -> str:
        """Publish and expect a reply; `receive` is called with it or with a `NoReply`. Returns the token for `forget`.

        Raises like `publish`, and then `receive` is not called.
        """
        reply_to = self._pending.expect(receive, self._now_s() + timeout_s, many=many, subject=subject)
        try:
            self.publish(subject, payload, reply_to, headers)
        except (InvalidCommand, Unavailable):
            if self._pending.forget(reply_to):
                raise
        return reply_to

    def ask(self, subject: str, payload: bytes, timeout_s: float) -> "asyncio.Future[bytes]":
        """The data of the reply: `NotSent` when no subscriber listens, `Unavailable` for a lost connection or a
        time-out.

        Raises like `publish` at once.
        """
        arrived: asyncio.Future[bytes] = self._loop.create_future()
        self.send(subject, payload, Arrival(arrived, subject, whole=False), timeout_s)
        return arrived
