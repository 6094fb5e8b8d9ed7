"""The page of metrics."""

from aether.core.metrics.catalogue import METRICS, Metric, MetricType
from aether.core.metrics.histogram import BOUNDS_S
from aether.runtime.counters import CommandCounts
from scripts.reference.text import docstring, document, meanings, table

INTRODUCTION = """
What a pool measures: `/metrics` of a gateway has it for Prometheus, `client.metrics()` for programs, and `aether top`
shows what it comes to just now ([how to](../how-to/metrics.md)).

Labels are kinds, commands and outcomes, never keys.
"""

HISTOGRAMS = """
Each has the same buckets, in seconds: {bounds}.
"""

OUTCOMES = """
The outcomes in `aether_commands_total`. A command that came again while it ran is counted once, and its further
deliveries as `duplicate`. A command that cannot be read, or whose kind or name the model does not have, is counted
under the kind and command `""`. A command that is dropped because the lease of its shard has ended is not counted: its
caller asks the shard's owner.
"""

TITLES = {MetricType.COUNTER: "Counters", MetricType.GAUGE: "Gauges", MetricType.HISTOGRAM: "Histograms"}


def page() -> str:
    """The page."""
    ends = meanings(docstring("aether.runtime.counters", "CommandCounts"))
    outcomes = [(f"`{name}`", ends[name]) for name in CommandCounts().outcomes()]
    bounds = ", ".join(f"{bound_s:g}" for bound_s in BOUNDS_S)
    parts = [f"## {TITLES[kind]}\n\n{_table(kind)}" for kind in MetricType]
    return document(
        "Metrics",
        INTRODUCTION,
        *parts,
        HISTOGRAMS.format(bounds=bounds),
        "## Outcomes of commands",
        OUTCOMES,
        table(("outcome", "counts"), outcomes),
    )


def _table(type_: MetricType) -> str:
    rows = [(f"`{metric.name}`", _labels(metric), metric.about) for metric in METRICS if metric.type is type_]
    return table(("metric", "labels", "says"), rows)


def _labels(metric: Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels)
