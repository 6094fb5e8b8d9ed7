"""What a runtime is given by its maker: its adapters, its settings, and whom it asks and tells.

Every part of the runtime takes what it needs from here. It is set once, when the runtime is made, and holds no state
but the counters and the health that its parts report to.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from aether.config import RuntimeConfig
from aether.core.health import Health
from aether.ports import Clock, Connection, EventStore, Halts, Inbox, Lease, Tasks, Timers, WorkerNote
from aether.runtime.counters import Counters


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """See `aether.runtime.runtime.Runtime`, whose parameters these are. `tasks` is None without an `inbox`."""

    connection: Connection
    event_store: EventStore
    config: RuntimeConfig
    lease: Lease
    jitter: Callable[[], float]
    health: Health
    note: WorkerNote | None
    halts: Halts | None
    deployment: Callable[[], str]
    inbox: Inbox | None
    tasks: Tasks | None
    timers: Timers | None
    task_ttl_s: float
    counters: Counters = field(default_factory=Counters)

    @property
    def clock(self) -> Clock:
        """The connection's clock."""
        return self.connection.clock
