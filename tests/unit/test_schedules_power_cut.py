"""Timers that a power cut took away are armed again from the commits, and each schedule once."""

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from aether.core.relay import Relay
from aether.core.relay_mark import Mark
from aether.ids import Position
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.runtime.activation import OVERDUE_S
from aether.runtime.runtime import Runtime
from aether.sends import SetSchedule
from aether.testing.clock import PoolClock
from tests.support.alarms import Alarm, model

SHARDS = 4
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def begun(server: InMemoryServer, unsynced_s: float = 0.0) -> Runtime:
    """A worker that has begun."""
    connection = InMemoryConnection(server, "cut", shards=SHARDS)
    connection.timers.unsynced_s = unsynced_s
    runtime = Runtime(connection, connection.event_store, inbox=connection.inbox, timers=connection.timers)
    runtime.load_model(model)
    await runtime.start()
    return runtime


async def armed_after_a_cut(unsynced_s: float) -> list[SetSchedule]:
    """Which schedules wait on a server that has lost all timers, when a worker has begun anew."""
    server = InMemoryServer(clock=PoolClock())
    first = await begun(server, unsynced_s)
    for n in range(4):
        await first.actor(Alarm, f"k{n}").often("x", 60)
        await first.actor(Alarm, f"k{n}").often("x", 90)
    await first.stop()  # which writes the marks
    timers = server.space("cut", SHARDS).timers
    assert len(timers.waiting()) == 4
    timers._last.clear()
    second = await begun(server, unsynced_s)
    for n in range(4):
        await second.actor(Alarm, f"other {n}").once("y", 60)
    async with asyncio.timeout(10):
        while sum(one.name == "y" for one in timers.waiting()) < 4:  # noqa: ASYNC110 - the runtime makes progress
            await asyncio.sleep(0.002)
    await second.abort()
    return [one for one in timers.waiting() if one.name == "x"]


async def test_what_may_not_be_on_the_disk_is_armed_again() -> None:
    again = await armed_after_a_cut(240.0)
    assert sorted((one.source, one.rule) for one in again) == [(f"alarm/k{n}", "every 90") for n in range(4)]


async def test_what_is_on_the_disk_is_not() -> None:
    assert await armed_after_a_cut(0.0) == []


async def test_of_settings_that_are_armed_again_only_the_last_one_counts() -> None:
    server = InMemoryServer(clock=PoolClock())
    connection = InMemoryConnection(server, "cut", shards=SHARDS)
    runtime = Runtime(connection, connection.event_store, inbox=connection.inbox, timers=connection.timers)
    runtime.load_model(model)
    await runtime.start()
    for _ in range(20):
        await runtime.actor(Alarm, "k").often("x", 60)
    timers = server.space("cut", SHARDS).timers
    timers._last.clear()
    before = timers.changes
    await runtime.abort()
    connection = InMemoryConnection(server, "cut", shards=SHARDS)
    runtime = Runtime(connection, connection.event_store, inbox=connection.inbox, timers=connection.timers)
    runtime.load_model(model)
    await runtime.start()
    async with asyncio.timeout(10):
        while not timers.waiting():  # noqa: ASYNC110 - the runtime makes progress
            await asyncio.sleep(0.002)
    await runtime.abort()
    assert timers.changes == before + 1


def test_a_mark_goes_on_though_schedules_are_set_all_the_time() -> None:
    relay, now_s, held_s = Relay(), 1_000.0, 240.0
    relay.claimed(1, Mark(0, 0), [])
    relay.scanned([], 0)
    set_at: list[float] = []
    for position in range(1, 2_001):
        now_s += 0.3
        send = SetSchedule(
            name="x", id=str(position), at=NOW, kind="alarm", key="k", command="ring", source="alarm/k",
            position=position,
        )  # fmt: skip
        relay.committed(Position(position), [send], Position(0))
        relay.scanned([], position)
        relay.brought(now_s + held_s)
        set_at.append(now_s)
        relayed = relay.mark(now_s).relayed
        passed = sum(now_s - at_s > held_s + 2.0 for at_s in set_at)
        assert relayed >= passed, "what has been on the disk for long is passed"
        assert relayed <= sum(now_s - at_s >= held_s for at_s in set_at), "and nothing that may not be"


async def test_a_downtime_is_no_warning_for_each_actor(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = PoolClock()
    server = InMemoryServer(clock=clock)
    first = await begun(server)
    for number in range(20):
        await first.actor(Alarm, f"k{number}").often("x", 60)
    await first.stop()
    await clock.advance(hours=1)
    second = await begun(server)
    for number in range(20):
        await second.actor(Alarm, f"k{number}").count()
    await second.stop()
    said = [one for one in caplog.records if "armed again" in one.getMessage()]
    assert [one.levelname for one in said] == ["INFO"]


@pytest.mark.parametrize("late_s", [50.0, 600.0])
async def test_a_schedule_whose_tick_is_lost_goes_on_when_its_actor_is_activated(late_s: float) -> None:
    clock = PoolClock()
    server = InMemoryServer(clock=clock)
    timers = server.space("cut", SHARDS).timers
    first = await begun(server)
    await first.actor(Alarm, "k").often("x", 60)
    await first.actor(Alarm, "k").once("far", 3600)
    await first.stop()  # which writes the marks
    timers._last.clear()
    await clock.advance(seconds=60 + late_s)
    second = await begun(server)
    assert await second.actor(Alarm, "k").count() == 0
    if late_s > OVERDUE_S:
        async with asyncio.timeout(10):
            while not await second.actor(Alarm, "k").count():  # noqa: ASYNC110 - the runtime makes progress
                await asyncio.sleep(0.002)
            while not timers.waiting():  # noqa: ASYNC110
                await asyncio.sleep(0.002)
    await second.stop()
    assert [one.rule for one in timers.waiting()] == (["every 60"] if late_s > OVERDUE_S else [])
