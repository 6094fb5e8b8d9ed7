"""Which actors have a history: the keys of a kind, from the stream's list of its subjects, by the stream's leader.

One shard at a time, so that an answer holds a part of them. A stream counts its subjects in memory; no message is read.
Stateless.
"""

from typing import Any

from msgspec import Struct

from aether.jetstream.api import Answered, Method
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.names import Names

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
    found: dict[str, None] = {}
    body: dict[str, Any] = {"subjects_filter": names.events_of_kind(kind, shard), "offset": 0}
    while True:
        answer = await _list_subjects(connection, names.stream, body, timeout_s=TIMEOUT_S)
        page = answer.state.subjects if answer.state is not None and answer.state.subjects else {}
        found.update(dict.fromkeys(page))  # one that is new may have moved others to the next page
        body["offset"] += len(page)
        if not page or body["offset"] >= answer.total:
            return [names.key_of_event(subject) for subject in found]
