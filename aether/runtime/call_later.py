"""Calls something at a time: by a worker's clock where that is moved, as a test's is; else by the event loop's."""

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from aether.ports import Alarm, Clock, MovedClock

CallLater: TypeAlias = Callable[[float, Callable[[], object]], Alarm]
"""Calls once, in the event loop, after so many seconds."""


def call_later_by(clock: Clock) -> CallLater:
    """What calls by this clock. Needs a running event loop."""
    return clock.call_later if isinstance(clock, MovedClock) else asyncio.get_running_loop().call_later
