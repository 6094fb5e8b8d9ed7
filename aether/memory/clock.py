"""The two clocks of the memory adapters: one that tests set by hand, one that runs.

What happens later in memory (a row expires, a late acknowledgement arrives) is an alarm of the clock, so a manual clock
decides all of it. Owns alarms only; it must not know what they ring for.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count
from typing import Protocol

from aether.ports import Clock


class AlarmClock(Clock, Protocol):
    """A clock that also wakes: what the memory adapters need of time."""

    def call_after(self, delay_s: float, wake: Callable[[], object]) -> None:
        """Call `wake` once, `delay_s` seconds from now, in the event loop's thread."""
        ...


class LoopClock:
    """Time of this machine; alarms are the running event loop's timers."""

    def wall_s(self) -> float:
        """Unix time in seconds."""
        return time.time()

    def boot_s(self) -> float:
        """Monotonic seconds, the same that the event loop's timers count."""
        return time.monotonic()

    def call_after(self, delay_s: float, wake: Callable[[], object]) -> None:
        """Call `wake` once from the running event loop. Raises RuntimeError outside one."""
        asyncio.get_running_loop().call_later(delay_s, wake)


class ManualClock:
    """Time stands still until `advance`; alarms ring inside it, in the order they are due."""

    def __init__(self, wall_s: float = 1_700_000_000.0, boot_s: float = 0.0) -> None:
        self._wall_s = wall_s
        self._boot_s = boot_s
        self._order = count()
        self._alarms: list[tuple[float, int, Callable[[], object]]] = []

    def wall_s(self) -> float:
        """Unix time in seconds, as set."""
        return self._wall_s

    def boot_s(self) -> float:
        """Seconds since boot, as set."""
        return self._boot_s

    def call_after(self, delay_s: float, wake: Callable[[], object]) -> None:
        """Call `wake` inside the `advance` that reaches `delay_s` seconds from now."""
        heapq.heappush(self._alarms, (self._boot_s + delay_s, next(self._order), wake))

    def advance(self, seconds: float) -> None:
        """Move both clocks on; each alarm sees the time it was set for. Raises ValueError for a negative step."""
        if seconds < 0:
            raise ValueError("time goes forward; `jump_wall` moves the wall clock alone")
        until_s = self._boot_s + seconds
        while self._alarms and self._alarms[0][0] <= until_s:
            due_s, _, wake = heapq.heappop(self._alarms)
            self._move_to(max(due_s, self._boot_s))
            wake()
        self._move_to(until_s)

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP does; no alarm moves."""
        self._wall_s += seconds

    def _move_to(self, boot_s: float) -> None:
        self._wall_s += boot_s - self._boot_s
        self._boot_s = boot_s
