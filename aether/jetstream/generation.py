"""One NATS connection, from its opening to its end, and nothing after it.

A generation never reconnects: nats-py's own reconnection notices a frozen server after minutes and sends what it kept
minutes late. When the connection ends, for any reason, the latch `ended` closes once and everything that waits is told
at once. All methods run on the event loop's thread; callbacks given to it are synchronous and must be light, as they
run between two reads of the socket. It retries nothing and remembers no subscription: that is `connection`.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, TypeAlias, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError
from nats.errors import SlowConsumerError, UnexpectedEOF

from aether.config import ConnectionConfig
from aether.errors import InvalidCommand, Unavailable
from aether.jetstream.headers import headers_bytes
from aether.jetstream.inbox import Inbox, NoReply, ReceiveReply, Reply
from aether.jetstream.message import Message
from aether.ports import NotSent

TICK_S = 0.05
"""How often time-outs are swept: a time-out is noticed at most this much late."""

PINGS_OUTSTANDING_MAX = 2
PENDING_MESSAGES_MAX = 262_144
PENDING_BYTES_MAX = 256 * 1024 * 1024
"""What one subscription may hold undelivered; beyond it a message would be dropped, so the generation ends."""

BARRIER_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0

Receive: TypeAlias = Callable[[Message], None]
T = TypeVar("T")

_log = logging.getLogger(__name__)


def set_once(future: asyncio.Future[T], result: T) -> None:
    """Resolve a future unless it is resolved or cancelled."""
    if not future.done():
        future.set_result(result)


class _Client(Client):
    """nats-py's client with two methods of its own.

    `flush`: nats-py writes the PING of its `flush` to the socket ahead of queued commands, so a drained subscription's
    PONG can overtake its UNSUB, and what the server delivers between the two is thrown away. A message to ourselves
    cannot.

    `_process_msg`: its parser calls this for each message. Ours hands it to the receiver at once; should a later
    nats-py not call it, messages take the long way (parsed headers, a queue and a task a subscription, measured at
    twice the cost) to the same receivers.
    """

    generation: "Generation"

    def __init__(self) -> None:
        super().__init__()
        self.receivers: dict[int, Receive] = {}

    async def flush(self, timeout: int = 0) -> None:  # noqa: ASYNC109 - nats-py's signature
        await self.generation.barrier()

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        receive = self.receivers.get(sid)
        if receive is None:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            receive(Message(subject.decode(), reply.decode(), data, headers))


class Generation:
    """One connection; open with `Generation.open`. Its own writer: nothing outside changes its fields."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.payload_bytes_max = 0
        self.on_end: Callable[[], None] | None = None
        self._client = _Client()
        self._client.generation = self
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox("")
        self._tick_handle: asyncio.TimerHandle | None = None
        self._disposal: asyncio.Task[None] | None = None
        self._troubles: list[Exception] = []
        self._started = False

    @classmethod
    async def open(
        cls, config: ConnectionConfig, number: int, urls: list[str], tls: ssl.SSLContext | None
    ) -> "Generation":
        """Connect to the first URL that works. Raises what nats-py raises, or the cause it hides: `Exception`."""
        generation = cls(number)
        client = generation._client
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
                error_cb=generation._on_error,
                closed_cb=generation._on_closed,
                user=config.user or None,
                password=config.password or None,
                token=config.token or None,
                user_credentials=config.credentials_file or None,
                tls=tls,
            )
            await generation._start()
        except Exception as error:
            cause = generation._troubles[-1] if generation._troubles else error
            generation._end("it could not be opened")
            await generation.close()
            raise cause from None
        except asyncio.CancelledError:
            generation._end("its opening was cancelled")
            raise
        return generation

    @property
    def alive(self) -> bool:
        """Whether the connection has not ended."""
        return not self.ended.done()

    @property
    def server_version(self) -> tuple[int, int, int]:
        """The server's version."""
        version = self._client.connected_server_version
        return (version.major, version.minor, version.patch)

    def publish(
        self, subject: str, payload: bytes, reply_to: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Queue a message to be sent, now.

        Raises `InvalidCommand` for one that is too large (the server would close the connection), `NotSent` when the
        connection has ended and `Unavailable` when it ended just now.
        """
        if self.ended.done():
            raise NotSent(NoReply.LOST.value)
        size = len(payload) + headers_bytes(headers)
        if size > self.payload_bytes_max:
            raise InvalidCommand(f"a message is at most {self.payload_bytes_max} bytes, this is {size}")
        # With pending_size=0 nothing in nats-py's coroutine waits: it appends to a list and wakes the flusher. Driving
        # it by hand saves a task and, more, keeps a caller's step atomic.
        publishing = self._client.publish(subject, payload, reply_to, headers)  # type: ignore[arg-type]  # only reads it
        self._at_once(publishing, "a message")

    def _at_once(self, sending: Coroutine[Any, Any, T], what: str) -> T:
        """The result of a coroutine of nats-py that does not wait. Raises `Unavailable`, and ends, when it would."""
        try:
            sending.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        except (NatsError, OSError) as error:
            self._end(f"{what} could not be sent: {error}")
            raise Unavailable(NoReply.LOST.value) from None
        sending.close()
        self._end(f"{what} could not be sent at once")
        raise Unavailable(NoReply.LOST.value)

    def send(
        self,
        subject: str,
        payload: bytes,
        receive: ReceiveReply,
        timeout_s: float,
        *,
        headers: Mapping[str, str] | None = None,
        many: bool = False,
    ) -> str:
        """Publish and expect a reply; `receive` is called with it or with a `NoReply`. Returns the token for `forget`.

        Raises like `publish`, and then `receive` is not called.
        """
        reply_to = self._inbox.expect(receive, self._loop.time() + timeout_s, many=many, subject=subject)
        try:
            self.publish(subject, payload, reply_to, headers)
        except (InvalidCommand, Unavailable):
            if self._inbox.forget(reply_to):
                raise
        return reply_to

    def interrupt(self, subjects: Collection[str]) -> None:
        """Expect no more replies to what was sent below these subjects, each of which ends with a dot."""
        self._inbox.interrupt(subjects)

    def forget(self, reply_to: str) -> None:
        """Expect no more replies to a `send`."""
        self._inbox.forget(reply_to)

    async def request(
        self, subject: str, payload: bytes, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        """The reply. Raises `NotSent` when nobody listens, `Unavailable` for a lost connection or a time-out."""
        arrived: asyncio.Future[Reply] = self._loop.create_future()
        reply_to = self.send(subject, payload, lambda reply: set_once(arrived, reply), timeout_s, headers=headers)
        try:
            reply = await arrived
        finally:
            self._inbox.forget(reply_to)
        if isinstance(reply, Message):
            return reply
        error = NotSent if reply is NoReply.NO_RESPONDERS else Unavailable
        raise error(f"{reply.value}: {subject}")

    def subscribe(self, subject: str, receive: Receive, queue: str = "") -> Subscription:
        """Call `receive` for each message, between two reads of the socket. Raises `Unavailable`."""

        def received(message: Message) -> None:
            if self.ended.done():
                return
            try:
                receive(message)
            except Exception:
                _log.exception("a receiver of messages raised", extra={"subject": message.subject})

        async def received_late(message: Msg) -> None:
            received(Message(message.subject, message.reply, message.data, None, message.headers))

        if self.ended.done():
            raise Unavailable(NoReply.LOST.value)
        subscribing = self._client.subscribe(
            subject,
            queue,
            received_late,
            pending_msgs_limit=PENDING_MESSAGES_MAX,
            pending_bytes_limit=PENDING_BYTES_MAX,
        )
        # Like a publish it only queues a command, so the receiver is in place before any message can come.
        subscription = self._at_once(subscribing, "a subscription")
        self._client.receivers[subscription._id] = received
        return subscription

    async def drain(self, subscription: Subscription) -> None:
        """Unsubscribe; what the server sent before it knew has been received when this returns.

        Raises `Unavailable` when the connection ends first.
        """
        await self.unless_ended(subscription.drain())  # type: ignore[no-untyped-call]  # nats-py does not annotate it
        self._client.receivers.pop(subscription._id, None)

    async def barrier(self) -> None:
        """Return when the server has done all that was sent before. Raises `Unavailable`."""
        passed: asyncio.Future[Reply] = self._loop.create_future()
        reply_to = self._inbox.expect(lambda reply: set_once(passed, reply), self._loop.time() + BARRIER_TIMEOUT_S)
        try:
            self.publish(reply_to, b"")
            reply = await passed
        finally:
            self._inbox.forget(reply_to)
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

    async def _start(self) -> None:
        self.payload_bytes_max = self._client.max_payload
        self._started = True
        prefix = self._client.new_inbox() + "."
        self._inbox = Inbox(prefix)
        self.subscribe(prefix + "*", self._inbox.deliver)
        self._tick_handle = self._loop.call_later(TICK_S, self._tick)
        await self.barrier()

    def _tick(self) -> None:
        if not self.alive:
            return
        if not self._client.is_connected:
            # nats-py tells its callbacks only after it has flushed and closed the socket, and a frozen server keeps it
            # from either; its status is true at once.
            self._end("the server does not answer")
            return
        self._inbox.sweep(self._loop.time())
        self._tick_handle = self._loop.call_later(TICK_S, self._tick)

    def _end(self, reason: str) -> None:
        if self.ended.done():
            return
        self.ended.set_result(reason)
        if self._tick_handle is not None:
            self._tick_handle.cancel()
        if self.on_end is not None:
            self.on_end()
        self._inbox.end()
        if self._disposal is None:
            self._disposal = self._loop.create_task(self._dispose(in_peace=False), name="aether nats dispose")

    async def _dispose(self, *, in_peace: bool) -> None:
        try:
            if in_peace:
                await asyncio.wait_for(self._client.close(), CLOSE_TIMEOUT_S)
            else:
                self._abort()
                await asyncio.wait_for(self._client.close(), CLOSE_TIMEOUT_S)
        except Exception as error:
            # It is given up whatever nats-py makes of it.
            _log.debug("the connection was not closed in peace", extra={"error": str(error)})
            self._abort()
        finally:
            self._end("it was closed")

    def _abort(self) -> None:
        # There is no public way to give up a socket whose peer takes nothing; closing would wait for it forever.
        transport = self._client._transport
        if isinstance(transport, TcpTransport) and transport._io_writer is not None:
            transport._io_writer.transport.abort()

    async def _on_error(self, error: Exception) -> None:
        self._troubles.append(error)
        del self._troubles[:-8]
        if isinstance(error, SlowConsumerError):
            _log.error("the connection is given up: a subscription cannot keep up", extra={"subject": error.subject})
            self._end("a subscription could not keep up")
        elif not self._started:
            return
        elif isinstance(error, OSError | UnexpectedEOF):
            self._end(f"the connection broke: {error}")
        else:
            _log.error("the NATS server or client reports an error", extra={"error": str(error)})

    async def _on_closed(self) -> None:
        self._end("the connection was closed")
