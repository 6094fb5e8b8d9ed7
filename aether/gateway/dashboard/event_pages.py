"""The page of events: those stored last, and then each as it is stored, by script, over the gateway's stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from aether.errors import InvalidCommand, UnreadableEvent
from aether.gateway.config import GatewayConfig
from aether.gateway.dashboard.pages import Pages, Visit
from aether.gateway.dashboard.trees import raw_text
from aether.ids import ActorId, Position
from aether.model.model import Model
from aether.ports import StoredCommit
from aether.untyped_client import UntypedClient
from aether.wire import decode_commit, is_system_event

RECENT = 30
"""Events shown of those that are stored already."""

LOOKED_AT = 400
"""Positions looked back for them; a filter may leave fewer."""


@dataclass(frozen=True, slots=True)
class Row:
    """One event; of a commit that cannot be read only the actor and why, in `text`."""

    actor_id: ActorId
    text: str
    type: str = ""
    version: int | None = None
    time: datetime | None = None


class EventPages:
    """The page of events."""

    def __init__(self, model: Model, client: UntypedClient, config: GatewayConfig, pages: Pages) -> None:
        self._model = model
        self._client = client
        self._config = config
        self._pages = pages

    async def show(self, visit: Visit) -> None:
        """The filter, the last events, and the place from which the script goes on."""
        kind, key = visit.options.text("kind") or None, visit.options.text("key") or None
        types = frozenset(one for one in visit.options.texts("type") if one)
        if kind is not None:
            self._model.actor_type(kind)
        if key is not None and kind is None:
            raise InvalidCommand("a key needs the kind of its actor", path="kind")
        last = await self._client.last_position()
        rows: list[Row] = []
        async for commits in self._client.stored(Position(max(0, last - LOOKED_AT)), last, kind, key):
            rows = [*rows, *(row for commit in commits for row in _rows(commit, types))][-RECENT:]
        known = {one.kind: sorted(one.events) for one in self._model}
        query = {"kind": kind, "key": key, "after": last, **({"type": next(iter(types))} if types else {})}
        await self._pages.answer(
            visit,
            "events.html",
            rows=list(reversed(rows)),
            kind=kind or "",
            key=key or "",
            type=next(iter(types), ""),
            known=known,
            stream=visit.url("stream", **query),
        )


def _rows(commit: StoredCommit, types: frozenset[str]) -> Iterator[Row]:
    """The events of a commit that have one of these types; of all but Aether's own where there are none."""
    try:
        events = decode_commit(commit.payload, commit.actor_id, commit.position)
    except UnreadableEvent as error:
        yield Row(commit.actor_id, error.message)
        return
    for event in events:
        if event.type in types or (not types and not is_system_event(event)):
            yield Row(commit.actor_id, raw_text(event.data), event.type, event.version, event.time)
