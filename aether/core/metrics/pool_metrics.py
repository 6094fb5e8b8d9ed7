"""The numbers of a pool: those of its workers, added, and which workers did not tell theirs.

Counters begin at zero in each worker, and a worker that is gone takes its counts along. So the sum over the workers
that are there may fall, which Prometheus would take for a restart of all. `Accumulated` adds up what was gained.
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from aether.core.metrics.failures import FailureGroup, merged
from aether.core.metrics.readings import Readings
from aether.core.metrics.worker_metrics import WorkerMetrics, decode_metrics

WORKERS_KEPT = 1_024
"""Workers whose last reading is kept, those that are gone too: one that comes back is not counted twice."""


@dataclass(frozen=True, slots=True)
class PoolMetrics:
    """What each worker of a pool said, at about one time; `missing` are members that said nothing, by name.

    `shards` is how many shards the namespace has.
    """

    workers: tuple[WorkerMetrics, ...]
    missing: tuple[str, ...]
    shards: int

    def sum(self) -> Readings:
        """The readings of all workers added, and what is to say of the pool."""
        found = Readings()
        for worker in self.workers:
            found.add(worker.readings)
        self._add_pool(found)
        return found

    def failures(self) -> list[FailureGroup]:
        """What all workers remember of commands that failed, by command and error, the latest first."""
        return merged(worker.failures for worker in self.workers)

    def rejections(self) -> list[FailureGroup]:
        """The same of commands that were rejected."""
        return merged(worker.rejections for worker in self.workers)

    def gauges(self) -> Readings:
        """The gauges of `sum`."""
        found = Readings()
        for worker in self.workers:
            found.add(worker.readings.gauges())
        self._add_pool(found)
        return found

    def _add_pool(self, found: Readings) -> None:
        found.put("aether_shards", self.shards)
        found.put("aether_workers", len(self.workers))
        found.put("aether_workers_missing", len(self.missing))


class Accumulated:
    """Counters and histograms of a pool that never fall, whichever workers come and go. One reader, who asks in order.

    It begins with what the workers that are there have counted.
    """

    def __init__(self) -> None:
        self._counted = Readings()
        self._last: dict[tuple[str, str], Readings] = {}

    def take(self, pool: PoolMetrics) -> Readings:
        """The counts so far with what these workers counted since they were last here, and their gauges."""
        for worker in pool.workers:
            name = (worker.member, worker.incarnation)
            self._counted.add(worker.readings.since(self._last.pop(name, Readings())))
            self._last[name] = worker.readings
        for name in list(self._last)[: max(0, len(self._last) - WORKERS_KEPT)]:
            del self._last[name]
        found = pool.gauges()
        found.add(self._counted)
        return found


async def ask_workers(
    ask: Callable[[Callable[[bytes], bool], float], Awaitable[None]],
    expected: Collection[tuple[str, str]],
    shards: int,
    timeout_s: float,
) -> PoolMetrics:
    """What all workers say when they are asked by `ask`; no longer than until those `expected` have, or the time is up.

    Workers are expected by name and incarnation; who answers unexpected counts too.
    """
    told: dict[tuple[str, str], WorkerMetrics] = {}

    def heard(raw: bytes) -> bool:
        metrics = decode_metrics(raw)
        if metrics is not None:
            told[metrics.member, metrics.incarnation] = metrics
        return bool(expected) and told.keys() >= set(expected)

    await ask(heard, timeout_s)
    missing = sorted(set(expected) - told.keys())
    return PoolMetrics(tuple(told[name] for name in sorted(told)), tuple(member for member, _ in missing), shards)
