"""Shortens the inbox stream: removes from its beginning what no worker needs any more (`aether.core.inbox_floor`).

One worker does it, rarely: the owner of shard 0. Two at once do no harm, nor does one that was frozen and goes on: what
it found out stays true. Everything that the floor rests on is on the disk before anything is removed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from msgspec.structs import replace

from aether.core.inbox_floor import Need, floor, relay_need, row_need, start_need, tell_need
from aether.core.relay import decode_mark
from aether.dead_letters import OVER, RETRYING, decode_row, encode_row
from aether.errors import Unavailable
from aether.ports import Inbox, InboxMessage, Tasks
from aether.tells import EMPTY_ARGS

AT_ONCE = 32
"""So many questions to the server are under way at once."""

ROWS_MAX = 10_000
"""So many rows of dead letters are written anew in one go: the stream is shortened up to the first one after them."""

log = logging.getLogger("aether.inbox")

T = TypeVar("T")


class InboxPurge:
    """Shortens the inbox of one namespace. Without `tasks` no start of a task may be in it."""

    def __init__(self, inbox: Inbox, tasks: Tasks | None, shards: int) -> None:
        self._inbox = inbox
        self._tasks = tasks
        self._shards = shards
        self._connections = 0

    def connected(self) -> None:
        """On a new connection the server may have lost what was read over the one before."""
        self._connections += 1

    async def purge(self) -> Need:
        """Remove what is not needed; the lowest need. Raises `Unavailable`, `UnreadableEvent`."""
        made = await self._inbox.made()
        need = await self.floor()
        count = await self._inbox.purge(need.sequence, made)
        log.info("the inbox was shortened", extra={"messages": count, "needed": need.sequence, "for": need.what})
        return need

    async def floor(self) -> Need:
        """The lowest need, once what it rests on is on the disk. Writes rows of dead letters that are below it anew."""
        inbox, connections = self._inbox, self._connections
        end = await inbox.end_of_tells()
        marks = await _each(inbox.relay_mark, range(self._shards))
        needs = [
            relay_need(shard, mark.sequence, decode_mark(mark.payload))
            for shard, mark in enumerate(marks)
            if mark is not None
        ]
        needs += await self._starts()
        needs += await self._tells()
        lowest = floor(end, needs)
        places = [end, *(mark.sequence for mark in marks if mark is not None)]
        lowest = floor(lowest.sequence, [lowest, *await self._rows(lowest.sequence, places)])
        await inbox.until_on_disk(max(places))
        if connections != self._connections:
            raise Unavailable("the connection was lost meanwhile")
        return lowest

    async def _tells(self) -> list[Need]:
        """The first tell to each shard that may not be applied yet."""

        async def first(shard: int) -> int:
            return await self._inbox.next_tell(shard, await self._inbox.applied_mark(shard))

        found = await _each(first, range(self._shards))
        return [tell_need(shard, sequence) for shard, sequence in enumerate(found) if sequence]

    async def _starts(self) -> list[Need]:
        first = await self._tasks.first_open() if self._tasks is not None else 0
        return [start_need(first)] if first else []

    async def _rows(self, below: int, places: list[int]) -> list[Need]:
        """Write the rows before a sequence anew, and note their places; what cannot be is needed where it is."""
        last, count, more = 0, 0, True
        while more:
            batch = await self._inbox.dead_letters(last)
            for message in batch.messages:
                last = message.sequence
                if last >= below:
                    return []
                count += 1
                place = await self._moved(message, below) if count <= ROWS_MAX else 0
                if not place:
                    row = decode_row(message.payload)
                    return [row_need(row.sequence if row is not None else 0, last)]
                places.append(place)
            more = batch.more
        return []

    async def _moved(self, message: InboxMessage, below: int) -> int:
        """Where the last row of this one's tell stands, which is not before a sequence; 0 when it has to stay."""
        row = decode_row(message.payload)
        found = await self._inbox.dead_letter(row.sequence) if row is not None else None
        row = decode_row(found.payload) if found is not None else None
        if found is None or row is None or row.state == RETRYING:
            return 0
        if found.sequence >= below:
            return found.sequence
        payload = found.payload
        if row.state in OVER:  # it is not sent again: that there was one is all that is needed
            payload = encode_row(replace(row, tell=replace(row.tell, args=EMPTY_ARGS), args_left_out=True))
        return await self._inbox.write_dead_letter(row.sequence, payload, found.sequence) or 0


async def _each(ask: Callable[[int], Awaitable[T]], numbers: Iterable[int]) -> list[T]:
    """What is answered of each, some asked at once."""
    found: list[T] = []
    waiting = list(numbers)
    for first in range(0, len(waiting), AT_ONCE):
        found += await asyncio.gather(*(ask(one) for one in waiting[first : first + AT_ONCE]))
    return found
