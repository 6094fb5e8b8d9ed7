"""The page of counters."""

from aether.runtime.counters import COUNTS, CommandCounts
from scripts.reference.text import docstring, document, meanings, table

INTRODUCTION = """
Every worker counts what it did and refused, since it started. The counts are in the worker's row in the table, which is
renewed all the time: `aether ps --json` shows them as `counters`. They are also in its last log line, `drained`.

Nothing is decided by them. Each is also [a metric](metrics.md), `aether_<counter>_total`.
"""

OUTCOMES = """
The outcomes of commands are also counted by kind and command, as `aether_commands_total{kind, command, outcome}`. They
are in `Runtime.counters.by_command` of a program that builds its own `Runtime`:
"""


def page() -> str:
    """The page."""
    said = meanings(docstring("aether.runtime.counters", "Counters"))
    names = list(COUNTS)
    missing = [name for name in names if name not in said]
    if missing:
        raise LookupError(f"the docstring of Counters has no bullet for {', '.join(missing)}")
    ends = meanings(docstring("aether.runtime.counters", "CommandCounts"))
    outcomes = [(f"`{name}`", ends[name]) for name in CommandCounts().as_dict()]
    return document(
        "Counters",
        INTRODUCTION,
        table(("counter", "counts"), [(f"`{name}`", said[name]) for name in names]),
        "## By command",
        OUTCOMES,
        table(("outcome", "counts"), outcomes),
    )
