"""What users test their actors with: one actor's decisions, a runtime, or a pool, all in memory."""

from aether.testing.clock import PoolClock
from aether.testing.given import Given, Outcome, given
from aether.testing.local import local_runtime
from aether.testing.pool import LocalPool, LocalWorker, local_pool
from aether.testing.sent import Scheduled, Started, Told, scheduled, started, told

__all__ = [
    "Given",
    "LocalPool",
    "LocalWorker",
    "Outcome",
    "PoolClock",
    "Scheduled",
    "Started",
    "Told",
    "given",
    "local_pool",
    "local_runtime",
    "scheduled",
    "started",
    "told",
]
