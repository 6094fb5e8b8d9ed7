"""A connection to NATS that is opened again: a sequence of sessions, and the subscriptions that outlive them.

While there is no session, requests wait a little for one and then raise `NotSent`; nothing is kept to be sent later.
A lost session is replaced in the background, with back-off; on the new one every standing subscription is made again
and then the listeners are called, so that each follower can read what it missed. One event loop, one
task; listeners are synchronous.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeAlias

from aether.background import Background
from aether.config import SERVER_VERSION_MIN, ConnectionConfig
from aether.core.backoff import Backoff
from aether.errors import AetherError, ConfigError, Unavailable
from aether.jetstream.connection.dialer import Dialer
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.session import NatsSession
from aether.log_lines import Repeated, words
from aether.ports import NotSent

RECONNECT = Backoff(first_s=0.05, cap_s=1.0)
CANCEL_AGAIN_S = 0.1
SESSION_WAIT_MAX_S = 2.0
"""How long a request waits for a connection before it is refused, if its own time-out is not shorter."""

Receive: TypeAlias = Callable[[NatsSession, Message], None]

log = logging.getLogger("aether.connection")


class StandingSubscription:
    """A subscription on the present session and on each later one."""

    def __init__(self, connection: "NatsConnection", subject: str, receive: Receive, queue: str) -> None:
        self._connection = connection
        self._subject = subject
        self._receive = receive
        self._queue = queue
        self._on: tuple[NatsSession, str] | None = None
        self._ending: asyncio.Task[None] | None = None

    def begin(self, session: NatsSession) -> None:
        """Subscribe on a session. Raises `Unavailable`."""
        subscription = session.subscribe(self._subject, partial(self._receive, session), self._queue)
        self._on = (session, subscription)

    async def catch_up(self) -> None:
        """Return when all that the server had sent when this was called has been received."""
        if self._on is None:
            return
        session, subscription = self._on
        try:
            await session.catch_up(subscription)
        except Unavailable:
            return

    async def stop(self) -> None:
        """Unsubscribe; what the server sent before it knew has been received when this returns. Idempotent.

        Cancelled, it goes on in the background: nothing else would unsubscribe.
        """
        self._connection.drop(self)
        on, self._on = self._on, None
        if on is not None:
            self._ending = self._connection.spawn(self._end(*on))
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def _end(self, session: NatsSession, subscription: str) -> None:
        if session.alive:
            with suppress(Unavailable):
                await session.drain(subscription)


class NatsConnection:
    """A connection to NATS that is opened again when it is lost. Open it with `connect`."""

    def __init__(self, config: ConnectionConfig) -> None:
        self.config = config
        self.session: NatsSession | None = None
        self._dialer = Dialer(config)
        self._standing: dict[StandingSubscription, None] = {}
        self._listeners: dict[Callable[[NatsSession | None], None], None] = {}
        self._opened = asyncio.Event()
        self._background = Background()
        self._count = 0
        self._keeper: asyncio.Task[None] | None = None
        self._payload_bytes_max = 0
        self._missed = Repeated(log, logging.INFO, "NATS cannot be reached yet")
        self._closed = False
        self._trouble = "it was lost"

    async def open(self) -> None:
        """Connect for the first time. Raises `Unavailable` naming the URL, `ConfigError` naming the setting."""
        session = await self._new_session()
        try:
            _check_version(session.server_version)
        except ConfigError:
            await session.close()
            raise
        await self._adopt(session)
        self._keeper = self._background.forever("aether nats connection", self._keep)

    async def close(self) -> None:
        """Send what is queued and end; waits for a connection end with an error. Idempotent."""
        self._closed = True
        self._opened.set()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            while not keeper.done():  # nats-py swallows a cancellation while it connects
                keeper.cancel()
                await asyncio.wait((keeper,), timeout=CANCEL_AGAIN_S)
        session = self.session
        if session is not None:
            await session.close()
            self._lost()

    @property
    def closed(self) -> bool:
        """Whether it was closed for good."""
        return self._closed

    @property
    def shown(self) -> str:
        """The server's URL, or several, without secrets."""
        return self._dialer.shown

    @property
    def trouble(self) -> str:
        """Why there is no connection now; "" when there is one."""
        if self.session is not None:
            return ""
        if self._closed:
            return f"the connection to {self.shown} is closed"
        return f"there is no connection to {self.shown}: {self._trouble}"

    @property
    def payload_bytes_max(self) -> int:
        """Largest message with its headers, in bytes, as the last server said."""
        return self._payload_bytes_max

    async def ready(self, timeout_s: float = SESSION_WAIT_MAX_S) -> NatsSession:
        """The session, waiting a little for one. Raises `NotSent`."""
        if self.session is None:
            try:
                async with asyncio.timeout(min(timeout_s, SESSION_WAIT_MAX_S)):
                    await self._opened.wait()
            except TimeoutError:
                pass
        if self.session is None:
            raise NotSent(self.trouble)
        return self.session

    async def request(
        self, subject: str, payload: bytes, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        """The reply. Raises `NotSent` for no connection and no responder, `Unavailable` for loss and time-out."""
        session = self.session or await self.ready(timeout_s)
        return await session.request(subject, payload, timeout_s, headers)

    async def subscribe(self, subject: str, receive: Receive, queue: str = "") -> StandingSubscription:
        """Receive the messages of a subject, on this and later sessions; returns when the server knows of it.

        Raises `Unavailable`, and then nothing is subscribed.
        """
        standing = StandingSubscription(self, subject, receive, queue)
        session = await self.ready()
        standing.begin(session)
        try:
            await session.barrier()
        except BaseException:  # cancelled, or lost: a subscription without an owner must not take messages
            self.spawn(standing.stop())
            raise
        if not session.alive:
            raise Unavailable(f"there is no connection to {self._dialer.shown}")
        # Only now, in one step with the check: a session that comes later finds it, this one has it.
        self._standing[standing] = None
        return standing

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task that goes on when its caller is cancelled."""
        return self._background.once("aether nats subscription", work)

    def drop(self, standing: StandingSubscription) -> None:
        """Make a subscription on no further session."""
        self._standing.pop(standing, None)

    def listen(self, changed: Callable[[NatsSession | None], None]) -> Callable[[], None]:
        """Call `changed` with each new session, subscriptions made, and with None when it is lost.

        Returns what ends it.
        """
        self._listeners[changed] = None

        def end() -> None:
            self._listeners.pop(changed, None)

        return end

    async def _keep(self) -> None:
        while True:
            session = self.session
            if session is None:
                session = await self._next_session()
                log.info("the NATS connection is back", extra={"connection": session.number})
            reason = self._trouble = await asyncio.shield(session.ended)
            self._lost()
            log.warning("the NATS connection is lost", extra={"reason": reason, "connection": session.number})

    async def _next_session(self) -> NatsSession:
        attempt = 0
        while True:
            try:
                session = await self._new_session()
                await self._adopt(session)
            except AetherError as error:
                self._trouble = error.message
                self._missed.again(error=words(error), attempt=attempt)
            else:
                self._missed.over()
                return session
            # Many workers must not come back in step; nothing depends on the value.
            await asyncio.sleep(RECONNECT.delay_s(attempt, random.random()))  # noqa: S311 - no secret
            attempt += 1

    async def _new_session(self) -> NatsSession:
        self._count += 1
        return await self._dialer.open(self._count)

    async def _adopt(self, session: NatsSession) -> None:
        try:
            for standing in list(self._standing):
                standing.begin(session)
                if standing not in self._standing:
                    await standing.stop()
            await session.barrier()
        except BaseException:
            await session.close()
            raise
        if not session.alive:
            raise Unavailable(f"the connection to {self._dialer.shown} was lost again")
        self._payload_bytes_max = session.payload_bytes_max
        self.session = session
        session.on_end = self._lost
        self._opened.set()
        self._call_listeners(session)

    def _lost(self) -> None:
        if self.session is not None:
            self.session = None
            if not self._closed:
                self._opened.clear()
            self._call_listeners(None)

    def _call_listeners(self, session: NatsSession | None) -> None:
        for changed in list(self._listeners):
            try:
                changed(session)
            except Exception:  # one listener's fault must not keep the others from being called
                log.exception("a listener to the connection raised")


@asynccontextmanager
async def connect(config: ConnectionConfig) -> AsyncIterator[NatsConnection]:
    """A connection, closed at the end. Raises `Unavailable` naming the URL, `ConfigError` naming the setting."""
    connection = NatsConnection(config)
    await connection.open()
    try:
        yield connection
    finally:
        await connection.close()


def _check_version(version: tuple[int, int, int]) -> None:
    if version < SERVER_VERSION_MIN:
        needed, found = (".".join(map(str, numbers)) for numbers in (SERVER_VERSION_MIN, version))
        raise ConfigError(f"nats-server {needed} or later is needed, this is {found}", setting="url", found=found)
