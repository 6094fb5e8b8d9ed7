"""Tells ticks that were due long ago and that the server has not given out, and has it forget them.

A server that crashes may have schedules again that it had given out or that were cancelled: it took them out of their
stream, and that was not on its disk. It does not give out all of them any more, so they would stay for ever and be
listed as waiting. What they are is told as every tick is: the actor's agenda says whether it waits for it, so a tick
that the server has really forgotten is run, late, and every other one ends in `aether.Handled`. The owner of shard 0
looks, rarely: all timers are read.
"""

import logging
from collections.abc import Callable

from aether.errors import InvalidCommand
from aether.log_lines import words
from aether.names import shard_of
from aether.ports import Inbox, Timers
from aether.runtime.ticks import told_tick
from aether.sends import SetSchedule
from aether.tells import encode_tell

LATE_S = 300.0
"""By so much, by the server's clock. It gives out what is due within a second, and at once when it has started."""

CLOCKS_APART_S = 5.0
"""By so much the clock of a worker may differ from the server's without a word."""

log = logging.getLogger("aether.schedules")


class OverdueTicks:
    """The ticks of one namespace that are overdue. It holds nothing."""

    def __init__(self, shards: int, timers: Timers, inbox: Inbox) -> None:
        self._shards = shards
        self._timers = timers
        self._inbox = inbox

    async def tell(self) -> int:
        """Tell them, and have them forgotten; how many. Raises `Unavailable`."""
        count, after, more = 0, 0, True
        while more:
            batch = await self._timers.overdue(after, LATE_S)
            told = [await self._tell(tick) for _, tick in batch.found]
            await self._inbox.until_on_disk(max(told, default=0))
            for sequence, tick in batch.found:
                await self._timers.remove_overdue(tick, sequence)
            count, after, more = count + len(batch.found), batch.last, batch.more
        if count:
            log.warning("ticks were told that the server had not given out", extra={"ticks": count})
        return count

    async def check_clock(self, wall_s: Callable[[], float]) -> None:
        """Say so when this worker's clock is not the server's. Raises `Unavailable`.

        Schedules are set, and found late, by the one, and ticks are given out by the other.
        """
        asked_s = wall_s()
        server_s = (await self._timers.now()).timestamp()
        ahead_s = max(0.0, asked_s - server_s) - max(0.0, server_s - wall_s())
        if abs(ahead_s) > CLOCKS_APART_S:
            extra = {"ahead_s": round(ahead_s, 1)}
            log.warning(
                "this worker's clock is not the server's: schedules are due early or late, or left out", extra=extra
            )

    async def _tell(self, tick: SetSchedule) -> int:
        """Where the tell stands; 0 for none."""
        try:
            tell = told_tick(tick)
            return await self._inbox.send(shard_of(tell.target, self._shards), encode_tell(tell), tell.id)
        except InvalidCommand as error:  # no worker has set it
            extra = {"source": tick.source, "schedule": tick.name, "error": words(error)}
            log.error("a tick of a schedule cannot be told and is left out", extra=extra)
            return 0
