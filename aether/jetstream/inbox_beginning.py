"""Removes the beginning of the inbox stream, so that a power cut takes nothing of what stays.

A server whose purge ends in the middle of a block may write the rest of that block to another file and rename it,
without a sync. Until the server's next sync a power cut may take that rest, though it was durable. So:

- Where the block files can be read, a purge ends where a block begins. The server then only removes files.
- Elsewhere nothing is known of the blocks but their size, `BLOCK_BYTES_MAX` at most. A purge then ends so many bytes
  before what is needed: they begin in another block, on each replica, and what may be lost is not needed.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from aether.core.inbox_floor import last_start
from aether.errors import Unavailable
from aether.jetstream.api import StreamState, direct_batch, leader_next, stream_info, stream_purge
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.connection.session import NatsSession
from aether.names import Names

BLOCK_BYTES_MAX = 8 * 1024 * 1024
"""The largest block of a stream (`maxBlockSize` in the server's filestore.go)."""

PURGE_BLOCKS = 4
"""So many blocks one request removes: for each the server may have to read all of it, and stores nothing meanwhile."""

SEARCHES_MAX = 4
"""So often it is looked further back for an end that is far enough from what is needed."""


class Made(NamedTuple):
    """Which stream it is, and over which connection that was seen: over another one it may be an older copy."""

    created: datetime | None
    session: NatsSession | None


class InboxBeginning:
    """The beginning of the inbox stream of one namespace."""

    def __init__(self, connection: NatsConnection, names: Names) -> None:
        self.block_starts: Callable[[], list[int]] | None = None
        """The first sequence of each block file of the stream, where its files can be read."""
        self._connection = connection
        self._names = names

    async def made(self) -> Made:
        """Which stream it is now. Raises `Unavailable`."""
        session = self._connection.session or await self._connection.ready()
        return Made((await stream_info(self._connection, self._names.inbox)).created, session)

    async def purge(self, below: int, made: Made) -> int:
        """Remove what is before a sequence, or less; how many messages that were. Raises `Unavailable`."""
        if self.block_starts is not None:
            return await self._purge_blocks(self.block_starts, below, made)
        return await self._purge_bytes(below, made)

    async def _purge_blocks(self, block_starts: Callable[[], list[int]], below: int, made: Made) -> int:
        starts, count = sorted(await asyncio.to_thread(block_starts)), 0
        last = last_start(starts, below)
        for start in [*starts[PURGE_BLOCKS : starts.index(last) : PURGE_BLOCKS], last] if last else []:
            there = await leader_next(self._connection, self._names.inbox, self._names.tells_all, start)
            if there is None or there.sequence != start:
                return count  # it was removed otherwise, so the block begins elsewhere
            state = await self._state(made)
            if state.first_seq < start:
                count += await self._purge(start, made)
        return count

    async def _purge_bytes(self, below: int, made: Made) -> int:
        state = await self._state(made)
        each = max(1, state.bytes // max(1, state.messages))
        margin = BLOCK_BYTES_MAX * 3 // (2 * each) + 1  # what is counted is less than what is stored
        last = await self._in_another_block(below, margin, state.first_seq)
        if last - state.first_seq < margin:  # else more would be read than is removed
            return 0
        step, count = PURGE_BLOCKS * BLOCK_BYTES_MAX // each + 1, 0
        for end in [*range(state.first_seq + step, last, step), last]:
            if (await self._state(made)).first_seq < end:
                count += await self._purge(end, made)
        return count

    async def _in_another_block(self, below: int, margin: int, first: int) -> int:
        """A sequence from whose block on no message at or after `below` is in the same; 0 when none is found."""
        for search in range(SEARCHES_MAX):
            found = below - (margin << search)
            if found <= first:
                return 0
            if await self._are_more_than_a_block(found, below):
                return found
        return 0

    async def _are_more_than_a_block(self, after: int, below: int) -> bool:
        """Whether the messages between two sequences cannot all stand in one block. Raises `Unavailable`."""
        total, more = 0, True
        while more and total <= BLOCK_BYTES_MAX:
            batch = await direct_batch(self._connection, self._names.inbox, self._names.tells_all, after + 1)
            total += sum(len(one.subject) + len(one.payload) for one in batch.messages if one.sequence < below)
            more, after = batch.more and batch.last < below - 1, batch.last
        return total > BLOCK_BYTES_MAX

    async def _state(self, made: Made) -> StreamState:
        """Raises `Unavailable`, also when it is another stream by now, or another connection."""
        _check_session(self._connection.session, made)
        info = await stream_info(self._connection, self._names.inbox)
        if info.state is None or info.created != made.created:
            raise Unavailable("the stream was made anew meanwhile")
        return info.state

    async def _purge(self, end: int, made: Made) -> int:
        _check_session(self._connection.session, made)  # the request goes over the one that there is now
        return (await stream_purge(self._connection, self._names.inbox, {"seq": end})).purged


def _check_session(session: NatsSession | None, made: Made) -> None:
    if session is not made.session:
        raise Unavailable("the connection was lost meanwhile")
