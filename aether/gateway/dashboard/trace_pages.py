"""The page of a trace: what the commands of one correlation id did, across actors."""

import asyncio
from datetime import datetime, timedelta

from aether.correlation import Trace
from aether.correlation_search import read_since
from aether.errors import InvalidCommand, Overloaded
from aether.gateway.config import GatewayConfig
from aether.gateway.dashboard.pages import Pages, Visit
from aether.gateway.dashboard.trees import shown
from aether.ids import COMMAND_ID_CHARS_MAX
from aether.untyped_client import UntypedClient

COMMITS_MAX = 200_000
"""How many commits are read for one page: about two seconds of a server's and a gateway's time."""

STEPS_SHOWN_MAX = 500

BEFORE = timedelta(minutes=10)
"""How much earlier than an event the link to its trace begins to read: its command may be late in the trace."""


class TracePages:
    """The page of a trace. One is read at a time, because each reads so many commits."""

    def __init__(self, client: UntypedClient, config: GatewayConfig, pages: Pages) -> None:
        self._client = client
        self._config = config
        self._pages = pages
        self._one_at_a_time = asyncio.Lock()

    async def show(self, visit: Visit) -> None:
        """The form, and the trace that it asks for."""
        correlation_id = (visit.options.text("id") or "").strip()
        since = (visit.options.text("since") or "").strip() or "1h"
        begins = read_since(since)
        if len(correlation_id) > COMMAND_ID_CHARS_MAX:
            raise InvalidCommand(f"a correlation id is 1-{COMMAND_ID_CHARS_MAX} characters", path="id")
        found = None
        if correlation_id:
            found = await self._find(correlation_id, begins)
        steps = [] if found is None else found.steps[:STEPS_SHOWN_MAX]
        await self._pages.answer(
            visit,
            "trace.html",
            id=correlation_id,
            since=since,
            trace=found,
            steps=[(one, [(event, shown(event.data)) for event in one.events]) for one in steps],
        )

    async def _find(self, correlation_id: str, begins: datetime | timedelta) -> Trace:
        """The trace. Raises `Overloaded` when others are read until the deadline."""
        deadline_s = self._config.deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                await self._one_at_a_time.acquire()
        except TimeoutError:
            raise Overloaded("other traces are being read", limit="traces") from None
        try:
            return await self._client.trace(correlation_id, begins, limit=COMMITS_MAX, deadline_s=deadline_s)
        finally:
            self._one_at_a_time.release()
