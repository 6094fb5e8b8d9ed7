"""What a benchmark measured: rounds of contestants, the points made of them, and their table.

Pure. A point compares Aether with its floor at one setting; where the floor has several variants, the one with the
best median is the floor and all are shown. Times are in milliseconds, CPU in seconds per 1,000 commands.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

AETHER = "aether"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One round of one contestant. `figures` are what a benchmark has beside speed and latency, by name."""

    per_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    p999_ms: float | None = None
    cpu_s: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest of some ordered values that at least `share` of them do not exceed (nearest rank)."""
    if not ordered:
        raise ValueError("there are no values")
    rank = -int(-share * len(ordered) // 1)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


def timed(
    latencies_s: Sequence[float],
    per_s: float,
    cpu_s: Mapping[str, float] | None = None,
    figures: Mapping[str, float] | None = None,
) -> Measured:
    """A round with the percentiles of its latencies, which are in seconds."""
    ordered = sorted(latencies_s)
    return Measured(
        per_s=per_s,
        p50_ms=percentile(ordered, 0.5) * 1e3,
        p99_ms=percentile(ordered, 0.99) * 1e3,
        p999_ms=percentile(ordered, 0.999) * 1e3,
        cpu_s=cpu_s or {},
        figures=figures or {},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One setting, and the rounds of all contestants at it; `runs` begins with Aether.

    `beside` is the contestant that is the floor, where the fastest of the others does not do the same.
    """

    name: str
    case: str = ""
    in_flight: int | None = None
    sync: str = "default"
    workers: int = 1
    unit: str = "commands"
    runs: Mapping[str, Sequence[Measured]]
    better: Literal["per_s", "p99_ms"] = "per_s"
    beside: str | None = None
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def floor(self) -> str | None:
        """The contestant that is the floor here: unless it is said, of all but Aether the one with the best median."""
        if self.beside is not None:
            return self.beside
        others = [name for name in self.runs if name != AETHER]
        sign = -1 if self.better == "p99_ms" else 1
        return max(others, key=lambda name: sign * (self.median(name, self.better) or 0.0), default=None)

    def values(self, contestant: str, what: str) -> list[float]:
        """What all rounds of a contestant have of one field of `Measured`."""
        found = (getattr(round_, what) for round_ in self.runs[contestant])
        return [value for value in found if value is not None]

    def median(self, contestant: str | None, what: str) -> float | None:
        """Their median, or None when nothing was measured."""
        found = self.values(contestant, what) if contestant is not None else []
        return statistics.median(found) if found else None

    def medians(self, contestant: str, what: str) -> dict[str, float]:
        """The medians of one mapping of `Measured`, by name."""
        rounds = self.runs[contestant]
        names = dict.fromkeys(name for round_ in rounds for name in getattr(round_, what))
        return {name: statistics.median(_of(rounds, what, name)) for name in names}

    @property
    def ratios(self) -> list[float]:
        """Aether's speed over the floor's, round by round; none where both are given the same load."""
        if self.floor is None or self.better != "per_s":
            return []
        pairs = zip(self.values(AETHER, "per_s"), self.values(self.floor, "per_s"), strict=True)
        return [ours / theirs for ours, theirs in pairs]

    def to_json(self) -> dict[str, Any]:
        """The point as it is written to a file."""
        floor, ratios = self.floor, self.ratios
        return {
            "name": self.name,
            "case": self.case,
            "in_flight": self.in_flight,
            "sync": self.sync,
            "workers": self.workers,
            "unit": self.unit,
            "aether_per_s": self.median(AETHER, "per_s"),
            "floor_per_s": self.median(floor, "per_s"),
            "ratio": statistics.median(ratios) if ratios else None,
            "p50_ms": self.median(AETHER, "p50_ms"),
            "p99_ms": self.median(AETHER, "p99_ms"),
            "p999_ms": self.median(AETHER, "p999_ms"),
            "floor_p50_ms": self.median(floor, "p50_ms"),
            "floor_p99_ms": self.median(floor, "p99_ms"),
            "floor_p999_ms": self.median(floor, "p999_ms"),
            "floor": floor,
            "rounds": len(self.runs[AETHER]),
            "cpu_s_per_1000": {name: self.medians(name, "cpu_s") for name in self.runs},
            "figures": {name: self.medians(name, "figures") for name in self.runs},
            **self.more,
            "runs": {name: [_round(one) for one in rounds] for name, rounds in self.runs.items()},
        }


def _round(measured: Measured) -> dict[str, Any]:
    found = {name: getattr(measured, name) for name in ("per_s", "p50_ms", "p99_ms", "p999_ms")}
    found |= {"cpu_s_per_1000": dict(measured.cpu_s), "figures": dict(measured.figures)}
    return {name: value for name, value in found.items() if value not in (None, {})}


def table(points: Sequence[Point]) -> Iterator[str]:
    """The lines of a Markdown table of one benchmark's points: a row a contestant, then the ratio.

    What is the same at all points is said once, above.
    """
    figures = _names(points, "figures")
    cpu = _names(points, "cpu_s")
    timed = [what for what in ("p50_ms", "p99_ms", "p999_ms") if any(point.values(AETHER, what) for point in points)]
    timed = timed if any(point.better == "p99_ms" for point in points) else timed[:2]
    fast = any(point.values(AETHER, "per_s") for point in points)
    settings = [_setting(point) for point in points]
    common = [part for part in settings[0] if len(points) > 1 and all(part in setting for setting in settings)]
    columns = ["", ""]
    columns += [f"{points[0].unit}/s (min-max)"] if fast else []
    columns += [_COLUMNS[what] for what in timed]
    columns += [f"{name} (min-max)" for name in figures]
    columns += [f"CPU s per 1,000: {', '.join(cpu)}"] if cpu else []
    if common:
        yield f"{', '.join(common)}:\n"
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    for point, setting in zip(points, settings, strict=True):
        for place, contestant in enumerate(point.runs):
            cells = [", ".join(part for part in setting if part not in common) if place == 0 else "", contestant]
            cells += [_spread(point.values(contestant, "per_s"))] if fast else []
            cells += [_plain(point.median(contestant, what)) for what in timed]
            cells += [_spread(_of(point.runs[contestant], "figures", name)) for name in figures]
            cells += [", ".join(_cpu(point.runs[contestant], name) for name in cpu)] if cpu else []
            yield f"| {' | '.join(cells)} |"
        if point.ratios:
            cells = ["", f"aether / {point.floor}", _spread(point.ratios, "{:.2f}")]
            yield f"| {' | '.join(cells + [''] * (len(columns) - len(cells)))} |"


def line(point: Point) -> str:
    """A point in a few words, shown while the table is made."""
    speeds = [f"{name} {_spread(point.values(name, 'per_s'))}" for name in point.runs if point.values(name, "per_s")]
    return f"{point.name}: {', '.join(_setting(point))}: {', '.join(speeds) or 'done'}"


_COLUMNS = {"p50_ms": "p50 ms", "p99_ms": "p99 ms", "p999_ms": "p99.9 ms"}


def _setting(point: Point) -> list[str]:
    parts = [point.case] if point.case else []
    parts += [f"sync {point.sync}", f"{point.workers} worker{'s' * (point.workers > 1)}"]
    return parts + ([f"{point.in_flight} in flight"] if point.in_flight is not None else [])


def _names(points: Sequence[Point], what: str) -> list[str]:
    """The keys of a mapping of `Measured` that any round has, in the order of their first appearance."""
    found: dict[str, None] = {}
    for point in points:
        for rounds in point.runs.values():
            for measured in rounds:
                found.update(dict.fromkeys(getattr(measured, what)))
    return list(found)


def _of(rounds: Sequence[Measured], what: str, name: str) -> list[float]:
    return [getattr(one, what)[name] for one in rounds if name in getattr(one, what)]


def _cpu(rounds: Sequence[Measured], name: str) -> str:
    found = _of(rounds, "cpu_s", name)
    return f"{statistics.median(found):.3f}" if found else "-"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _spread(values: Sequence[float], form: str | None = None) -> str:
    if not values:
        return "-"
    middle = statistics.median(values)
    form = form or ("{:,.0f}" if middle >= 100 else "{:.2f}")
    text = form.format(middle)
    return text if len(values) == 1 else f"{text} ({form.format(min(values))}-{form.format(max(values))})"
