"""The real clock. Stateless, safe from any thread; nothing else in the package reads the time."""

from time import CLOCK_BOOTTIME, clock_gettime, time
from typing import Final

_BOOTTIME: Final = CLOCK_BOOTTIME


class SystemClock:
    """`ports.Clock` over the operating system."""

    __slots__ = ()

    def wall_s(self) -> float:
        """Unix time in seconds; it may jump."""
        return time()

    def boot_s(self) -> float:
        """Seconds since boot, counting on while the machine sleeps; it never goes back."""
        return clock_gettime(_BOOTTIME)
