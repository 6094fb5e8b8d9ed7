"""One NATS connection, from its opening to its end, and nothing after it.

A session never reconnects: nats-py's own reconnection notices a frozen server after minutes and sends what it kept
minutes late. When the connection ends, for any reason, the latch `ended` closes once and every wait ends
at once. All methods run on the event loop's thread; callbacks given to it are synchronous and must be light, as they
run between two reads of the socket. It retries nothing and remembers no subscription: that is `connection`.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, TypeAlias, TypeVar

from nats.errors import Error as NatsError
from nats.errors import SlowConsumerError, UnexpectedEOF

from aether.aio import set_once
from aether.config import ConnectionConfig
from aether.errors import Unavailable
from aether.jetstream.connection.adopted_transport import adopt_transport
from aether.jetstream.connection.fallback import CLOSE_TIMEOUT_S, FallbackClient, NatsPyFallback
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.pending_replies import NoReply, PendingReplies, Reply
from aether.jetstream.connection.protocol import PINGS_OUTSTANDING_MAX, NatsProtocol
from aether.jetstream.connection.publisher import Arrival, Headers, Publisher
from aether.log_lines import words

LATE_S = 0.05
"""A time-out is noticed so much late: those that are due within so long end in one sweep."""

FALLBACK_LOOK_S = 0.05
"""How often it is looked whether the fallback through nats-py goes on, which does not say so in time."""

BARRIER_TIMEOUT_S = 10.0

Receive: TypeAlias = Callable[[Message], None]
T = TypeVar("T")

log = logging.getLogger("aether.connection")


class RepliesForbidden(Exception):
    """The server does not let this user hear replies, or write what this process writes to itself."""


class NatsSession:
    """One connection; open with `NatsSession.open`. Its own writer: nothing outside changes its fields."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.payload_bytes_max = 0
        self.on_end: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._client = FallbackClient()
        self._protocol: NatsProtocol | NatsPyFallback = NatsPyFallback(self._client, self._end)
        self._pending = PendingReplies("", self._sweep_after)
        self._to_send_by(self._protocol, self._pending)
        self._sweep_handle: asyncio.TimerHandle | None = None
        self._disposal: asyncio.Task[None] | None = None
        self._troubles: list[Exception] = []
        self._started = False

    @classmethod
    async def open(
        cls, config: ConnectionConfig, number: int, urls: list[str], tls: ssl.SSLContext | None
    ) -> "NatsSession":
        """Connect to the first URL that works. Raises what nats-py raises, or the cause it hides: `Exception`."""
        session = cls(number)
        client = session._client
        client.tls_wanted = tls is not None or any(url.startswith("tls://") for url in urls)
        try:
            await client.connect(
                urls,
                name=config.name,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=config.connect_timeout_s,  # type: ignore[arg-type]  # passed to asyncio, which takes float
                ping_interval=config.ping_interval_s,  # type: ignore[arg-type]  # likewise
                max_outstanding_pings=PINGS_OUTSTANDING_MAX,
                pending_size=0,
                skip_subject_validation=True,
                error_cb=session._on_error,
                closed_cb=session._on_closed,
                user=config.user or None,
                password=config.password or None,
                token=config.token or None,
                user_credentials=config.credentials_file or None,
                tls=tls,
            )
            await session._start(config.ping_interval_s)
        except Exception as error:
            cause = session._troubles[-1] if session._troubles else error
            session._end("it could not be opened")
            await session.close()
            raise cause from None
        except asyncio.CancelledError:
            session._end("its opening was cancelled")
            raise
        return session

    @property
    def alive(self) -> bool:
        """Whether the connection has not ended."""
        return not self.ended.done()

    @property
    def server_version(self) -> tuple[int, int, int]:
        """The server's version."""
        version = self._client.connected_server_version
        return (version.major, version.minor, version.patch)

    @property
    def server_id(self) -> str:
        """Which server it is, since it was started: it has another one after its next start."""
        return str(self._client._server_info.get("server_id", ""))

    def interrupt(self, subjects: Collection[str]) -> None:
        """Expect no more replies to what was sent below these subjects, each of which ends with a dot."""
        self._pending.interrupt(subjects)

    def forget(self, reply_to: str) -> None:
        """Expect no more replies to a `send`."""
        self._pending.forget(reply_to)

    def request(self, subject: str, payload: bytes, timeout_s: float, headers: Headers = None) -> Awaitable[Message]:
        """The reply, to be awaited: `NotSent` when no subscriber listens, `Unavailable` for a lost connection or a
        time-out.

        Raises `NotSent` and `InvalidCommand` at once for what cannot be sent.
        """
        arrived: asyncio.Future[Message] = self._loop.create_future()
        self.send(subject, payload, Arrival(arrived, subject, whole=True), timeout_s, headers)
        return arrived

    def subscribe(self, subject: str, receive: Receive, queue: str = "") -> str:
        """Call `receive` for each message, between two reads of the socket; the id to `drain`. Raises `Unavailable`."""
        if self.ended.done():
            raise Unavailable(NoReply.LOST.value)
        return self._protocol.subscribe(subject, queue, receive)

    async def drain(self, subscription: str) -> None:
        """Unsubscribe; what the server sent before it knew has been received when this returns.

        Raises `Unavailable` when the connection ends first.
        """
        await self.unless_ended(self._protocol.drain(subscription, self.barrier))

    async def catch_up(self, subscription: str) -> None:
        """Return when all that the server had sent when this was called has been received. Raises `Unavailable`."""
        await self.barrier()
        await self._protocol.catch_up(subscription)

    async def barrier(self) -> None:
        """Return when the server has done all that was sent before. Raises `Unavailable`."""
        passed: asyncio.Future[Reply] = self._loop.create_future()
        reply_to = self._pending.expect(lambda reply: set_once(passed, reply), self._loop.time() + BARRIER_TIMEOUT_S)
        try:
            self.publish(reply_to, b"")
            reply = await passed
        finally:
            self._pending.forget(reply_to)
        if isinstance(reply, NoReply):
            raise Unavailable(reply.value)

    async def unless_ended(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, or `Unavailable` as soon as the connection has ended."""
        task = self._loop.create_task(work)
        try:
            await asyncio.wait((task, self.ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
        if not task.done():
            raise Unavailable(NoReply.LOST.value)
        try:
            return task.result()
        except NatsError as error:
            raise Unavailable(f"{NoReply.LOST.value}: {error}") from None

    async def close(self) -> None:
        """Send what is queued and end. Idempotent."""
        if self._disposal is None:
            self._disposal = self._loop.create_task(self._dispose(in_peace=self.alive), name="aether nats close")
        await asyncio.shield(self._disposal)

    def _to_send_by(self, protocol: NatsProtocol | NatsPyFallback, pending: PendingReplies) -> None:
        """Publish by this protocol from now on: the methods become the publisher's own (`docs/hot-path.md`)."""
        publisher = Publisher(protocol, pending, self.ended, self.payload_bytes_max)
        self.publish = publisher.publish
        self.send = publisher.send
        self.ask = publisher.ask

    async def _start(self, ping_interval_s: float) -> None:
        client = self._client
        self.payload_bytes_max = client.max_payload
        prefix = self._prefix = client.new_inbox() + "."
        taken = adopt_transport(client)
        if taken is not None:
            protocol = NatsProtocol(
                taken.transport, self.payload_bytes_max, ping_interval_s, self._end, self._forbidden, self._unheard
            )
            self._protocol = protocol
            protocol.begin(taken.unread)
        self._started = True
        self._pending = PendingReplies(prefix, self._sweep_after)
        self._to_send_by(self._protocol, self._pending)
        self.subscribe(prefix + "*", self._pending.deliver)
        if isinstance(self._protocol, NatsPyFallback):
            self._look_at_fallback(self._protocol)
        await self.barrier()

    def _look_at_fallback(self, fallback: NatsPyFallback) -> None:
        if not self.alive:
            return
        if not fallback.alive:
            self._end("the server does not answer")
            return
        self._loop.call_later(FALLBACK_LOOK_S, self._look_at_fallback, fallback)

    def _sweep_after(self, deadline_s: float) -> None:
        if not self.alive:
            return
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        self._sweep_handle = self._loop.call_at(deadline_s + LATE_S, self._sweep)

    def _sweep(self) -> None:
        self._pending.sweep(self._loop.time())

    def _forbidden(self, subject: str) -> None:
        self._pending.forbid(subject)
        self._unheard(subject)

    def _unheard(self, subject: str) -> None:
        if subject.startswith(self._prefix):
            self._troubles.append(RepliesForbidden(subject))
            self._end(f"the server does not permit {subject}")

    def _end(self, reason: str) -> None:
        if self.ended.done():
            return
        self.ended.set_result(reason)
        if self._sweep_handle is not None:
            self._sweep_handle.cancel()
        if self.on_end is not None:
            self.on_end()
        self._pending.end()
        if self._disposal is None:
            self._disposal = self._loop.create_task(self._dispose(in_peace=False), name="aether nats dispose")

    async def _dispose(self, *, in_peace: bool) -> None:
        protocol = self._protocol
        if in_peace:
            protocol.close()
            self._end("it was closed")
        else:
            protocol.abort()
        await asyncio.wait((protocol.closed,), timeout=CLOSE_TIMEOUT_S)
        if not protocol.closed.done():
            protocol.abort()

    # What nats-py reports while it opens, and with the fallback afterwards.

    async def _on_error(self, error: Exception) -> None:
        self._troubles.append(error)
        del self._troubles[:-8]
        if isinstance(error, SlowConsumerError):
            log.error("the connection is given up: a subscription cannot keep up", extra={"subject": error.subject})
            self._end("a subscription could not keep up")
        elif not self._started:
            return
        elif isinstance(error, OSError | UnexpectedEOF):
            self._end(f"the connection broke: {error}")
        else:
            log.error("the NATS server or client reports an error", extra={"error": words(error)})

    async def _on_closed(self) -> None:
        self._end("the connection was closed")
