"""Finds the commits of a correlation id. There is no index of them: the stream is read from a time on, and searched.

The server sends every commit of that time, and what does not have the id is dropped undecoded: 800,000 commits take six
seconds on two cores, server included. That is why a search has a beginning and a limit.
"""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta

from aether.correlation import Trace, mark_of, steps_of
from aether.errors import InvalidCommand
from aether.ids import Position
from aether.ports import StoredCommit, StreamReading
from aether.retried_request import RetriedRequest

_AGO = re.compile(r"([1-9]\d{0,8})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

TRACE_SINCE = timedelta(hours=1)
"""How far back a trace is looked for."""

TRACE_COMMITS_MAX = 1_000_000
"""How many commits are read for a trace."""


def read_since(text: str, path: str = "since") -> datetime | timedelta:
    """A time, or how long ago, as people write it: 90s, 15m, 2h, 3d or RFC 3339. Raises `InvalidCommand`."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    with suppress(ValueError):
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time
    wanted = "it is 90s, 15m, 2h or 3d, for so long ago, or a time with its zone, like 2026-01-31T12:00:00Z"
    raise InvalidCommand(f"{wanted}, not {text!r:.40}", path=path)


def begin_of(since: datetime | timedelta, now_s: float) -> datetime:
    """The time from which on commits are read; `now_s` in Unix seconds. Raises `InvalidCommand`."""
    if isinstance(since, timedelta):
        if since <= timedelta(0):
            raise InvalidCommand(f"a time ago is more than 0, not {since}", path="since")
        return datetime.fromtimestamp(max(now_s - since.total_seconds(), 0.0), UTC)
    if since.tzinfo is None:
        raise InvalidCommand(f"{since} has no time zone", path="since")
    return since


async def search_commits(
    store: StreamReading, patience: RetriedRequest, correlation_id: str, after: Position, until: Position
) -> AsyncGenerator[tuple[Position, list[StoredCommit]]]:
    """The commits between two positions that may belong to a correlation id; each step says up to where all are found.

    Reads on when the connection is lost. Raises what `patience` raises.
    """
    mark = mark_of(correlation_id)
    batches = None

    async def following() -> tuple[Position, list[StoredCommit]]:
        nonlocal batches
        if batches is None:
            batches = store.search_stream(after, until, mark)
        try:
            return await anext(batches)  # the last one is up to `until`
        except BaseException:  # it is over then, and another one goes on from `after`
            batches = None
            raise

    while after < until:
        after, commits = await patience.ask(following)
        patience.start_again()
        yield after, commits


async def find_trace(
    store: StreamReading,
    patience: RetriedRequest,
    correlation_id: str,
    begins: datetime,
    limit: int,
    progress: Callable[[int, int], None] | None,
) -> Trace:
    """The trace of the commits since then, at most `limit`; `progress` hears how many were read, and of how many.

    Raises `InvalidCommand`, and what `patience` raises.
    """
    if limit < 1:
        raise InvalidCommand(f"the limit is a number of commits above 0, not {limit}", path="limit")
    first, end = await patience.ask(lambda: store.positions_since(begins))
    until = Position(min(end, first + limit))
    found: list[StoredCommit] = []
    async with aclosing(search_commits(store, patience, correlation_id, first, until)) as searched:
        async for read_to, commits in searched:
            found += commits
            if progress is not None:
                progress(read_to - first, until - first)
    return Trace(correlation_id, steps_of(correlation_id, found), first, until, complete=until >= end)
