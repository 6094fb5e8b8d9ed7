"""Stored events for tests: a history that a pool has written, for the model under test to read as a worker does.

What it is given is a file, as `aether history` writes it into a pipe (one CloudEvent per line), a JSON array of
CloudEvents, or the CloudEvents themselves. Of each only `type` and `data` are needed. Models decode them elsewhere.
"""

import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import msgspec
from msgspec import Raw, Struct

from aether.wire import Event, new_event

Stored: TypeAlias = str | os.PathLike[str] | Iterable[Mapping[str, Any]]
"""A path, or CloudEvents: `[{"type": "Deposited", "data": {"amount": 10}}]`."""


class _Given(Struct):
    """The attributes of a CloudEvent that replaying needs; others may be there."""

    type: str
    data: Raw
    schemaversion: int = 1
    id: str = ""
    source: str = ""


_read_one = msgspec.json.Decoder(_Given).decode
_read_array = msgspec.json.Decoder(list[Raw]).decode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def stored_history(stored: Stored, kind: str) -> tuple[list[Event], str]:
    """The events in their order, and the key of the actor that they say they are of, or "".

    Raises `ValueError` with file and line for what is no history of one actor of this kind from its first event on.
    """
    events: list[Event] = []
    sources: set[str] = set()
    for place, text in _texts(stored):
        try:
            given = _read_one(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"{place} is no CloudEvent: {error}") from None
        version = len(events) + 1
        if given.id not in ("", str(version)):
            raise ValueError(f"{place} has version {given.id} where {version} comes next: give the whole history")
        sources |= {given.source} - {""}
        _check_source(place, sources, kind)
        event = new_event(version=version, source=given.source, type=given.type, time=_EPOCH, data=bytes(given.data),
                          schemaversion=given.schemaversion)  # fmt: skip
        events.append(event)
    return events, unquote(next(iter(sources), "").rpartition("/")[2])


def _texts(stored: Stored) -> Iterable[tuple[str, bytes]]:
    """Each CloudEvent as JSON, and where it is."""
    if not isinstance(stored, str | os.PathLike):
        for number, one in enumerate(stored, 1):
            yield f"stored event {number}", msgspec.json.encode(one)
        return
    raw = Path(stored).read_bytes()
    if raw.lstrip().startswith(b"["):
        try:
            array = _read_array(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"{stored} is no JSON array of CloudEvents: {error}") from None
        yield from ((f"{stored}: event {number}", bytes(one)) for number, one in enumerate(array, 1))
        return
    for number, line in enumerate(raw.splitlines(), 1):
        if line.strip():
            yield f"{stored}:{number}", line


def _check_source(place: str, sources: set[str], kind: str) -> None:
    if len(sources) > 1:
        raise ValueError(f"{place} is of another actor than the events before it: {' and '.join(sorted(sources))}")
    for source in sources:
        found = source.split("/")[-2:-1]
        if found != [kind]:
            raise ValueError(f"{place} is of {source}, and not of a {kind}")
