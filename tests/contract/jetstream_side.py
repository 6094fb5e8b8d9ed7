"""The JetStream side: one real server for the session, a fresh namespace for each world."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aether.config import ConnectionConfig, StorageConfig
from aether.jetstream.adapters import connect_worker
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.system.clock import SystemClock
from tests.contract.harness import SHARDS, Node, World
from tests.support.jetstream import fresh_namespace


class JetStreamWorld:
    """Namespaces of one server under an unused name; its nodes close with `nodes`."""

    def __init__(self, url: str, nodes: AsyncExitStack) -> None:
        self._config = ConnectionConfig(url=url)
        self._nodes = nodes
        self._prefix = fresh_namespace()

    async def node(self, namespace: str = "one") -> Node:
        opening = connect_worker(
            self._config, f"{self._prefix}-{namespace}", StorageConfig(shards=SHARDS), SystemClock()
        )
        connection = await self._nodes.enter_async_context(opening)
        store = connection.event_store
        return Node(
            store,
            connection.snapshots,
            connection.bus,
            connection.table,
            connection.transport,
            lambda: store.follow(connection.bus),
            store,
            store,
            connection.inbox,
            connection.timers,
            connection.tasks,
            lambda: _again(connection.nats),
        )

    def pass_time(self, seconds: float) -> None:
        """It passes by itself."""


async def _again(connection: NatsConnection) -> None:
    session = connection.session
    assert session is not None
    await session.close()
    await connection.ready()


class JetStreamSide:
    """Over a server that another fixture starts and stops."""

    name = "jetstream"
    manual_time = False
    examples = 30
    steps = 20

    def __init__(self, url: str) -> None:
        self._url = url

    @asynccontextmanager
    async def world(self) -> AsyncIterator[World]:
        async with AsyncExitStack() as nodes:
            yield JetStreamWorld(self._url, nodes)
