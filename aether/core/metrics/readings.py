"""The values of metrics at one moment, of a worker or of a pool, and sums and differences of them."""

from typing import TypeAlias

from aether.core.metrics.catalogue import BY_NAME, MetricType
from aether.core.metrics.histogram import Histogram

Labels: TypeAlias = tuple[str, ...]
"""The values of a metric's labels, in their order."""


class Readings:
    """`values` are counters and gauges, `histograms` are histograms: by name, then by the values of their labels."""

    def __init__(self) -> None:
        self.values: dict[str, dict[Labels, float]] = {}
        self.histograms: dict[str, dict[Labels, Histogram]] = {}

    def put(self, name: str, value: float, *labels: str) -> None:
        """Read a counter or gauge. Raises KeyError for a name that is none, ValueError for labels it has not."""
        _check(name, labels, histogram=False)
        self.values.setdefault(name, {})[labels] = value

    def put_histogram(self, name: str, histogram: Histogram, *labels: str) -> None:
        """Read a histogram as it is now. Raises what `put` raises."""
        _check(name, labels, histogram=True)
        copied = Histogram()
        copied.add(histogram)
        self.histograms.setdefault(name, {})[labels] = copied

    def value(self, name: str, *labels: str) -> float:
        """One value; 0 when it was not read."""
        return self.values.get(name, {}).get(labels, 0)

    def total(self, name: str) -> float:
        """The sum of a counter or gauge over all its labels."""
        return sum(self.values.get(name, {}).values())

    def add(self, other: "Readings") -> None:
        """Add each value and histogram of another worker, or of another while."""
        for name, values in other.values.items():
            mine = self.values.setdefault(name, {})
            for labels, value in values.items():
                mine[labels] = mine.get(labels, 0) + value
        for name, histograms in other.histograms.items():
            ours = self.histograms.setdefault(name, {})
            for labels, histogram in histograms.items():
                if labels not in ours:
                    ours[labels] = Histogram()
                ours[labels].add(histogram)

    def gauges(self) -> "Readings":
        """What is so now, without what was counted."""
        found = Readings()
        found.values = {name: dict(values) for name, values in self.values.items() if _is_gauge(name)}
        return found

    def since(self, earlier: "Readings") -> "Readings":
        """What was counted after an earlier reading, without gauges. What is smaller than then has begun anew."""
        gained = Readings()
        for name, values in self.values.items():
            if not _is_gauge(name):
                before = earlier.values.get(name, {})
                gained.values[name] = {labels: _gained(now, before.get(labels, 0)) for labels, now in values.items()}
        for name, histograms in self.histograms.items():
            were = earlier.histograms.get(name, {})
            gained.histograms[name] = {
                labels: now.since(were.get(labels, Histogram())) for labels, now in histograms.items()
            }
        return gained


def _is_gauge(name: str) -> bool:
    return BY_NAME[name].type is MetricType.GAUGE


def _gained(now: float, before: float) -> float:
    return now - before if now >= before else now


def _check(name: str, labels: Labels, *, histogram: bool) -> None:
    metric = BY_NAME[name]
    if len(labels) != len(metric.labels) or (metric.type is MetricType.HISTOGRAM) is not histogram:
        raise ValueError(f"{name} is a {metric.type.value} with the labels {metric.labels}, not {labels}")
