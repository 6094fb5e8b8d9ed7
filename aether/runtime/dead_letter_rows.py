"""Writes the rows of tells that are given up, before their actors commit it and after they have; counts dead letters.

One task for all shards of a runtime, asleep while nothing fails. A row that cannot be written is tried again, and the
tell waits for it: no dead letter is without one. See `aether.dead_letters`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Container
from itertools import islice

from msgspec.structs import replace

from aether.core.backoff import Backoff
from aether.dead_letters import DEAD, DYING, OVER, DeadLetterRow, decode_row, shorter
from aether.errors import AetherError, InvalidCommand
from aether.log_lines import Repeated, words
from aether.names import shard_of
from aether.ports import Clock, Inbox
from aether.tells import Tell
from aether.wire import ErrorBody, instant

AT_ONCE = 32
"""So many rows are written at once."""

AGAIN = Backoff(first_s=0.05, cap_s=2.0)

log = logging.getLogger("aether.inbox")


class _Write:
    """One write to do: of a new row, or of what became of one whose row stands at `expected`."""

    __slots__ = ("expected", "row", "written")

    def __init__(self, row: DeadLetterRow, expected: int, written: Callable[[int], None]) -> None:
        self.row = row
        self.expected = expected
        self.written = written


class DeadLetterRows:
    """The rows that one runtime writes, from `run` until that is cancelled. `jitter` gives [0, 1)."""

    def __init__(self, inbox: Inbox, clock: Clock, jitter: Callable[[], float]) -> None:
        self._inbox = inbox
        self._clock = clock
        self._jitter = jitter
        self._due: deque[_Write] = deque()
        self._rows: dict[int, tuple[int, DeadLetterRow]] = {}
        self._wake = asyncio.Event()
        self._not_written = Repeated(log, logging.INFO, "the rows of dead letters cannot be written now")

    def give_up(self, sequence: int, tell: Tell, failures: int, error: ErrorBody, written: Callable[[], None]) -> None:
        """Call `written` once it is on the disk that this tell is about to be given up."""
        row = DeadLetterRow(
            state=DYING, sequence=sequence, tell=tell, failures=failures, error=error, at=instant(self._clock.wall_s())
        )

        def stored(at: int) -> None:
            if at:  # else another owner has written it, and who reads it finds out what came of it
                self._rows[sequence] = (at, row)
            written()

        self._due.append(_Write(row, 0, stored))
        self._wake.set()

    def over(self, sequence: int, *, committed: bool) -> None:
        """Its actor has committed that it is given up; or it is done, and how is not known here."""
        found = self._rows.pop(sequence, None)
        if found is None or not committed:
            return
        at, row = found
        dead = replace(row, state=DEAD)
        self._due.append(_Write(dead, at, lambda _: None))
        self._wake.set()

    async def run(self) -> None:
        """Write for ever."""
        attempt = 0
        while True:
            self._wake.clear()
            try:
                while self._due:
                    writes = list(islice(self._due, AT_ONCE))
                    for write, at in zip(writes, await asyncio.gather(*map(self._stored, writes)), strict=True):
                        self._due.popleft()
                        write.written(at)
                    attempt = 0
                self._not_written.over()
                await self._wake.wait()
            except AetherError as error:
                self._not_written.again(error=words(error))
                await asyncio.sleep(AGAIN.delay_s(attempt, self._jitter()))
                attempt += 1

    async def _stored(self, write: _Write) -> int:
        """The row's sequence, 0 when there is one already that is another than expected. Raises `Unavailable`."""
        for payload in shorter(write.row):
            try:
                return await self._inbox.write_dead_letter(write.row.sequence, payload, write.expected) or 0
            except InvalidCommand:
                continue
        log.error("a dead letter is too large to have a row", extra={"sequence": write.row.sequence})
        return 0


class DeadLetterCount:
    """How many dead letters a namespace has, as its rows say that were read so far."""

    def __init__(self, inbox: Inbox, shards: int) -> None:
        self._inbox = inbox
        self._shards = shards
        self._read = 0
        self._shard_of: dict[int, int] = {}
        """Of each dead letter, by its tell's sequence: the shard of its actor."""

    def of_shards(self, shards: Container[int]) -> int:
        """How many the actors of these shards have, as it was read last."""
        return sum(shard in shards for shard in self._shard_of.values())

    def forget(self) -> None:
        """Read anew: after a power cut the stream may be shorter."""
        self._read = 0
        self._shard_of.clear()

    async def read(self) -> None:
        """Read the rows that were written since the last time. Raises `Unavailable`."""
        more = True
        while more:
            batch = await self._inbox.dead_letters(self._read)
            for message in batch.messages:
                self._read = message.sequence
                row = decode_row(message.payload)
                if row is not None and row.state in OVER:
                    self._shard_of.pop(row.sequence, None)
                elif row is not None:
                    self._shard_of[row.sequence] = shard_of(row.tell.target, self._shards)
            more = batch.more
