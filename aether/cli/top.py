"""`aether top`: what a pool does just now, each second anew. It asks, draws, and knows no metric by itself.

On a terminal the screen is drawn over; elsewhere each reading is a line of JSON. When the pool does not answer for a
while, that is said above the last reading.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Protocol

from msgspec import to_builtins
from msgspec.json import encode
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from aether.cli.exits import error_line, one_line
from aether.cli.render import Screen, write_json
from aether.core.cluster.overview import Overview
from aether.core.metrics.activity import CommandActivity, PoolActivity, WorkerActivity, pool_activity
from aether.core.metrics.failures import FailureGroup
from aether.core.metrics.pool_metrics import PoolMetrics
from aether.errors import AetherError

COMMANDS_SHOWN = 30
"""Commands of a screen at most, the busiest first, and fewer on a low one; JSON has all."""

ROWS_MIN = 3
"""Workers and commands of a screen, however low it is."""

FAILURES_SHOWN = 3
"""Groups of failures of a screen, the latest first; JSON has all."""

_WORKERS = ("worker", "state", "shards", "active", "waiting", "per s", "failed/s", "lag p95")
"""Short, so that a table fits on 80 columns."""

_COMMANDS = ("kind", "command", "per s", "p50", "p95", "rejected/s", "failed/s")


AROUND_LINES = 7
"""Lines beside texts and rows: headings, what is more, empty ones, and an error above."""

TEXT_WIDTH_MIN = 7
"""A narrow screen leaves names so many columns, and cuts numbers off at its right."""


class WatchedPool(Protocol):
    """A pool: `aether.untyped_client.UntypedClient`."""

    namespace: str

    async def overview(self, *, deadline_s: float | None = None) -> Overview:
        """Members and shards."""
        ...

    async def metrics(self, *, deadline_s: float | None = None) -> PoolMetrics:
        """What each worker has measured."""
        ...


async def activities(
    client: WatchedPool, interval_s: float, deadline_s: float, troubled: Callable[[AetherError], None]
) -> AsyncIterator[PoolActivity]:
    """The activity of the pool over each `interval_s`, without end.

    The first two readings raise what they come to; later ones tell `troubled`, and are tried again.
    """
    loop = asyncio.get_running_loop()
    before, read_s = await client.metrics(deadline_s=deadline_s), loop.time()
    first = True
    while True:
        await asyncio.sleep(interval_s)
        try:
            overview, now = await _both(client, deadline_s)
        except AetherError as error:
            if first:
                raise
            troubled(error)
            continue
        now_s = loop.time()
        yield pool_activity(overview, before, now, now_s - read_s)
        before, read_s, first = now, now_s, False


async def _both(client: WatchedPool, deadline_s: float) -> tuple[Overview, PoolMetrics]:
    overview, metrics = await asyncio.gather(
        client.overview(deadline_s=deadline_s), client.metrics(deadline_s=deadline_s), return_exceptions=True
    )
    for found in (overview, metrics):
        if isinstance(found, BaseException):
            raise found
    assert isinstance(overview, Overview)
    assert isinstance(metrics, PoolMetrics)
    return overview, metrics


async def show(client: WatchedPool, interval_s: float, deadline_s: float, *, once: bool, as_json: bool) -> None:
    """Print the pool's activity, once or until it is interrupted: as tables, or as a line of JSON each time.

    Tables that are drawn over need a terminal. Raises what the first two readings come to, `ReaderGone`.
    """
    if as_json or once:
        async for activity in activities(client, interval_s, deadline_s, _say):
            if as_json:
                write_json(encode({"namespace": client.namespace, **to_builtins(activity)}))
            else:
                Screen(file=sys.stdout, highlight=False).print(drawn(client.namespace, activity))
            if once:
                return
        return
    console = Screen(file=sys.stdout, highlight=False, force_terminal=True)
    with Live(Text("reading ..."), console=console, auto_refresh=False, screen=True) as live:
        last: list[Group] = []

        def troubled(error: AetherError) -> None:
            line = Text(one_line(error_line(error)), style="bold red")
            live.update(Group(line, *last), refresh=True)

        async for activity in activities(client, interval_s, deadline_s, troubled):
            last[:] = [drawn(client.namespace, activity, console.size)]
            live.update(last[0], refresh=True)


def _say(error: AetherError) -> None:
    print(one_line(error_line(error)), file=sys.stderr)


def drawn(namespace: str, activity: PoolActivity, size: tuple[int, int] | None = None) -> Group:
    """The screen. With a size in columns and lines it has what it has room for, and counts the rows left out.

    Failures take at most half of it.
    """
    shards = ", ".join(f"{count} {state}" for state, count in activity.shards.items())
    count = len(activity.workers)
    lines = [
        Text(f"namespace {namespace}: {count} worker{'s' * (count != 1)}, shards: {shards}", style="bold"),
        Text(
            f"{activity.per_s:.1f} commands/s, p50 {_duration(activity.p50_s)}, p95 {_duration(activity.p95_s)}, "
            f"commits p95 {_duration(activity.commit_p95_s)}"
        ),
        Text(
            f"{activity.failed_per_s:.1f} failed/s, {activity.rejected_per_s:.1f} rejected/s; "
            f"{activity.waiting} waiting, {activity.active} active actors"
        ),
    ]
    if activity.missing:
        lines.append(Text(f"told no numbers: {one_line(', '.join(activity.missing))}", style="bold red"))
    failures = [Text(_failure(one), style="red") for one in activity.failures[:FAILURES_SHOWN]]
    workers, commands = len(activity.workers), COMMANDS_SHOWN
    if size is not None:
        width, height = size
        while len(failures) > 1 and _height([*lines, *failures], width) > height // 2:
            failures.pop()
        room = height - _height([*lines, *failures], width) - AROUND_LINES
        workers = max(ROWS_MIN, min(workers, room - min(len(activity.commands), room // 2)))
        commands = max(ROWS_MIN, min(commands, room - workers))
    return Group(
        *lines,
        *failures,
        Text(),
        _workers(activity.workers[:workers]),
        *_more(len(activity.workers) - workers),
        Text(),
        _commands(activity.commands[:commands]),
        *_more(len(activity.commands) - commands),
    )


def _height(texts: list[Text], width: int) -> int:
    """How many lines they take."""
    console = Screen(width=width)
    return sum(len(one.wrap(console, width)) for one in texts)


def _more(count: int) -> list[RenderableType]:
    return [Text(f"and {count} more")] if count > 0 else []


def _failure(group: FailureGroup) -> str:
    """A line of one group: how often, when last, which actor, and what its error said."""
    when = datetime.fromtimestamp(group.time_s, UTC).strftime("%H:%M:%S")
    said = f"{group.what} {group.outcome} x{group.count}, last {when} UTC: {group.error}"
    if group.actors:
        said += f" in {group.kind}/{group.actors[0].key}: {group.actors[0].message}"
    return one_line(said)


def _workers(workers: list[WorkerActivity]) -> Table:
    table = _table(_WORKERS, 2)
    for one in workers:
        numbers = [str(one.active), str(one.waiting), _rate(one.per_s), _rate(one.failed_per_s)]
        measured = [*numbers, _duration(one.loop_lag_p95_s)] if one.told else [""] * 5
        table.add_row(*(Text(one_line(cell)) for cell in (one.member, one.state, str(one.shards), *measured)))
    return table


def _commands(commands: list[CommandActivity]) -> Table:
    table = _table(_COMMANDS, 2)
    for one in commands:
        named = (one.kind or "(not of the model)", one.command)
        times = (_duration(one.p50_s), _duration(one.p95_s))
        rates = (_rate(one.rejected_per_s), _rate(one.failed_per_s))
        table.add_row(*(Text(one_line(cell)) for cell in (*named, _rate(one.per_s), *times, *rates)))
    return table


def _table(columns: tuple[str, ...], texts: int) -> Table:
    """A table whose first columns are texts, which are broken where there is no room, and whose others are numbers."""
    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        if index < texts:
            table.add_column(column, overflow="fold", min_width=TEXT_WIDTH_MIN)
        else:
            table.add_column(column, no_wrap=True, justify="right")
    return table


def _rate(per_s: float) -> str:
    return f"{per_s:.1f}" if per_s else "0"


def _duration(seconds: float | None) -> str:
    """For people: the numbers are estimates within a bucket."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"
