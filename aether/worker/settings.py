"""What all workers of a pool share."""

from dataclasses import dataclass, field

from aether.config import ClusterConfig, ConnectionConfig, LogConfig, RuntimeConfig, StorageConfig
from aether.system.shared_failure import SharedFailure


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The settings of one pool's workers. Which worker one is, its `WorkerSpec` says.

    `sync_failure`: set by a worker that can make nothing durable any more, for all of them and their supervisor.
    """

    namespace: str
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    log: LogConfig = field(default_factory=LogConfig)
    sync_failure: SharedFailure = field(default_factory=SharedFailure)
