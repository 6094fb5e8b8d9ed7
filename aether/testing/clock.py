"""The clock of a pool in memory: it runs as time does, and can be moved forward."""

import asyncio
import heapq
import time
from collections.abc import Callable, Set
from datetime import UTC, datetime, timedelta
from itertools import count

SETTLE_TURNS = 10
"""Turns of the event loop in which what an alarm has begun goes on, before `advance` returns."""

THREAD_S = 2.0
"""How long, in real time, `advance` waits for what an alarm has begun in a thread."""

IDLE_TURNS = 40
"""After so many turns of the event loop in which nothing was stored, what was due is taken to be over."""

RESTLESS_MAX = 10_000
"""After so many times as many turns, in each of which something was stored, it is taken never to be over."""


class PoolClock:
    """`wall_s` and `boot_s` run; `advance` moves both. Alarms ring when their time has come, by either.

    `start` is what the wall clock shows at first: now, if it is None. It belongs to the event loop that runs when the
    first alarm is set.
    """

    def __init__(self, start: datetime | None = None) -> None:
        if start is not None and start.tzinfo is None:
            raise ValueError("the start of a clock has a time zone, such as datetime.UTC")
        self._ahead_s = 0.0
        self._wall_minus_boot_s = (time.time() if start is None else start.timestamp()) - time.monotonic()
        self._order = count()
        self._alarms: list[tuple[float, int, Callable[[], object]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._moving = asyncio.Lock()
        self.stored: Callable[[], object] = lambda: None
        """Another value each time that something was stored: what an alarm begins is over when that rests."""
        self.in_threads: Callable[[], Set[object]] = frozenset
        """What runs in threads: each is waited for, once."""
        self._waited_for: Set[object] = frozenset()

    def wall_s(self) -> float:
        """Unix time in seconds."""
        return self.boot_s() + self._wall_minus_boot_s

    def boot_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic() + self._ahead_s

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.fromtimestamp(self.wall_s(), UTC)

    def call_after(self, delay_s: float, wake: Callable[[], object]) -> None:
        """Call `wake` once, in the event loop, when `delay_s` seconds have passed or were skipped."""
        heapq.heappush(self._alarms, (self.boot_s() + delay_s, next(self._order), wake))
        self._set_timer()

    def call_later(self, delay_s: float, wake: Callable[[], object]) -> "PoolAlarm":
        """The same for what may be cancelled: the tries of a tell that fails."""
        alarm = PoolAlarm(wake)
        self.call_after(delay_s, alarm)
        return alarm

    async def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Move time forward; what was due on the way has rung when this returns, each at the time it was set for.

        What that has begun on the event loop has gone on as far as it could without real time passing, and what it has
        begun in threads, as a plain task or a blocking handler, is over, if it takes no longer than `THREAD_S`.
        What was begun before goes on so first. The deadlines of calls that are in flight pass, as they would have.
        Steps of several tasks are taken one after another. Raises ValueError for a negative step, and for one beyond
        the year 9999, and takes none then; RuntimeError when what is due does not end.
        """
        try:
            step = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"a step of time is a finite number of days and seconds: {error}") from None
        if step < timedelta(0):
            raise ValueError("time goes forward")
        async with self._moving:
            await self._advance(step)

    async def _advance(self, step: timedelta) -> None:
        try:
            self.now() + step
        except OverflowError:
            raise ValueError(f"no date is {step.days} days after {self.now():%Y-%m-%d}: years end with 9999") from None
        await self._settle()  # what was begun before this is of the time before it
        until_s = self._ahead_s + step.total_seconds()
        while self._alarms and self._alarms[0][0] <= time.monotonic() + until_s:
            self._ahead_s = min(until_s, max(self._ahead_s, self._alarms[0][0] - time.monotonic()))
            self._ring()
            await self._settle()
        self._ahead_s = max(self._ahead_s, until_s)
        await self._settle()

    async def _settle(self) -> None:
        await self._rest()
        while begun := self.in_threads() - self._waited_for:
            until_s = time.monotonic() + THREAD_S
            while begun & self.in_threads() and time.monotonic() < until_s:  # noqa: ASYNC110 - threads do not wake it
                await asyncio.sleep(0.001)
            self._waited_for = (begun | self._waited_for) & self.in_threads()
            await self._rest()

    async def _rest(self) -> None:
        await _turns(SETTLE_TURNS)
        stored = self.stored()
        for _ in range(RESTLESS_MAX):
            if stored is None:
                return
            await _turns(IDLE_TURNS)
            stored, before = self.stored(), stored
            if stored == before:
                return
        text = "time cannot move on: what is due now does not end, as a tick that sets After(seconds=0) again and again"
        raise RuntimeError(text)

    def _ring(self) -> None:
        while self._alarms and self._alarms[0][0] <= self.boot_s():
            _, _, wake = heapq.heappop(self._alarms)
            wake()
        self._set_timer()

    def _set_timer(self) -> None:
        """For the first alarm: an event loop's timer may come a moment early, and is then set once more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._alarms:
            delay_s = max(0.0, self._alarms[0][0] - self.boot_s())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._ring)


class PoolAlarm:
    """What a `PoolClock` calls at a time, unless it is cancelled."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake: Callable[[], object] | None = wake

    def __call__(self) -> None:
        """Its time has come."""
        if self._wake is not None:
            self._wake()

    def cancel(self) -> None:
        """Call nothing."""
        self._wake = None


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
