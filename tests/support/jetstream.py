"""The JetStream adapters as the integration tests build them: one node of one namespace over one connection."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from secrets import token_hex

from aether.config import ConnectionConfig, StorageConfig
from aether.jetstream.adapters import JetStreamConnection
from aether.jetstream.bus import BusConfig
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection, Receive, StandingSubscription
from aether.jetstream.connection.session import NatsSession
from aether.jetstream.provisioning import create_layout
from aether.jetstream.watch import WatchConfig
from aether.system.clock import SystemClock
from tests.contract.harness import Received

SHARDS = 8
PING_INTERVAL_S = 0.2
"""A frozen server is given up after three of these."""


def fresh_namespace() -> str:
    """An unused namespace."""
    return f"t{token_hex(6)}"


class LossyConnection(NatsConnection):
    """A connection that does not hear the messages `loses` says, as after a dropped broadcast."""

    def __init__(self, config: ConnectionConfig, loses: Callable[[Message], bool]) -> None:
        super().__init__(config)
        self._loses = loses

    async def subscribe(self, subject: str, receive: Receive, queue: str = "") -> StandingSubscription:
        def heard(session: NatsSession, message: Message) -> None:
            if not self._loses(message):
                receive(session, message)

        return await super().subscribe(subject, heard, queue)


@asynccontextmanager
async def node(
    url: str,
    namespace: str,
    *,
    append_timeout_s: float = 20.0,
    idle_scan_s: float = 3.0,
    held_max: int = 10_000,
    heartbeat_s: float = 0.2,
    loses: Callable[[Message], bool] = lambda _: False,
) -> AsyncIterator[JetStreamConnection]:
    """A node whose connection is closed at the end."""
    connection = LossyConnection(ConnectionConfig(url=url, ping_interval_s=PING_INTERVAL_S), loses)
    await connection.open()
    try:
        layout = await create_layout(connection, namespace, StorageConfig(shards=SHARDS))
        bundle = JetStreamConnection(
            connection,
            layout,
            SystemClock(),
            append_timeout_s=append_timeout_s,
            bus=BusConfig(idle_scan_s=idle_scan_s, held_max=held_max),
            watch=WatchConfig(heartbeat_s=heartbeat_s),
        )
        try:
            yield bundle
        finally:
            await bundle.bus.close()
    finally:
        await connection.close()


class Sessions:
    """The sessions a connection has had since this was made."""

    def __init__(self, connection: NatsConnection) -> None:
        self._received = Received[NatsSession | None]()
        connection.listen(self._received.receive)

    async def lost(self) -> None:
        """Return when one was lost."""
        await self._received.until(lambda items: None in items)

    async def back(self) -> None:
        """Return when one was lost and another is there."""
        await self._received.until(lambda items: None in items and items[-1] is not None)
