"""The page of a trace: what the commands of one correlation id did, across actors.

There is no index of them, so a page reads some of the stream and shows what it found; the next page goes on.
"""

import asyncio
from dataclasses import replace

from aether.correlation import TracedEvent, TraceStep, steps_of
from aether.correlation_search import read_since
from aether.errors import InvalidCommand, Overloaded
from aether.gateway.config import GatewayConfig
from aether.gateway.dashboard.pages import Pages, Visit
from aether.gateway.dashboard.trace_search import TraceSearch, read_search, search_on
from aether.gateway.dashboard.trees import shown
from aether.ids import COMMAND_ID_CHARS_MAX, Position
from aether.ports import StoredCommit
from aether.untyped_client import UntypedClient

COMMITS_MAX = 1_000_000
"""How many commits are read for one trace, by all its pages together."""

SEARCH_S = 0.15
"""How long one page reads before it shows what it has found, seconds."""

STEPS_SHOWN_MAX = 100

EVENTS_SHOWN_MAX = 20
"""Events shown of one step."""

TEXT_CHARS_MAX = 500
"""Characters shown of why a step failed, and of its name: a rejection says as much as fits into a commit."""


class TracePages:
    """The page of a trace. One reads at a time, because each reads so many commits."""

    def __init__(self, client: UntypedClient, config: GatewayConfig, pages: Pages) -> None:
        self._client = client
        self._config = config
        self._pages = pages
        self._one_at_a_time = asyncio.Lock()

    async def show(self, visit: Visit) -> None:
        """The form, and what was found so far of the trace that it asks for."""
        correlation_id = visit.options.text("id") or ""
        since = (visit.options.text("since") or "").strip() or "1h"
        read_since(since)
        if len(correlation_id) > COMMAND_ID_CHARS_MAX:
            raise InvalidCommand(f"a correlation id is 1-{COMMAND_ID_CHARS_MAX} characters", path="id")
        search, commits = None, list[StoredCommit]()
        if correlation_id:
            search, commits = await self._find(correlation_id, since, visit.options.text("cursor"))
        found = steps_of(correlation_id, commits)
        more = search is not None and not search.over
        await self._pages.answer(
            visit,
            "trace.html",
            id=correlation_id,
            since=since,
            search=search,
            steps=[_row(one) for one in found[:STEPS_SHOWN_MAX]],
            left_out=len(found[STEPS_SHOWN_MAX:]),
            unreadable=sum(one.outcome == "unreadable" for one in found),
            trimmed=_without_space(correlation_id),
            next=visit.url("trace", id=correlation_id, since=since, cursor=search.cursor()) if search and more else "",
        )

    async def _find(
        self, correlation_id: str, since: str, cursor: str | None
    ) -> tuple[TraceSearch, list[StoredCommit]]:
        """Some of the trace. Raises `Overloaded` when others read until the deadline."""
        deadline_s = self._config.deadline_s
        begun = read_search(cursor) if cursor is not None else None
        try:
            async with asyncio.timeout(deadline_s):
                await self._one_at_a_time.acquire()
        except TimeoutError:
            raise Overloaded("other traces are being read", limit="traces") from None
        try:
            if begun is None:
                first, end = await self._client.positions_since(read_since(since), deadline_s=deadline_s)
                begun = TraceSearch(first, first, Position(min(end, first + COMMITS_MAX)), end)
            search, commits = await search_on(self._client, correlation_id, begun, SEARCH_S, deadline_s)
            return search, list(commits)
        finally:
            self._one_at_a_time.release()


def _without_space(correlation_id: str) -> str:
    """The id without white space at its ends, which a copy may bring along; "" where it has none, or nothing else."""
    trimmed = correlation_id.strip()
    return trimmed if trimmed != correlation_id else ""


def _row(step: TraceStep) -> tuple[TraceStep, str, list[tuple[TracedEvent, str]]]:
    """A step, why it failed, and its first events with their fields."""
    step = replace(step, name=_cut(step.name))
    return step, _cut(step.error), [(event, shown(event.data)) for event in step.events[:EVENTS_SHOWN_MAX]]


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}…"
