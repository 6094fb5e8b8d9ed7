"""`?time=`: which version an actor had at a time, by the times of its events."""

from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from typing import Any

from aether.errors import InvalidCommand
from aether.wire import Event

_TEXT_CHARS_MAX = 40


def read_time(text: str, now: datetime) -> datetime:
    """The time of a query string. Raises `InvalidCommand` for what is none, for one without a zone, and a later one."""
    try:
        time = datetime.fromisoformat(text) if len(text) <= _TEXT_CHARS_MAX else None
    except ValueError:
        time = None
    if time is None:
        hint = "; a + is written %2B in a query string" if " " in text else ""
        raise InvalidCommand(f"a time is like 2026-11-28T17:00:00Z, not {text[:_TEXT_CHARS_MAX]!r}{hint}", path="time")
    if time.tzinfo is None:
        raise InvalidCommand("a time needs a zone: Z for UTC, or an offset like %2B01:00", path="time")
    if time > now:
        text = f"this time is in the future: it is {now.isoformat(timespec='seconds').replace('+00:00', 'Z')}"
        raise InvalidCommand(text, path="time")
    return time.astimezone(UTC)


async def version_at(time: datetime, events: AsyncIterator[tuple[Event, Any]]) -> int:
    """The version before the first event that is later than `time`; 0 when all of them are. Closes `events`.

    Events have the time of their command's turn, by the clock of the worker that ran it. Where that goes back, as it
    may between two hosts, the order of the events counts.
    """
    version = 0
    try:
        async for event, _position in events:
            if event.time > time:
                break
            version = event.version
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()
    return version
