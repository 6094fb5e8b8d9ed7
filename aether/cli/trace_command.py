"""`aether trace`: what the commands of a correlation id did, as lines for people or JSON for programs."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Annotated

import typer

from aether.cli import options, pool, render
from aether.cli.command_context import cli_context, find_pool
from aether.cli.exits import EXIT_DONE, EXIT_REFUSED, one_line
from aether.cli.pool_options import with_pool_options
from aether.cli.target import PoolChoice
from aether.correlation import Trace, TraceStep
from aether.correlation_search import TRACE_COMMITS_MAX, read_since
from aether.ids import check_id

INDENTS_MAX = 20
"""A step further below is not indented more; its depth stands before it."""

_NO_TIME = " " * len("2026-01-01 00:00:00.000")


@with_pool_options
def trace_command(
    context: typer.Context,
    asked: PoolChoice,
    correlation_id: Annotated[
        str, typer.Argument(metavar="ID", help="The correlation id; without one, it is the id of the first command.")
    ],
    since: Annotated[
        str,
        typer.Option(
            "--since", metavar="TIME", help="Read what was stored since then: 90s, 15m, 2h, 3d, or an RFC 3339 time."
        ),
    ] = "1h",
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="Read at most N commits, the oldest first.")
    ] = TRACE_COMMITS_MAX,
    json_lines: options.JsonLines = False,
) -> int:
    """Print what a correlation id led to."""
    check_id(correlation_id, "a correlation id", "ID")
    begins, cli = read_since(since, "--since"), cli_context(context)
    target, loaded = find_pool(context, asked, None)
    drawn = cli.terminal and sys.stderr is not None and sys.stderr.isatty()
    with _progress() if drawn else nullcontext() as progress:
        found = pool.in_pool(cli, target, loaded, lambda at: pool.trace(at, correlation_id, begins, limit, progress))
    if cli.terminal and not json_lines:
        for step in found.steps:
            render.write_text(f"{line_of(step)}\n")
    else:
        for step in found.steps:
            render.write_value(step.as_dict())
    for remark in remarks_of(found, since, limit):
        print(remark, file=sys.stderr)
    return EXIT_REFUSED if _unreadable(found) else EXIT_DONE


def line_of(step: TraceStep) -> str:
    """A step as one line for people: when, how deep, what, and what came of it."""
    time = _NO_TIME if step.time is None else _shown(step.time)
    name = f".{step.name}" if step.name else ""
    result = _result(step)
    line = one_line(f"{step.how} {step.actor_id}{name}{f': {result}' if result else ''}")
    deeper = f"[{step.depth}] " if step.depth > INDENTS_MAX else ""
    return f"{time}  {'  ' * min(step.depth, INDENTS_MAX)}{deeper}{line}"


def _shown(time: datetime) -> str:
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")


def _result(step: TraceStep) -> str:
    match step.outcome:
        case "done":
            emitted = ", ".join(f"{one.type} {one.version}" for one in step.events) or "no events"
            return emitted if step.due is None else f"{emitted}, due {_shown(step.due)}"
        case "open":
            return "not run yet, as far as was read"
        case "sent":
            return f"due {_shown(step.due)}" if step.due is not None else ""
        case _:
            return f"{step.outcome}: {step.error}"


def remarks_of(found: Trace, since: str, limit: int) -> Sequence[str]:
    """What a reader must know of how it was found."""
    remarks = []
    read = found.until - found.after
    if not found.steps:
        remarks.append(f"nothing has this correlation id in the {read:,} commits since {since}; see --since")
    if not found.complete:
        remarks.append(f"the limit of {limit:,} commits was reached: later ones were not read; see --limit and --since")
    if unreadable := _unreadable(found):
        remarks.append(f"unreadable: {unreadable:,} of these steps; what belongs below them may be missing or apart")
    return remarks


def _unreadable(found: Trace) -> int:
    return sum(step.outcome == "unreadable" for step in found.steps)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Draws on stderr how much of the reading is done, over and over in one line, which is gone at the end."""
    shown = -1

    def draw(done: int, of: int) -> None:
        nonlocal shown
        percent = 100 * done // of
        if percent != shown:
            shown = percent
            print(f"\rread {done:,} of {of:,} commits", end="", file=sys.stderr, flush=True)

    try:
        yield draw
    finally:
        if shown >= 0:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
