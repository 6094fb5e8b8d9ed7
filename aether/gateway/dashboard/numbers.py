"""What a pool does over the last minutes, for the overview: readings taken while the page is open.

One gateway asks the workers at most once in `ASK_AFTER_S`, however many look, and shows what it has while it asks: a
worker that does not answer makes no page slow. What was not measured is not drawn.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from aether.background import Background
from aether.core.cluster.overview import Overview
from aether.core.metrics.failures import FailureGroup
from aether.core.metrics.histogram import Histogram
from aether.core.metrics.pool_metrics import Accumulated
from aether.core.metrics.readings import Readings
from aether.untyped_client import UntypedClient
from aether.wire import STATE_COMMAND

INTERVAL_S = 2.0
"""How often a page that is looked at is drawn anew."""

ASK_AFTER_S = 1.5
"""A reading this old is followed by another one."""

KEPT = 91
"""Readings kept: three minutes."""

STALE_S = 8.0
"""An older reading is not shown: a new one is waited for."""

RECENT_S = 60.0
"""How far back the table of commands looks, seconds."""

COMMANDS_SHOWN_MAX = 40

FAILURES = ("failed", "timed_out", "unavailable", "overloaded")
REFUSALS = ("rejected", "invalid", "unknown")
ATTEMPT_FAILURES = ("failed", "timed_out")


@dataclass(frozen=True, slots=True)
class Reading:
    """The pool at one moment. `at_s` is the event loop's time."""

    at_s: float
    time: datetime
    overview: Overview
    readings: Readings
    missing: tuple[str, ...]
    failures: list[FailureGroup] = field(default_factory=list)
    rejections: list[FailureGroup] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Interval:
    """Between two readings: rates per second, latencies in milliseconds, None where no command ended."""

    commands: float
    failures: float
    refusals: float
    p50_ms: float | None
    p99_ms: float | None
    waiting: float


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One command in the last `RECENT_S` seconds."""

    kind: str
    command: str
    rate: float
    count: float
    refused: float
    failed: float
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class StateReads:
    """How often states of actors were read in the last `RECENT_S` seconds, as by these pages, and how many failed."""

    count: float
    failed: float


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One task in the last `RECENT_S` seconds: attempts that ended per second, and how many failed."""

    task: str
    rate: float
    failed: float


class Numbers:
    """The readings of one gateway. It belongs to one event loop; `close` ends what it still asks."""

    def __init__(self, client: UntypedClient, deadline_s: float) -> None:
        self._client = client
        self._deadline_s = deadline_s
        self._counted = Accumulated()
        self._taking = asyncio.Lock()
        self._background = Background()
        self._kept: deque[Reading] = deque(maxlen=KEPT)

    async def readings(self) -> list[Reading]:
        """The readings so far, the last one not older than `STALE_S`. Raises what `UntypedClient.overview` raises."""
        age_s = self._age_s()
        if age_s > STALE_S:
            await self._take(STALE_S)
        elif age_s >= ASK_AFTER_S and not self._taking.locked():
            self._background.once("a reading of the pool", self._take(ASK_AFTER_S))
        return list(self._kept)

    async def latest(self) -> Reading:
        """A reading not older than `ASK_AFTER_S`, which is waited for. Raises what `readings` raises.

        A caller that stops waiting does not end the reading: the next caller has it.
        """
        if self._age_s() >= ASK_AFTER_S:
            await asyncio.shield(self._background.once("a reading of the pool", self._take(ASK_AFTER_S)))
        return self._kept[-1]

    def close(self) -> None:
        """Ask nothing more. Idempotent."""
        for task in self._background.tasks:
            task.cancel()

    def _age_s(self) -> float:
        return asyncio.get_running_loop().time() - self._kept[-1].at_s if self._kept else float("inf")

    async def _take(self, older_than_s: float) -> None:
        async with self._taking:
            if self._age_s() < older_than_s:
                return
            found, metrics = await asyncio.gather(
                self._client.overview(deadline_s=self._deadline_s), self._client.metrics(deadline_s=self._deadline_s)
            )
            at_s = asyncio.get_running_loop().time()
            counted = self._counted.take(metrics)
            failures, rejections = metrics.failures(), metrics.rejections()
            self._kept.append(Reading(at_s, datetime.now(UTC), found, counted, metrics.missing, failures, rejections))


def intervals(readings: list[Reading]) -> list[Interval | None]:
    """What happened between readings, the newest last; None before the first, and where the page was not open."""
    found: list[Interval | None] = []
    for earlier, later in pairwise(readings):
        seconds = later.at_s - earlier.at_s
        missed = min(KEPT, round(seconds / INTERVAL_S) - 1) if seconds > 3 * INTERVAL_S else 0
        found += [None] * missed if missed else [_interval(earlier, later, seconds)]
    found = found[-(KEPT - 1) :]
    return [None] * (KEPT - 1 - len(found)) + found


def recent(readings: list[Reading], most: int | None = COMMANDS_SHOWN_MAX) -> list[CommandRow]:
    """The commands of the last minute, those that fail first, then the most frequent; `most` of them."""
    rows = [row for row in _rows(readings) if row.command != STATE_COMMAND]
    return sorted(rows, key=lambda row: (-row.failed, -row.count))[:most]


def state_reads(readings: list[Reading]) -> StateReads:
    """How often states were read in the last minute, and how often in vain."""
    rows = [row for row in _rows(readings) if row.command == STATE_COMMAND]
    return StateReads(sum(row.count for row in rows), sum(row.failed for row in rows))


def _rows(readings: list[Reading]) -> list[CommandRow]:
    gained, seconds = _gained(readings)
    if not seconds:
        return []
    counts: dict[tuple[str, str], dict[str, float]] = {}
    for (kind, command, outcome), count in gained.values.get("aether_commands_total", {}).items():
        counts.setdefault((kind, command), {})[outcome] = count
    rows = []
    for (kind, command), by_outcome in counts.items():
        total = sum(by_outcome.values())
        took = gained.histograms.get("aether_command_seconds", {}).get((kind, command))
        if total:
            rows.append(
                CommandRow(
                    kind, command, total / seconds, total, _sum(by_outcome, REFUSALS), _sum(by_outcome, FAILURES),
                    _quantile_ms(took, 0.5), _quantile_ms(took, 0.99),
                )
            )  # fmt: skip
    return rows


def recent_tasks(readings: list[Reading]) -> list[TaskRow]:
    """The attempts of tasks that ended in the last minute, by task."""
    gained, seconds = _gained(readings)
    counts: dict[str, dict[str, float]] = {}
    for (task, outcome), count in gained.values.get("aether_task_attempts_total", {}).items():
        counts.setdefault(task, {})[outcome] = count
    found = [(task, sum(by.values()), _sum(by, ATTEMPT_FAILURES)) for task, by in sorted(counts.items())]
    return [TaskRow(task, ended / seconds, failed) for task, ended, failed in found if ended]


def _gained(readings: list[Reading]) -> tuple[Readings, float]:
    """What was counted within the last `RECENT_S` seconds, and in how many of them; 0 with one reading only."""
    last = readings[-1]
    first = next(one for one in readings if one.at_s >= last.at_s - RECENT_S)
    return last.readings.since(first.readings), last.at_s - first.at_s


def _interval(earlier: Reading, later: Reading, seconds: float) -> Interval:
    gained = later.readings.since(earlier.readings)
    outcomes: dict[str, float] = {}
    for (_kind, command, outcome), count in gained.values.get("aether_commands_total", {}).items():
        if command != STATE_COMMAND:
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    took = Histogram()
    for (_kind, command), histogram in gained.histograms.get("aether_command_seconds", {}).items():
        if command != STATE_COMMAND:
            took.add(histogram)
    return Interval(
        commands=sum(outcomes.values()) / seconds,
        failures=_sum(outcomes, FAILURES) / seconds,
        refusals=_sum(outcomes, REFUSALS) / seconds,
        p50_ms=_quantile_ms(took, 0.5),
        p99_ms=_quantile_ms(took, 0.99),
        waiting=later.readings.total("aether_waiting_commands"),
    )


def _sum(counts: dict[str, float], names: Iterable[str]) -> float:
    return sum(counts.get(name, 0) for name in names)


def _quantile_ms(histogram: Histogram | None, share: float) -> float | None:
    found = None if histogram is None else histogram.quantile_s(share)
    return None if found is None else found * 1000
