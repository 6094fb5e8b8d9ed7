"""Which actors have a history, of a kind or of a shard, from the stream's list of its subjects, by the stream's leader.

One shard at a time, so that an answer holds a part of them. A stream counts its subjects in memory; no message is read.
Stateless.
"""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from aether.ids import ActorId
from aether.jetstream.api import Answered, Method
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.names import PROBE, Names

TIMEOUT_S = 10.0
"""An answer of 100,000 subjects, the most a server gives at once, takes half a second (measured)."""


class _Subjects(Struct):
    subjects: dict[str, int] | None = None


class _Listed(Answered):
    state: _Subjects | None = None
    total: int = 0


_list_subjects = Method("STREAM.INFO.{}", _Listed)


async def keys_of_kind(connection: NatsConnection, names: Names, kind: str, shard: int) -> list[str]:
    """The keys of a kind's actors of one shard that have a history, each once. Raises `Unavailable`."""
    subjects = await _subjects(connection, names, names.events_of_kind(kind, shard))
    return [names.key_of_event(subject) for subject in subjects]


async def actors_of_shard(connection: NatsConnection, names: Names, shard: int) -> list[ActorId]:
    """The actors of all kinds of one shard that have a history, each once. Raises `Unavailable`."""
    subjects = await _subjects(connection, names, names.events_of_shard(shard))
    actors = [names.parse_event(subject) for subject in subjects]
    return [actor_id for actor_id in actors if actor_id != PROBE]


async def _subjects(connection: NatsConnection, names: Names, filter_: str) -> Iterable[str]:
    found: dict[str, None] = {}
    body: dict[str, Any] = {"subjects_filter": filter_, "offset": 0}
    while True:
        answer = await _list_subjects(connection, names.stream, body, timeout_s=TIMEOUT_S)
        page = answer.state.subjects if answer.state is not None and answer.state.subjects else {}
        found.update(dict.fromkeys(page))  # one that is new may have moved others to the next page
        body["offset"] += len(page)
        if not page or body["offset"] >= answer.total:
            return found
