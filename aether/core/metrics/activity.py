"""What a pool does just now, for people to see: the difference of two readings of its metrics, as rates and times."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from aether.core.cluster.overview import Overview
from aether.core.metrics.failures import FailureGroup
from aether.core.metrics.histogram import Histogram
from aether.core.metrics.pool_metrics import PoolMetrics
from aether.core.metrics.readings import Readings
from aether.table_keys import member_name

FAILURES = ("failed", "timed_out", "overloaded", "unavailable")
"""Outcomes of commands that are no decision of an actor and no fault of the caller."""


class CommandActivity(Struct, frozen=True, kw_only=True):
    """One command of a kind, per second; the time that half, and 95 in 100, took at most, None without commands."""

    kind: str
    command: str
    per_s: float
    failed_per_s: float
    rejected_per_s: float
    p50_s: float | None
    p95_s: float | None


class WorkerActivity(Struct, frozen=True, kw_only=True):
    """One worker. `told` says whether it told its numbers; without them they are 0."""

    member: str
    state: str
    told: bool
    shards: int
    active: int
    waiting: int
    per_s: float
    failed_per_s: float
    loop_lag_p95_s: float | None


class PoolActivity(Struct, frozen=True, kw_only=True):
    """A pool at work, over so many seconds. `shards` counts by state, `missing` names workers that told nothing.

    `failures`: what the workers remember of commands that failed, the latest first.
    """

    over_s: float
    shards: dict[str, int]
    active: int
    waiting: int
    per_s: float
    failed_per_s: float
    rejected_per_s: float
    p50_s: float | None
    p95_s: float | None
    commit_p95_s: float | None
    missing: list[str]
    workers: list[WorkerActivity]
    commands: list[CommandActivity]
    failures: list[FailureGroup] = []


def pool_activity(overview: Overview, before: PoolMetrics, now: PoolMetrics, over_s: float) -> PoolActivity:
    """What the workers that told their numbers both times have done between, over `over_s` seconds.

    Commands are sorted by how many there were.
    """
    earlier = {(one.member, one.incarnation): one.readings for one in before.workers}
    gained: dict[str, Readings] = {}
    sums = Readings()
    for worker in now.workers:
        was = earlier.get((worker.member, worker.incarnation), worker.readings)
        gained[worker.member] = worker.readings.since(was)
        sums.add(gained[worker.member])
    told = {one.member: one.readings for one in now.workers}
    gauges = now.gauges()
    took = _all(sums.histograms.get("aether_command_seconds", {}))
    return PoolActivity(
        over_s=over_s,
        shards=_by_state(overview),
        active=round(gauges.total("aether_active_actors")),
        waiting=round(gauges.total("aether_waiting_commands")),
        per_s=sums.total("aether_commands_total") / over_s,
        failed_per_s=_count(sums, FAILURES) / over_s,
        rejected_per_s=_count(sums, ("rejected", "invalid", "unknown")) / over_s,
        p50_s=took.quantile_s(0.5),
        p95_s=took.quantile_s(0.95),
        commit_p95_s=_all(sums.histograms.get("aether_commit_seconds", {})).quantile_s(0.95),
        missing=list(now.missing),
        workers=[_worker(row, told, gained, over_s) for row in overview.members],
        commands=sorted(_commands(sums, over_s), key=lambda one: (-one.per_s, one.kind, one.command)),
        failures=now.failures(),
    )


def _commands(sums: Readings, over_s: float) -> list[CommandActivity]:
    names = sorted({labels[:2] for labels in sums.values.get("aether_commands_total", {})})
    found = []
    for kind, command in names:
        took = sums.histograms.get("aether_command_seconds", {}).get((kind, command), Histogram())
        found.append(
            CommandActivity(
                kind=kind,
                command=command,
                per_s=_count(sums, None, kind, command) / over_s,
                failed_per_s=_count(sums, FAILURES, kind, command) / over_s,
                rejected_per_s=_count(sums, ("rejected", "invalid", "unknown"), kind, command) / over_s,
                p50_s=took.quantile_s(0.5),
                p95_s=took.quantile_s(0.95),
            )
        )
    return found


def _worker(
    row: Mapping[str, Any], told: Mapping[str, Readings], gained: Mapping[str, Readings], over_s: float
) -> WorkerActivity:
    name = member_name(str(row["node"]), int(row["slot"]))
    now, since = told.get(name, Readings()), gained.get(name, Readings())
    return WorkerActivity(
        member=name,
        state=str(row["state"]),
        told=name in told,
        shards=int(row.get("shards", 0)),
        active=round(now.total("aether_active_actors")),
        waiting=round(now.total("aether_waiting_commands")),
        per_s=since.total("aether_commands_total") / over_s,
        failed_per_s=_count(since, FAILURES) / over_s,
        loop_lag_p95_s=_all(since.histograms.get("aether_loop_lag_seconds", {})).quantile_s(0.95),
    )


def _count(readings: Readings, outcomes: tuple[str, ...] | None, *command: str) -> float:
    """How many commands ended so, all or of one kind and name."""
    return sum(
        count
        for labels, count in readings.values.get("aether_commands_total", {}).items()
        if (outcomes is None or labels[2] in outcomes) and labels[: len(command)] == command
    )


def _all(histograms: Mapping[tuple[str, ...], Histogram]) -> Histogram:
    found = Histogram()
    for one in histograms.values():
        found.add(one)
    return found


def _by_state(overview: Overview) -> dict[str, int]:
    counts: dict[str, int] = {}
    for shard in overview.shards:
        counts[shard.state.value] = counts.get(shard.state.value, 0) + 1
    return counts
