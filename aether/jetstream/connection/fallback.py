"""A connection's traffic through nats-py itself, where a `NatsProtocol` cannot have the transport: slower, else alike.

It serves a WebSocket, a nats-py whose inside has changed, and a connection that is still being opened. A subscription
has a queue and a task of nats-py's here, so the order of messages holds within a subscription only.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError

from aether.errors import Unavailable
from aether.jetstream.connection.message import Message, parse_headers
from aether.log_lines import words

PENDING_MESSAGES_MAX = 262_144
PENDING_BYTES_MAX = 256 * 1024 * 1024
"""What one subscription may hold undelivered; beyond it a message would be dropped, so the session ends."""

CLOSE_TIMEOUT_S = 1.0

Receive: TypeAlias = Callable[[Message], None]
T = TypeVar("T")

log = logging.getLogger("aether.connection")


class TlsNotOffered(Exception):
    """TLS was asked for, and the server greeted without it."""


class FallbackClient(Client):
    """nats-py writes the PING of its `flush` to the socket ahead of queued commands, so a drained subscription's PONG
    can overtake its UNSUB, and what the server delivers between the two is thrown away. A message to ourselves cannot.
    """

    barrier: Callable[[], Awaitable[None]] | None = None
    tls_wanted = False

    async def flush(self, timeout: int = 0) -> None:  # noqa: ASYNC109 - nats-py's signature
        """Return when the server has done all that was sent before."""
        if self.barrier is not None:
            await self.barrier()

    def _connect_command(self) -> bytes:
        """What says who we are. nats-py sends it unencrypted to a server without TLS, though TLS was asked for."""
        if self.tls_wanted and not self._server_info.get("tls_required"):
            raise TlsNotOffered("the server does not offer TLS")
        return super()._connect_command()


class NatsPyFallback:
    """What `NatsProtocol` does, by nats-py's public methods; `lost` is called with the reason when it cannot go on."""

    def __init__(self, client: FallbackClient, lost: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._client = client
        self._lost = lost
        self._subscriptions: dict[str, Subscription] = {}
        self._count = 0
        self._closing: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether it goes on. nats-py's callbacks come only after it has closed the socket; its status is true."""
        return self._client.is_connected

    def publish(self, subject: str, reply_to: str, head: bytes, payload: bytes) -> None:
        """Send a message. Raises `Unavailable`."""
        # With pending_size=0 nothing in nats-py's coroutines waits: they append to a list and wake the flusher. Driving
        # one by hand saves a task and, more, keeps a caller's step atomic.
        headers = parse_headers(head) if head else None
        self._at_once(self._client.publish(subject, payload, reply_to, headers), "a message")

    def subscribe(self, subject: str, queue: str, receive: Receive) -> str:
        """Call `receive` for each message; the id of the subscription. Raises `Unavailable`."""

        async def received(message: Msg) -> None:
            if self._closing is not None:
                return
            try:
                receive(Message(message.subject, message.reply, message.data, None, message.headers))
            except Exception:
                log.exception("a receiver of messages raised", extra={"subject": message.subject})

        subscribing = self._client.subscribe(
            subject,
            queue,
            received,
            pending_msgs_limit=PENDING_MESSAGES_MAX,
            pending_bytes_limit=PENDING_BYTES_MAX,
        )
        subscription = self._at_once(subscribing, "a subscription")
        self._count += 1
        sid = str(self._count)
        self._subscriptions[sid] = subscription
        return sid

    async def drain(self, sid: str, barrier: Callable[[], Awaitable[None]]) -> None:
        """Unsubscribe; what the server sent before it knew has been received when this returns."""
        self._client.barrier = barrier
        subscription = self._subscriptions.pop(sid)
        await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py does not annotate it

    async def catch_up(self, sid: str) -> None:
        """Return when all that came so far has been received."""
        subscription = self._subscriptions.get(sid)
        # The receiver is synchronous, so what has left nats-py's queue has been received.
        while subscription and self.alive and subscription.pending_msgs:  # noqa: ASYNC110 - nats-py signals nothing
            await asyncio.sleep(0)

    def close(self) -> None:
        """Write what is unsent and end; `closed` tells when it has. Idempotent."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(), name="aether nats close")

    def abort(self) -> None:
        """End at once. Idempotent."""
        # There is no public way to give up a socket whose peer takes nothing; closing would wait for it forever.
        transport = getattr(self._client, "_transport", None)
        writer = getattr(transport, "_io_writer", None) if isinstance(transport, TcpTransport) else None
        if writer is not None:
            writer.transport.abort()
        self.close()

    async def _close(self) -> None:
        try:
            await asyncio.wait_for(self._client.close(), CLOSE_TIMEOUT_S)
        except Exception as error:
            # It is given up whatever nats-py makes of it.
            log.debug("the connection could not be closed in order", extra={"error": words(error)})
        finally:
            if not self.closed.done():
                self.closed.set_result(None)

    def _at_once(self, sending: Coroutine[Any, Any, T], what: str) -> T:
        """The result of a coroutine of nats-py that does not wait. Raises `Unavailable`, and ends, when it would."""
        try:
            sending.send(None)
        except StopIteration as done:
            result: T = done.value
            return result
        except (NatsError, OSError) as error:
            self._lost(f"{what} could not be sent: {error}")
            raise Unavailable(f"{what} could not be sent") from None
        sending.close()
        self._lost(f"{what} could not be sent at once")
        raise Unavailable(f"{what} could not be sent")
