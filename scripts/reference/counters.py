"""The page of counters."""

from dataclasses import fields

from aether.runtime.counters import CommandCounts, Counters
from scripts.reference.text import docstring, document, meanings, table

INTRODUCTION = """
Every worker counts what it did and refused, since it started. The counts are in the worker's row in the table, which is
renewed all the time: `aether ps --json` shows them as `counters`. They are also in its last log line, `drained`.

Nothing is decided by them. There is no endpoint for Prometheus yet.
"""

OUTCOMES = """
The outcomes of commands are also counted by kind and command. They are in `Runtime.counters.by_command` of a program
that builds its own `Runtime`:
"""

OUTCOME_MEANINGS = {
    "ok": "answered with a reply",
    "rejected": "decided nos, and bad input that a handler found",
    "failed": "errors in handlers",
    "timed_out": "no outcome by the deadline",
    "late": "handlers that were still at work at the deadline, whatever became of them",
}


def page() -> str:
    """The page."""
    said = meanings(docstring("aether.runtime.counters", "Counters"))
    names = [field.name for field in fields(Counters) if field.name != "by_command"]
    missing = [name for name in names if name not in said]
    if missing:
        raise LookupError(f"the docstring of Counters has no bullet for {', '.join(missing)}")
    outcomes = [(f"`{name}`", OUTCOME_MEANINGS[name]) for name in CommandCounts().as_dict()]
    return document(
        "Counters",
        INTRODUCTION,
        table(("counter", "counts"), [(f"`{name}`", said[name]) for name in names]),
        "## By command",
        OUTCOMES,
        table(("outcome", "counts"), outcomes),
    )
