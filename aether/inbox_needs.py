"""Reads from which sequences on the inbox stream is still needed, and what for: see `aether.core.inbox_floor`.

Nothing is written. Every answer stays true: what is read late is lower than it has become.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, TypeVar

from aether.core.inbox_floor import InboxNeed, relay_need, row_need, start_need, tell_need
from aether.core.relay_mark import decode_mark
from aether.dead_letters import RETRYING, decode_row
from aether.ports import Inbox, InboxSize, Tasks

AT_ONCE = 32
"""So many questions to the server are under way at once."""

T = TypeVar("T")


class Needs(NamedTuple):
    """What all but dead letters need of a stream that ended at `end` before it was read; where the marks stand."""

    end: int
    needs: list[InboxNeed]
    places: list[int]


class InboxContent(NamedTuple):
    """The inbox stream, and what is needed of it, the lowest sequence first."""

    size: InboxSize
    needs: list[InboxNeed]


async def needs_of(inbox: Inbox, tasks: Tasks | None, shards: int) -> Needs:
    """All needs but those of dead letters. Without `tasks` no start of a task may be in it.

    Raises `Unavailable`, `UnreadableEvent` for a relay mark that cannot be read.
    """
    end = await inbox.end_of_tells()
    marks = await _each(inbox.relay_mark, range(shards))
    found = [
        relay_need(shard, mark.sequence, decode_mark(mark.payload))
        for shard, mark in enumerate(marks)
        if mark is not None
    ]
    first = await tasks.first_open() if tasks is not None else 0
    if first:
        found.append(start_need(first))

    async def next_tell(shard: int) -> int:
        return await inbox.next_tell(shard, await inbox.applied_mark(shard))

    tells = await _each(next_tell, range(shards))
    found += [tell_need(shard, sequence) for shard, sequence in enumerate(tells) if sequence]
    return Needs(end, found, [end, *(mark.sequence for mark in marks if mark is not None)])


async def kept(inbox: Inbox, tasks: Tasks, shards: int) -> InboxContent:
    """What is needed now, the lowest first, and how large the stream is. Raises `Unavailable`, `UnreadableEvent`."""
    size, found = await inbox.size(), await needs_of(inbox, tasks, shards)
    needs = [*found.needs, *await _sent_again(inbox), InboxNeed(found.end, "the end of the stream")]
    return InboxContent(size, sorted(needs))


async def _sent_again(inbox: Inbox) -> list[InboxNeed]:
    """Of each dead letter that is being sent again, or whose row cannot be read, the first row."""
    places: dict[int, int] = {}
    states: dict[int, str] = {}
    last, more, unreadable = 0, True, list[InboxNeed]()
    while more:
        batch = await inbox.dead_letters(last)
        for message in batch.messages:
            last = message.sequence
            row = decode_row(message.payload)
            if row is None:
                unreadable.append(row_need(0, last))
            else:
                places.setdefault(row.sequence, last)
                states[row.sequence] = row.state
        more = batch.more
    return [*unreadable, *(row_need(tell, places[tell]) for tell, state in states.items() if state == RETRYING)]


async def _each(ask: Callable[[int], Awaitable[T]], numbers: Iterable[int]) -> list[T]:
    """What is answered of each, some asked at once."""
    found: list[T] = []
    waiting = list(numbers)
    for first in range(0, len(waiting), AT_ONCE):
        found += await asyncio.gather(*(ask(one) for one in waiting[first : first + AT_ONCE]))
    return found
