"""Shortens the inbox stream: removes from its beginning what no worker needs any more (`aether.core.inbox_floor`).

One worker does it, rarely: the owner of shard 0. Two at once do no harm, nor does one that was frozen and goes on: what
it found out stays true. Everything that the floor rests on is on the disk before anything is removed: workers that sync
the server's files sync them, and in any case it is removed `KEPT_S` after it was found out, and only over the same
connection: after a power cut the server may have lost what was read, and it may be an older copy.
"""

import logging
from typing import Any, NamedTuple

from msgspec.structs import replace

from aether.core.inbox_floor import InboxNeed, floor, row_need
from aether.dead_letters import OVER, RETRYING, decode_row, encode_row
from aether.inbox_needs import needs_of
from aether.ports import Inbox, InboxMessage, Tasks
from aether.tells import EMPTY_ARGS

KEPT_S = 240.0
"""So long stays what is not needed. A server syncs everything after two minutes unless it is told otherwise, and
it knows the ids of clients' messages for as long; both are counted with time to spare."""

LOOK_TELLS = 65_536
"""The inbox is looked at when it has grown by so much."""

ROWS_MAX = 10_000
"""So many rows of dead letters are written anew in one go: the stream is shortened up to the first one after them."""

log = logging.getLogger("aether.inbox")


class FoundFloor(NamedTuple):
    """The lowest need, of which stream (`Inbox.made`), and when that was found out."""

    need: InboxNeed
    made: Any
    at_s: float


class InboxPurge:
    """Shortens the inbox of one namespace. Without `tasks` no start of a task may be in it."""

    def __init__(self, inbox: Inbox, tasks: Tasks | None, shards: int) -> None:
        self._inbox = inbox
        self._tasks = tasks
        self._shards = shards
        self._held: FoundFloor | None = None
        self._removed_below = 0

    async def go_on(self, end: int, now_s: float) -> int:
        """Look at a stream that has grown up to about `end`, or remove what was found out long ago.

        How many messages were removed. Raises `Unavailable`, `UnreadableEvent`.
        """
        held = self._held
        if held is None:
            if not 0 <= end - self._removed_below < LOOK_TELLS:  # it may be an older copy
                self._held = await self.look(now_s)
            return 0
        if now_s - held.at_s < KEPT_S:
            return 0
        self._held = None
        return await self.remove(held)

    async def look(self, now_s: float) -> FoundFloor:
        """What may be removed from now on, which is on the disk. Raises `Unavailable`, `UnreadableEvent`.

        Writes rows of dead letters that are below it anew.
        """
        made = await self._inbox.made()
        need, places = await self._floor(move=True)
        await self._inbox.until_on_disk(max(places))
        return FoundFloor(need, made, now_s)

    async def remove(self, found: FoundFloor) -> int:
        """Remove what is not needed, or a part of that; how many messages that were. Raises `Unavailable`.

        It is looked once more: of several replicas one that takes itself for the leader may have answered.
        """
        again, _ = await self._floor(move=False)
        need = min(found.need, again)
        count = await self._inbox.purge(need.sequence, found.made)
        self._removed_below = need.sequence
        text = "the inbox was shortened" if count else "nothing was removed from the inbox"
        log.info(text, extra={"messages": count, "needed": need.sequence, "for": need.what})
        return count

    async def _floor(self, *, move: bool) -> tuple[InboxNeed, list[int]]:
        """The lowest need, and where that stands which it rests on."""
        end, needs, places = await needs_of(self._inbox, self._tasks, self._shards)
        lowest = floor(end, needs)
        return floor(lowest.sequence, [lowest, *await self._rows(lowest.sequence, places, move=move)]), places

    async def _rows(self, below: int, places: list[int], *, move: bool) -> list[InboxNeed]:
        """Write the rows before a sequence anew, and note their places; what is not is needed where it is."""
        last, count, more = 0, 0, True
        while more:
            batch = await self._inbox.dead_letters(last)
            for message in batch.messages:
                last = message.sequence
                if last >= below:
                    return []
                count += 1
                place = await self._moved(message, below, move=move) if count <= ROWS_MAX else 0
                if not place:
                    row = decode_row(message.payload)
                    return [row_need(row.sequence if row is not None else 0, last)]
                places.append(place)
            more = batch.more
        return []

    async def _moved(self, message: InboxMessage, below: int, *, move: bool) -> int:
        """Where the last row of this one's tell stands, which is not before a sequence; 0 when it has to stay."""
        row = decode_row(message.payload)
        found = await self._inbox.dead_letter(row.sequence) if row is not None else None
        row = decode_row(found.payload) if found is not None else None
        if found is None or row is None or row.state == RETRYING:
            return 0
        if found.sequence >= below:
            return found.sequence
        if not move:
            return 0
        payload = found.payload
        if row.state in OVER:  # it is not sent again: that there was one is all that is needed
            payload = encode_row(replace(row, tell=replace(row.tell, args=EMPTY_ARGS), args_left_out=True))
        return await self._inbox.write_dead_letter(row.sequence, payload, found.sequence) or 0
