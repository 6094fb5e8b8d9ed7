"""Reads and writes the frames of one connection on its transport, without a task, coroutine or queue per message.

nats-py finds the server, authenticates and upgrades to TLS; then `adopt_transport` stops its tasks and `NatsProtocol`
becomes the transport's protocol. Messages are handed to their receivers between two reads of the socket: a slow
receiver slows the reading down, and the socket's own flow control bounds what is on its way to us. What is published
within one iteration of the event loop leaves in one write. While the socket accepts no bytes, at most
`UNSENT_BYTES_MAX` are kept; beyond that the server counts as dead. Single-threaded; it never reconnects. Compiled in
wheels: see `docs/hot-path.md`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from aether.aio import after
from aether.errors import Unavailable
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.parser import PING, PONG, Fault, Frame, Malformed, Parser, Signal, pub, sub, unsub

PINGS_OUTSTANDING_MAX = 2
UNSENT_BYTES_MAX = 64 * 1024 * 1024

PERMISSIONS_VIOLATION = "permissions violation"
"""The one error after which the server keeps the connection and loses nothing but what it names."""

FORBIDDEN = 'permissions violation for publish to "'
"""How it begins when it names the subject of a message that it has dropped."""

UNHEARD = 'permissions violation for subscription to "'
"""How it begins when it names the subject of a subscription that it does not make."""

FAULTS_LOGGED_MAX = 64
"""So many different errors of a connection are logged as errors, each once; repetitions for debugging."""

Receive: TypeAlias = Callable[[Message], None]

log = logging.getLogger("aether.connection")


ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""The largest answer of the server about itself: a list of 100,000 subjects."""


def payload_bytes_believed(payload_bytes_max: int) -> int:
    """The largest message the server may send: it wraps a stored one in base64, and adds headers when it repeats it.

    Its answers about itself are bounded by no `max_payload`.
    """
    return max(2 * payload_bytes_max + 64 * 1024, ANSWER_BYTES_MAX)


class NatsProtocol(asyncio.Protocol):
    """Reads and writes frames; `lost` is called at most once, with the reason, when it cannot go on.

    `forbidden` is called with each subject on which the server has dropped a message of ours; `unheard` with
    each that it does not let us subscribe to.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        payload_bytes_max: int,
        ping_interval_s: float,
        lost: Callable[[str], None],
        forbidden: Callable[[str], None],
        unheard: Callable[[str], None] = lambda _subject: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._transport = transport
        self._parser = Parser(payload_bytes_believed(payload_bytes_max))
        self._lost = lost
        self._forbidden = forbidden
        self._unheard = unheard
        self._faults_logged: set[str] = set()
        self._over = False
        self._receivers: dict[str, Receive] = {}
        self._subscriptions = 0
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._flushing = False
        self._paused = False
        self._ping_interval_s = ping_interval_s
        self._pings_outstanding = 0
        self._ping_handle = self._loop.call_later(ping_interval_s, self._ping)

    def begin(self, unread: bytes) -> None:
        """Be the transport's protocol, from after `unread` on."""
        self._transport.set_protocol(self)
        if unread:
            self.data_received(unread)
        if not self._over and not self._transport.is_reading():
            self._transport.resume_reading()

    @property
    def alive(self) -> bool:
        """Whether it goes on."""
        return not self._over

    # What the session asks for.

    def publish(self, subject: str, reply_to: str, head: bytes, payload: bytes) -> None:
        """Send a message at the end of this turn of the event loop. Raises `Unavailable` when too much is unsent."""
        self._write(pub(subject, reply_to, head, payload))

    def subscribe(self, subject: str, queue: str, receive: Receive) -> str:
        """Call `receive` for each message; the id of the subscription. Raises `Unavailable` like `publish`."""
        self._subscriptions += 1
        sid = str(self._subscriptions)
        self._write(sub(subject, queue, sid))
        self._receivers[sid] = receive
        return sid

    def drain(self, sid: str, barrier: Callable[[], Awaitable[None]]) -> Coroutine[Any, Any, None]:
        """Unsubscribe; what the server sent before it knew has been received when what it returns has been awaited."""
        self._write(unsub(sid))
        return after(barrier(), lambda _: self._unsubscribed(sid))

    def _unsubscribed(self, sid: str) -> None:
        self._receivers.pop(sid, None)

    async def catch_up(self, sid: str) -> None:
        """Return when all that came so far has been received: at once."""

    def close(self) -> None:
        """Write what is unsent and end; `closed` tells when the socket has taken it. Idempotent."""
        if self._over:
            return
        if self._unsent:
            self._transport.write(b"".join(self._unsent))
        self._stop()
        self._transport.close()

    def abort(self) -> None:
        """End at once; what the socket has not taken is never sent. Idempotent."""
        self._stop()
        self._transport.abort()

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        """Hand each message to its receiver, after all are parsed: code that a processor has at hand runs faster."""
        # Whatever comes shows that the server lives; its PONG may wait behind what we have asked it for.
        self._pings_outstanding = 0
        frames: list[Frame] = []
        malformed: Malformed | None = None
        try:
            self._parser.feed(data, frames)
        except Malformed as error:
            malformed = error
        receivers = self._receivers
        for frame in frames:
            if self._over:
                return
            if type(frame) is tuple:
                sid, message = frame
                receive = receivers.get(sid)
                if receive is not None:
                    try:
                        receive(message)
                    except Exception:
                        log.exception("a receiver of messages raised", extra={"subject": message.subject})
            elif frame is Signal.PING:
                self._pong()
            elif isinstance(frame, Fault):
                self._faulted(frame.text)
        if malformed is not None:
            self._end(f"the server sent what is not the NATS protocol: {malformed}")

    def eof_received(self) -> None:
        """The server has closed its side: so do we."""
        self._end("the server closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes or goes any more."""
        self._end(f"the connection broke: {exc}" if exc else "the connection was closed")
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """The socket takes no more for now."""
        self._paused = True
        self._unsent_bytes = sum(map(len, self._unsent))

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._paused = False
        if self._unsent:
            self._flush()

    # Within.

    def _write(self, frame: bytes) -> None:
        if self._over:
            raise Unavailable("the connection is closed")
        self._unsent.append(frame)
        if self._paused:
            self._unsent_bytes += len(frame)
            if self._unsent_bytes > UNSENT_BYTES_MAX:
                self._end("the server takes nothing")
                raise Unavailable("the server takes nothing")
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._paused or not self._unsent:
            return
        unsent, self._unsent = self._unsent, []
        self._transport.write(b"".join(unsent))

    def _ping(self) -> None:
        self._pings_outstanding += 1
        if self._pings_outstanding > PINGS_OUTSTANDING_MAX:
            self._end("the server does not answer")
            return
        self._ping_handle = self._loop.call_later(self._ping_interval_s, self._ping)
        try:
            self._write(PING)
        except Unavailable:
            return

    def _pong(self) -> None:
        try:
            self._write(PONG)
        except Unavailable:  # there was no room, which has ended it
            return

    def _faulted(self, text: str) -> None:
        logged_before = text in self._faults_logged or len(self._faults_logged) >= FAULTS_LOGGED_MAX
        if not logged_before:
            self._faults_logged.add(text)
        log.log(
            logging.DEBUG if logged_before else logging.ERROR, "the NATS server reports an error", extra={"error": text}
        )
        if PERMISSIONS_VIOLATION not in text.lower():
            self._end(f"the server says: {text}")
            return
        for beginning, tell in ((FORBIDDEN, self._forbidden), (UNHEARD, self._unheard)):
            start = text.lower().find(beginning)
            if start >= 0:
                tell(text[start + len(beginning) :].partition('"')[0])

    def _end(self, reason: str) -> None:
        if not self._over:
            self.abort()
            self._lost(reason)

    def _stop(self) -> None:
        self._over = True
        self._ping_handle.cancel()
        self._unsent.clear()
        self._receivers.clear()
