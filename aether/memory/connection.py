"""One node's connection with all its adapters: what a Runtime takes instead of a NATS connection."""

from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Any

from aether.memory.bus import InMemoryEventBus
from aether.memory.clock import AlarmClock
from aether.memory.faults import Faults
from aether.memory.inbox import InMemoryInbox
from aether.memory.link import Link
from aether.memory.server import InMemoryServer
from aether.memory.snapshots import InMemorySnapshotStore
from aether.memory.store import InMemoryEventStore
from aether.memory.table import InMemoryTable
from aether.memory.tasks import InMemoryTasks
from aether.memory.timers import InMemoryTimers
from aether.memory.transport import InMemoryTransport
from aether.names import SHARDS_DEFAULT


class InMemoryConnection(Link):
    """A node of `namespace`: alone with a server of its own, or with others that share `server`.

    Raises `ConfigError` for a namespace that cannot be one or has another number of shards, and ValueError when both a
    server and a clock are given: a server brings its clock. `disconnect` and `reconnect` break and restore it.
    """

    def __init__(
        self,
        server: InMemoryServer | None = None,
        namespace: str = "memory",
        *,
        shards: int = SHARDS_DEFAULT,
        clock: AlarmClock | None = None,
        faults: Faults | None = None,
    ) -> None:
        if server is not None and clock is not None:
            raise ValueError("a server brings its clock")
        super().__init__(server or InMemoryServer(clock=clock), namespace, shards, faults)
        self.event_store = InMemoryEventStore(self)
        self.snapshots = InMemorySnapshotStore(self)
        self.inbox = InMemoryInbox(self)
        self.timers = InMemoryTimers(self)
        self.tasks = InMemoryTasks(self)
        self.bus = InMemoryEventBus(self)
        self.table = InMemoryTable(self)
        self.transport = InMemoryTransport(self)

    @property
    def server(self) -> str:
        """Where it is, for people."""
        return "memory"

    @property
    def trouble(self) -> str:
        """Why there is no connection now; "" when there is one."""
        return "" if self.up else "not connected"

    async def repair(self, *, change: bool) -> list[Any]:
        """Nothing: in memory nothing can be other than needed."""
        return []

    @property
    def table_age_s(self) -> float:
        """Infinity: a table in memory is lost with all else."""
        return inf

    async def restore(self) -> list[str]:
        """Nothing: in memory nothing can be deleted."""
        return []

    def on_connected(self, connected: Callable[[], None]) -> None:
        """Call this when the connection is back."""
        self.on_up[connected] = None

    async def __aenter__(self) -> "InMemoryConnection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
