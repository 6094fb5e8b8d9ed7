"""Schedules whose next tick is waited for: a page of all, the next one first, and a part of an actor's page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aether.gateway.config import GatewayConfig
from aether.gateway.dashboard.failure_pages import ahead
from aether.gateway.dashboard.pages import Pages, Visit
from aether.gateway.dashboard.rights import Rights
from aether.gateway.dashboard.soon import soon
from aether.ids import ActorId
from aether.sends import SetSchedule
from aether.untyped_client import VERSION_MAX, UntypedClient

SCHEDULES_BYTES_MAX = 70_000
"""About how large the list is in a page."""

OF_ACTOR_MAX = 5
"""Schedules on the page of an actor."""


@dataclass(frozen=True, slots=True)
class ShownSchedule:
    """One schedule as a page shows it. `rule` "": it is due once. `target`: who runs it, None for who has set it."""

    name: str
    actor_id: ActorId
    at: datetime
    ahead: str
    rule: str
    zone: str
    catch_up: str
    command: str
    target: ActorId | None


class SchedulePages:
    """What pages show of schedules."""

    def __init__(self, client: UntypedClient, config: GatewayConfig, pages: Pages, rights: Rights) -> None:
        self._client = client
        self._config = config
        self._pages = pages
        self._rights = rights

    async def show(self, visit: Visit) -> None:
        """The page."""
        kind, key = visit.options.text("kind") or "", visit.options.text("key") or ""
        skip = visit.options.number("skip", 0, 0, VERSION_MAX) or 0
        every = await self._client.schedules(kind, key, deadline_s=self._config.deadline_s)
        kinds = {one.actor_id.kind for one in every}
        readable = {of: await self._rights.may_read(visit, of) for of in kinds}
        wanted = [one for one in every if readable[one.actor_id.kind]]
        schedules = _first(wanted[skip:])
        until = skip + len(schedules)
        await self._pages.answer(
            visit,
            "schedules.html",
            kind=kind,
            key=key,
            schedules=schedules,
            total=len(wanted),
            skip=skip,
            next_skip=until if until < len(wanted) else None,
            now=datetime.now(UTC),
        )

    async def of_actor(self, actor_id: ActorId) -> dict[str, Any]:
        """What an actor's page shows: its own; None when the store does not say them soon."""
        found = await soon(self._client.schedules(actor_id.kind, actor_id.key, deadline_s=self._config.deadline_s))
        if found is None:
            return {"schedules": None, "more_schedules": 0}
        return {"schedules": _first(found[:OF_ACTOR_MAX]), "more_schedules": max(0, len(found) - OF_ACTOR_MAX)}


def _first(found: Sequence[SetSchedule]) -> list[ShownSchedule]:
    """As many as there is room for."""
    now, room, shown = datetime.now(UTC), SCHEDULES_BYTES_MAX, []
    for one in found:
        if room < 0:
            break
        source, target = one.actor_id, ActorId(one.kind, one.key)
        waits = ahead((one.at - now).total_seconds())
        other = None if target == source else target
        shown.append(
            ShownSchedule(one.name, source, one.at, waits, one.rule, one.zone, one.catch_up, one.command, other)
        )
        keys = len(source.key.encode()) + (len(target.key.encode()) if other else 0)
        room -= 700 + 7 * keys + 5 * sum(len(text.encode()) for text in (one.name, one.rule, one.zone, one.command))
    return shown
