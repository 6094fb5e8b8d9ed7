"""The manual clock: alarms ring when time reaches them, in order, at the time they were set for."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.memory.clock import LoopClock, ManualClock


@given(delays=st.lists(st.floats(0, 100), max_size=10), steps=st.lists(st.floats(0, 50), max_size=10))
def test_alarms_ring_in_order_when_time_reaches_them(delays: list[float], steps: list[float]) -> None:
    clock = ManualClock()
    rung: list[tuple[float, float]] = []
    for delay_s in delays:
        clock.call_after(delay_s, ringer(clock, delay_s, rung))
    for seconds in steps:
        clock.advance(seconds)
        assert [delay_s for delay_s, _ in rung] == sorted(each for each in delays if each <= clock.boot_s())
    assert all(delay_s == at_s for delay_s, at_s in rung)


def ringer(clock: ManualClock, delay_s: float, rung: list[tuple[float, float]]) -> Callable[[], None]:
    return lambda: rung.append((delay_s, clock.boot_s()))


def test_an_alarm_set_by_an_alarm_rings_in_the_same_step_when_it_is_due() -> None:
    clock = ManualClock()
    rung: list[float] = []
    clock.call_after(1, lambda: clock.call_after(2, lambda: rung.append(clock.boot_s())))
    clock.advance(5)
    assert rung == [3]


def test_both_clocks_go_on_together_and_the_wall_jumps_alone() -> None:
    clock = ManualClock(wall_s=1000, boot_s=10)
    rung: list[str] = []
    clock.call_after(5, lambda: rung.append("five"))
    clock.jump_wall(-600)
    clock.advance(4)
    assert (clock.wall_s(), clock.boot_s(), rung) == (404, 14, [])
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)


async def test_the_running_clock_goes_on_and_wakes() -> None:
    clock = LoopClock()
    before_s, rung = clock.boot_s(), asyncio.Event()
    clock.call_after(0.001, rung.set)
    await rung.wait()
    assert clock.boot_s() > before_s
    assert datetime.fromtimestamp(clock.wall_s(), UTC).year >= 2024
