"""Makes tells of the ticks of one shard's schedules that are due: stored in the inbox stream, then removed.

A tick goes to the actor that has set the schedule. It may be told twice, when this ends between the two steps or two
workers believe to own the shard: the command id is the same, and the actor's agenda says which tick it waits for. To
remove ticks costs the server more than to store them, so all that a shard has told for some seconds is removed at once.
One task for each shard that is served, asleep until the server gives out a tick.
"""

import asyncio
import logging
from collections.abc import Callable

from aether.aio import first_of
from aether.core.backoff import Backoff
from aether.errors import AetherError, InvalidCommand, Unavailable, UnreadableEvent
from aether.log_lines import Repeated, words
from aether.names import shard_of
from aether.ports import Inbox, InboxBatch, InboxMessage, Subscription, Timers
from aether.runtime.counters import Counters
from aether.sends import SetSchedule, decode_schedule
from aether.tells import Tell, encode_tell
from aether.wire import TICK_COMMAND

REMOVE_AFTER_S = 2.0
"""How long a tick that is told stays, at least; up to twice as long, so that not all shards remove theirs at once."""

TELL_AT_ONCE = 256

SORT_TOGETHER = 4_096
"""So many ticks of a shard are told in the order of their times, as after a downtime; further ones come after them.

Those of one time are told in the order in which their actors have set them.
"""

AGAIN = Backoff(first_s=0.05, cap_s=2.0)

log = logging.getLogger("aether.schedules")


class ShardTicks:
    """The ticks of one shard, from `run` until that is cancelled. `jitter` gives [0, 1)."""

    def __init__(
        self,
        shard: int,
        shards: int,
        timers: Timers,
        inbox: Inbox,
        owns: Callable[[], bool],
        jitter: Callable[[], float],
        counters: Counters,
    ) -> None:
        self.shard = shard
        self.bell: Subscription | None = None
        self._shards = shards
        self._timers = timers
        self._inbox = inbox
        self._owns = owns
        self._jitter = jitter
        self._counters = counters
        self._wake = asyncio.Event()
        self._told = 0
        """Up to which sequence all is told and not removed; 0 for nothing, or when that is not known."""
        self._connections = 0
        self._remove_at_s = 0.0
        self._not_told = Repeated(log, logging.INFO, "ticks of schedules were not told")

    def ring(self) -> None:
        """A tick may be due."""
        self._wake.set()

    def connected(self) -> None:
        """After a power cut another tick may be at the sequence of one that was told: begin at the first again."""
        self._told = 0
        self._connections += 1
        self.ring()

    async def run(self) -> None:
        """Tell for ever."""
        attempt = 0
        while True:
            try:
                self._wake.clear()
                if self.bell is None:
                    self.bell = await self._timers.follow(self.shard, self.ring)
                await self._tell_all()
                attempt = 0
                self._not_told.over()
                await self._until_woken()
            except AetherError as error:
                self._not_told.again(shard=self.shard, error=words(error))
                await asyncio.sleep(AGAIN.delay_s(attempt, self._jitter()))
                attempt += 1

    async def _tell_all(self) -> None:
        more = True
        while more:
            if not self._owns():  # the next bell may be far: it is tried again until the shard is ours, or left
                raise Unavailable(f"shard {self.shard} is another worker's now")
            connections = self._connections
            due = await self._due()
            ticks = [(message, tick) for message in due.messages if (tick := self._decoded(message)) is not None]
            ticks.sort(key=lambda one: (one[1].at, one[1].position, one[1].number))
            for begin in range(0, len(ticks), TELL_AT_ONCE):
                await asyncio.gather(*(self._tell(*one) for one in ticks[begin : begin + TELL_AT_ONCE]))
            if due.messages and connections == self._connections:
                if not self._told:
                    self._remove_at_s = self._now_s() + REMOVE_AFTER_S * (1 + self._jitter())
                self._told = due.messages[-1].sequence
            more = due.more

    async def _due(self) -> InboxBatch:
        """What was given out and is not told: all of it, or some thousands. The server gives it out in no order."""
        found: list[InboxMessage] = []
        more = True
        while more and len(found) < SORT_TOGETHER:
            batch = await self._timers.fired(self.shard, found[-1].sequence if found else self._told)
            found += batch.messages
            more = batch.more
        return InboxBatch(found, more)

    async def _until_woken(self) -> None:
        """Return when a tick may be due; meanwhile, or before that, remove what was told when it is time."""
        if self._told:
            await first_of(self._wake.wait(), timeout_s=max(0.0, self._remove_at_s - self._now_s()))
            if self._now_s() < self._remove_at_s:
                return
            await self._timers.remove_fired(self.shard, self._told)
            self._told = 0
        await self._wake.wait()

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _decoded(self, message: InboxMessage) -> SetSchedule | None:
        try:
            tick = decode_schedule(message.payload)
            if not isinstance(tick, SetSchedule):
                raise UnreadableEvent("it is no schedule", actor="", position=0)
        except UnreadableEvent as error:  # no worker has stored it
            self._left_out(message, error)
            return None
        return tick

    async def _tell(self, message: InboxMessage, tick: SetSchedule) -> None:
        try:
            tell = told_tick(tick)
            payload = encode_tell(tell)
            await self._inbox.send(shard_of(tell.target, self._shards), payload, tell.id)
            self._counters.ticks_told += 1
        except InvalidCommand as error:
            self._left_out(message, error)

    def _left_out(self, message: InboxMessage, error: AetherError) -> None:
        extra = {"shard": self.shard, "sequence": message.sequence, "error": words(error)}
        log.error("a tick of a schedule cannot be told and is left out", extra=extra)


def told_tick(tick: SetSchedule) -> Tell:
    """A tick as a tell to the actor that has set the schedule. Raises `InvalidCommand` when none is named."""
    source = tick.actor_id
    to_itself = (tick.kind, tick.key) == (source.kind, source.key)
    return Tell(
        kind=source.kind,
        key=source.key,
        command=tick.command if to_itself else TICK_COMMAND,
        args=tick.args,
        id=tick.firing_id,
        source=tick.source,
        correlationid=tick.correlationid,
        causationid=tick.causationid,
        traceparent=tick.traceparent,
        passes_to="" if to_itself else f"{tick.command} {tick.kind}/{tick.key}",
        due=tick.at,
    )
