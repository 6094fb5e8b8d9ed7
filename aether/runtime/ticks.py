"""Makes tells of the ticks of one shard's schedules that are due: stored in the inbox stream, then removed.

A tick goes to the actor that has set the schedule. It may be told twice, when this ends between the two steps or two
workers believe to own the shard: the command id is the same, and the actor's agenda says which tick it waits for. One
task for each shard that is served, asleep until the server gives out a tick.
"""

import asyncio
import logging
from collections.abc import Callable

from aether.core.backoff import Backoff
from aether.errors import AetherError, InvalidCommand, UnreadableEvent
from aether.log_lines import Repeated, words
from aether.names import shard_of
from aether.ports import Inbox, InboxMessage, Subscription, Timers
from aether.runtime.counters import Counters
from aether.sends import SetSchedule, decode_schedule
from aether.tells import Tell, encode_tell
from aether.wire import TICK_COMMAND

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
        self._not_told = Repeated(log, logging.INFO, "ticks of schedules were not told")

    def ring(self) -> None:
        """A tick may be due."""
        self._wake.set()

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
                await self._wake.wait()
            except AetherError as error:
                self._not_told.again(shard=self.shard, error=words(error))
                await asyncio.sleep(AGAIN.delay_s(attempt, self._jitter()))
                attempt += 1

    async def _tell_all(self) -> None:
        more = True
        while more and self._owns():
            batch = await self._timers.fired(self.shard, 0)
            await asyncio.gather(*map(self._tell, batch.messages))
            if batch.messages:
                await self._timers.remove_fired(self.shard, batch.messages[-1].sequence)
            more = batch.more

    async def _tell(self, message: InboxMessage) -> None:
        try:
            tick = decode_schedule(message.payload)
            if not isinstance(tick, SetSchedule):
                raise UnreadableEvent("it is no schedule", actor="", position=0)
            tell = told_tick(tick)
            payload = encode_tell(tell)
            await self._inbox.send(shard_of(tell.target, self._shards), payload, tell.id)
            self._counters.ticks_told += 1
        except (UnreadableEvent, InvalidCommand) as error:  # no worker has stored it
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
    )
