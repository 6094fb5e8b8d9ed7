"""Which start of a task runs apart from others like it: one that has lost several workers in a row.

A function that ends its process takes all that runs beside it along, which costs each of these an attempt. So what has
lost workers is called one at a time on a worker, and the others go back meanwhile: the next death costs the one that is
called, and none of those. It owns who that is. One event loop.
"""

import asyncio
from functools import partial

from aether.aio import first_of, set_once
from aether.ports import Clock
from aether.runtime.call_later import call_later_by

LOST_MAX = 2
"""So many workers in a row are lost with a start before it runs apart."""

APART_S = 20.0
"""So long no other such start is called; one that runs for longer is not what ends workers."""

APART_AGAIN_S = 5.0
"""When another such start is handed out again, here or elsewhere, at the latest: they do not come together."""

SETTLE_S = 0.5
"""So long one waits before it is called: those that came together with it go back meanwhile."""


class Apart:
    """Who of one worker's starts runs apart."""

    def __init__(self) -> None:
        self._who: object = None
        self._until_s = 0.0

    def begin(self, who: object, now_s: float) -> bool:
        """Whether it may be called: no other one is, or that one has been for `APART_S`. `now_s`: of the boot clock."""
        if self._who is not None and now_s < self._until_s:
            return False
        self._who, self._until_s = who, now_s + APART_S
        return True

    def end(self, who: object) -> None:
        """It is over."""
        if self._who is who:
            self._who = None


async def settled(clock: Clock, stop: asyncio.Future[None]) -> None:
    """Wait until what came together with a start has gone back, or until it is stopped."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    alarm = call_later_by(clock)(SETTLE_S, partial(set_once, over, None))
    await first_of(over, stop)
    alarm.cancel()
