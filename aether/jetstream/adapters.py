"""All adapters of one namespace over one NATS connection: what a worker or a client is given.

It owns the connection it opened and closes it; the adapters are made once and share it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aether.config import ConnectionConfig, StorageConfig
from aether.jetstream.asked_durability import AskedDurability
from aether.jetstream.bus import BusConfig, NATSEventBus
from aether.jetstream.connection.nats_connection import NatsConnection, connect
from aether.jetstream.inbox import JetStreamInbox
from aether.jetstream.provisioning import Layout, create_layout, missing, open_layout, repair
from aether.jetstream.snapshots import JetStreamSnapshotStore
from aether.jetstream.store import APPEND_TIMEOUT_S, JetStreamEventStore
from aether.jetstream.stream_settings import SettingDifference
from aether.jetstream.table import JetStreamTable
from aether.jetstream.tasks import JetStreamTasks
from aether.jetstream.timers import UNSYNCED_S, JetStreamTimers
from aether.jetstream.transport import NatsTransport
from aether.jetstream.watch import WatchConfig
from aether.jetstream.write_probe import StreamFiles, why_not_written
from aether.ports import Clock, Durability

RESTORE_ELECTION_TIMEOUT_S = 2.0
REPAIR_TIMEOUT_S = 1.0
"""How long a namespace that is to be repaired is waited for."""


class JetStreamConnection:
    """`ports.Connection` on NATS, with its event store beside."""

    def __init__(
        self,
        connection: NatsConnection,
        layout: Layout,
        clock: Clock,
        *,
        append_timeout_s: float = APPEND_TIMEOUT_S,
        bus: BusConfig | None = None,
        watch: WatchConfig | None = None,
    ) -> None:
        names = layout.names
        self.nats = connection
        self.layout = layout
        self.names = names
        self.namespace = names.namespace
        self.shards = names.shards
        self.clock = clock
        self.transport = NatsTransport(connection, names)
        self.snapshots = JetStreamSnapshotStore(connection, names)
        self.bus = NATSEventBus(connection, names, bus, layout.replicas)
        self.table = JetStreamTable(connection, names, watch, layout.replicas)
        self.inbox = JetStreamInbox(connection, names, layout.replicas)
        self.timers = JetStreamTimers(connection, names, clock)
        self.tasks = JetStreamTasks(connection, names, watch)
        self._storage = StorageConfig(shards=names.shards, replicas=layout.replicas)
        self.event_store = JetStreamEventStore(connection, names, append_timeout_s=append_timeout_s)

    @property
    def table_age_s(self) -> float:
        """How old a table is that was made anew in place of one that was lost; infinity for every other one."""
        return self.layout.table_age_s

    async def why_not_written(self, files: StreamFiles) -> str:
        """Why an acknowledged commit may not be in its stream's files; "" when it is."""
        return await why_not_written(self.nats, self.names, files)

    def wait_for(self, commits: Durability, inbox: Durability) -> None:
        """Take nothing for stored, and hand on nothing that was stored, before it is durable: in the two streams."""
        self.event_store.durability = commits
        self.bus.wait_for(commits)
        self.inbox.commits_durability, self.inbox.durability = commits, inbox
        self.timers.unsynced_s = UNSYNCED_S

    @property
    def server(self) -> str:
        """The server's URL, without secrets."""
        return self.nats.shown

    @property
    def trouble(self) -> str:
        """Why there is no connection to the server now; "" when there is one."""
        return self.nats.trouble

    async def repair(self, *, change: bool) -> list[SettingDifference]:
        """What of the namespace's streams and buckets is not as needed; with `change`, set where it can be.

        Raises `ConfigError`, `Unavailable`.
        """
        return await repair(self.nats, self.namespace, REPAIR_TIMEOUT_S, change=change)

    def on_connected(self, connected: Callable[[], None]) -> None:
        """Call this with each new connection to the server."""
        self.nats.listen(lambda session: connected() if session is not None else None)

    async def missing(self) -> list[str]:
        """The streams of the namespace that are not there. Raises `Unavailable`."""
        return await missing(self.nats, self.names)

    async def restore(self) -> list[str]:
        """Make what of the namespace was deleted, empty; the names of those streams.

        Raises `ConfigError` when what is there is not as needed, `Unavailable`.
        """
        gone = await self.missing()
        await create_layout(self.nats, self.namespace, self._storage, RESTORE_ELECTION_TIMEOUT_S)
        return gone


@asynccontextmanager
async def connect_worker(
    config: ConnectionConfig,
    namespace: str,
    storage: StorageConfig,
    clock: Clock,
    *,
    append_timeout_s: float = APPEND_TIMEOUT_S,
    active_vms_max: int = 0,
) -> AsyncIterator[JetStreamConnection]:
    """The adapters of a namespace that is made when it is not there, for so many active actors.

    Raises `ConfigError`, `Unavailable`.
    """
    async with connect(config) as connection:
        layout = await create_layout(connection, namespace, storage)
        layout.names.keep(active_vms_max)
        bundle = JetStreamConnection(connection, layout, clock, append_timeout_s=append_timeout_s)
        try:
            yield bundle
        finally:
            await bundle.bus.close()


async def client_bundle(
    connection: NatsConnection, namespace: str, clock: Clock, *, timeout_s: float
) -> JetStreamConnection:
    """The adapters of a namespace that a worker has made or makes within `timeout_s`. Close their bus at the end.

    Stored commits are handed on once they are durable. Raises `ConfigError`, `Unavailable`.
    """
    bundle = JetStreamConnection(connection, await open_layout(connection, namespace, timeout_s), clock)
    names, table = bundle.names, bundle.table
    bundle.wait_for(
        AskedDurability(connection, names.durable(), table), AskedDurability(connection, names.inbox_durable(), table)
    )
    return bundle
