"""Reads the tells to one shard, in the order of the inbox stream, and writes down how far they are applied.

A tell is done when its target has committed that it was: from then on the actor knows by the tell's sequence that it
had it. What was read is handed over by `aether.runtime.tell_delivery`. Nothing here is the truth: an owner that begins
anew reads again from the mark that was written last, and actors skip what they had. One task reads; all else runs in
the event loop's callbacks.
"""

import asyncio
import logging
from collections.abc import Callable

from aether.config import RuntimeConfig
from aether.errors import InvalidCommand
from aether.ids import ActorId
from aether.log_lines import words
from aether.names import shard_of
from aether.ports import Clock, Delivery, Inbox, InboxMessage
from aether.runtime.counters import Counters
from aether.runtime.dead_letter_rows import DeadLetterRows
from aether.runtime.tell_delivery import TellDelivery
from aether.runtime.tell_line import OpenTells, TellRoom
from aether.tells import decode_told
from aether.waiting_tells import WaitingTells

OPEN_MAX = 16_384
"""So many tells of the shard are read and not done; beyond that it is read on when some are."""

MARK_TELLS = 1_024
"""What is applied is written down after so many tells of the shard, and now and then."""

log = logging.getLogger("aether.inbox")


class ShardInbox:
    """The inbox of one shard, until `close`; `aether.runtime.inbox_reading` has it read.

    `may_apply` says whether every member knows tells by now; `room` is that of all shards of the worker.
    """

    def __init__(
        self,
        shard: int,
        shards: int,
        inbox: Inbox,
        *,
        receive: Callable[[Delivery], None],
        clock: Clock,
        config: RuntimeConfig,
        counters: Counters,
        dead_letters: DeadLetterRows,
        jitter: Callable[[], float],
        may_apply: Callable[[], bool],
        room: TellRoom | None = None,
    ) -> None:
        self.shard = shard
        self._shards = shards
        self._inbox = inbox
        self._counters = counters
        self._may_apply = may_apply
        self._wake = asyncio.Event()
        self._cursor = -1
        """Up to here all was read or heard; -1 until the mark was read."""
        self._stated = self._missed = 0
        """Up to where the stream was said to go, behind a gap; the last tell that was heard there, and left."""
        self._written = self._unwritten = 0
        """What was written down last as applied; how many tells are done since."""
        self._room = room or TellRoom()
        self._open = OpenTells(self._room)
        self._delivery = TellDelivery(
            shard, receive=receive, applied=self._applied, clock=clock, config=config, counters=counters,
            dead_letters=dead_letters, jitter=jitter, room=self._room,
        )  # fmt: skip
        self._closed = self._mark_due = False
        self._read_due = True

    @property
    def waiting(self) -> int:
        """How many tells were read and are not done."""
        return len(self._open)

    def lines(self) -> list[WaitingTells]:
        """What waits, actor by actor."""
        return self._delivery.lines()

    @property
    def full_of(self) -> WaitingTells | None:
        """Of the actors whose first tell is not done, the one with most tells, while so many wait that none is read."""
        if not self._open.is_full(OPEN_MAX):
            return None
        return max((one for one in self.lines() if one.error is not None), key=lambda one: one.count, default=None)

    @property
    def applied(self) -> int:
        """All tells up to this sequence are applied."""
        return self._open.first - 1 if self._open else max(self._cursor, 0)

    def ring(self) -> None:
        """There may be more to read."""
        self._read_due = True
        self._wake.set()

    def hear(self, after: int, until: int, message: InboxMessage | None) -> None:
        """What was stored after a sequence and up to another, at which the tell stands. What is not known is read.

        Behind a gap it goes on from a tell that was read, and from nothing else: of several replicas one that was the
        leader may know of no tell in the gap where there is one.
        """
        if until <= self._cursor or self._closed:
            return
        if after <= self._cursor and message is None:
            self._cursor = until
        elif after <= self._cursor and message is not None and not self._open.is_full(OPEN_MAX) and self._may_apply():
            self._take(message)
        else:
            is_looked_at = message is None and after <= self._stated and not self._read_due
            self._stated = max(self._stated, until)
            if message is not None:
                self._missed = max(self._missed, until)
            if not is_looked_at:
                self.ring()

    def connected(self) -> None:
        """What was handed over may have been dropped with the connection: hand it over again."""
        self._stated = self._missed = 0
        self._delivery.connected()
        self.ring()

    def look(self) -> None:
        """Hand over again what has had no answer for too long, and write down what is applied. Now and then.

        What could not be read when it was due is read now, perhaps.
        """
        if self._unwritten:
            self._mark_due = True
        if self._unwritten or self._read_due:
            self._wake.set()
        if self._open:
            self._delivery.look()

    def give_up(self, actor_id: ActorId, until: int | None) -> int:
        """Have what waits for an actor given up without another try, up to this sequence or all; how many that are."""
        return self._delivery.give_up(actor_id, until)

    async def step(self) -> None:
        """Read if something may be there, and write down what is applied, when it is time. Raises `AetherError`."""
        self._wake.clear()
        if self._read_due:
            await self._read()
        if self._mark_due or self._unwritten >= MARK_TELLS:
            self._mark_due = False
            await self.write_mark()

    async def until_woken(self) -> None:
        """Return when there may be something to do."""
        await self._wake.wait()

    def read_again(self) -> None:
        """What the last step has read may be a part."""
        self._read_due = True

    async def write_mark(self) -> None:
        """Write down what is applied. Raises `Unavailable`."""
        applied, unwritten = self.applied, self._unwritten
        if applied > self._written:
            await self._inbox.write_applied_mark(self.shard, applied)
            self._written = applied
            self._unwritten -= unwritten

    def close(self) -> None:
        """Hand over nothing more, and hear no more answers. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._open.release()
        self._delivery.close()

    async def _read(self) -> None:
        self._read_due = False
        if self._cursor < 0:
            self._cursor = self._written = await self._inbox.applied_mark(self.shard)
        while self._may_apply() and not self._open.is_full(OPEN_MAX):
            batch = await self._inbox.tells(self.shard, self._cursor)
            for message in batch.messages:
                if message.sequence > self._cursor:  # else it was heard meanwhile
                    self._take(message)
            if not batch.more:
                await self._look_again()
                return
        self._read_due = True

    async def _look_again(self) -> None:
        """Have it read once more if a replica that lags has answered."""
        cursor = self._cursor
        if self._missed > cursor or (self._stated > cursor and await self._inbox.next_tell(self.shard, cursor)):
            self._read_due = True

    def _take(self, message: InboxMessage) -> None:
        self._cursor = message.sequence
        try:
            tell, target = decode_told(message.payload)
            if shard_of(target, self._shards) != self.shard:
                raise InvalidCommand(f"{target} is not of shard {self.shard}", path="key")
        except InvalidCommand as error:
            log.error("a message of the inbox is no tell", extra={"sequence": message.sequence, "error": words(error)})
            return
        self._open.add(message.sequence, len(message.payload))
        self._delivery.take(message.sequence, tell, target)

    def _applied(self, sequence: int) -> None:
        self._counters.tells_applied += 1
        makes_room = self._open.remove(sequence, OPEN_MAX)
        self._unwritten += 1
        if self._unwritten == MARK_TELLS or makes_room:
            self._wake.set()
