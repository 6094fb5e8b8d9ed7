"""Schedules that the server has, and does not give out any more: each is told, and had at most once."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from aether.errors import AetherError, Unavailable
from aether.memory.timer_table import TimerTable
from aether.memory.timers import InMemoryTimers
from aether.runtime import telling
from aether.runtime.overdue_ticks import OverdueTicks
from aether.sends import SetSchedule
from aether.testing import local_pool
from aether.testing.pool import SHARDS, LocalPool
from tests.support.alarms import Alarm, model


def timers_of(pool: LocalPool) -> TimerTable:
    return pool.server.space(pool.namespace, SHARDS).timers


def forget(timers: TimerTable) -> list[SetSchedule]:
    """The server has them yet, and forgets that they will be due."""
    waiting = timers.waiting()
    for one in waiting:
        timers._last[one.source, one.name] = replace(one)
    return waiting


async def tell_overdue(pool: LocalPool) -> int:
    connection = pool.workers[0]._connection
    return await OverdueTicks(SHARDS, connection.timers, connection.inbox).tell()


async def rung(pool: LocalPool, key: str, count: int) -> None:
    async with asyncio.timeout(10):
        while await pool.client.actor(Alarm, key).count() != count:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.002)


async def test_a_tick_that_the_server_has_forgotten_is_run_late() -> None:
    async with local_pool(model) as pool:
        await pool.client.actor(Alarm, "a").once("x", 10)
        await pool.client.actor(Alarm, "a").once("y", 10_000)
        await pool.clock.advance()
        forget(timers_of(pool))
        await pool.clock.advance(seconds=200)
        assert await tell_overdue(pool) == 0
        await pool.clock.advance(seconds=200)
        await rung(pool, "a", 0)
        assert await tell_overdue(pool) == 1
        await rung(pool, "a", 1)
        assert [one.name for one in timers_of(pool).waiting()] == ["y"]
        assert await tell_overdue(pool) == 0


async def test_a_worker_looks_by_itself_and_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[AetherError] = [Unavailable("away")]
    tell = OverdueTicks.tell

    async def told(self: OverdueTicks) -> int:
        if errors:
            raise errors.pop()
        return await tell(self)

    monkeypatch.setattr(telling, "OVERDUE_FIRST_S", 0.001)
    monkeypatch.setattr(telling, "OVERDUE_EVERY_S", 0.001)
    monkeypatch.setattr(OverdueTicks, "tell", told)
    async with local_pool(model) as pool:
        await pool.client.actor(Alarm, "a").once("x", 10)
        await pool.clock.advance()
        forget(timers_of(pool))
        await pool.clock.advance(seconds=400)
        await rung(pool, "a", 1)
        assert errors == []
        told_of = sum(worker.runtime.counters.ticks_told for worker in pool.workers)
        assert told_of == 1


async def test_what_was_had_or_cancelled_and_is_there_again_is_not_run() -> None:
    async with local_pool(model) as pool:
        alarm = pool.client.actor(Alarm, "a")
        await alarm.once("had", 10)
        await alarm.once("cancelled", 20)
        await pool.clock.advance()
        before = timers_of(pool).waiting()
        await alarm.cancel("cancelled")
        await pool.clock.advance(seconds=400)
        await rung(pool, "a", 1)
        for one in before:  # as after a crash of the server
            timers_of(pool)._last[one.source, one.name] = one
        assert await tell_overdue(pool) == 2
        assert timers_of(pool).waiting() == []
        await alarm.once("last", 1)
        await pool.clock.advance(seconds=2)
        await rung(pool, "a", 2)


async def test_a_later_setting_stays_and_what_names_no_actor_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with local_pool(model) as pool:
        alarm, timers = pool.client.actor(Alarm, "a"), timers_of(pool)
        await alarm.once("x", 10)
        await pool.clock.advance()
        (first,) = forget(timers)
        await pool.clock.advance(seconds=400)
        stray = replace(first, source="none", name="y")
        timers._last["none", "y"] = stray
        remove = pool.workers[0]._connection.timers.remove_overdue

        async def late(tick: SetSchedule, sequence: int) -> None:
            """Another one is set before the first is removed."""
            if tick.name == "x":
                await alarm.once("x", 10_000)
                await pool.clock.advance()
            await remove(tick, sequence)

        monkeypatch.setattr(pool.workers[0]._connection.timers, "remove_overdue", late)
        assert await tell_overdue(pool) == 2
        assert [one.name for one in timers.waiting()] == ["x"]


async def test_nothing_is_forgotten_that_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with local_pool(model) as pool:
        await pool.client.actor(Alarm, "a").once("x", 10)
        await pool.clock.advance()
        forget(timers_of(pool))
        await pool.clock.advance(seconds=400)

        async def away(*_: object) -> int:
            raise Unavailable("no store")

        with monkeypatch.context() as patch:
            patch.setattr(pool.workers[0]._connection.inbox, "send", away)
            with suppress(AetherError):
                await tell_overdue(pool)
        assert len(timers_of(pool).waiting()) == 1
        assert await tell_overdue(pool) == 1
        await rung(pool, "a", 1)


@pytest.mark.parametrize(("apart_s", "said"), [(0, []), (4, []), (-4, []), (61, [61.0]), (-61, [-61.0])])
async def test_a_worker_says_when_its_clock_is_not_the_servers(
    apart_s: float, said: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    async with local_pool(model) as pool:
        connection = pool.workers[0]._connection
        overdue = OverdueTicks(SHARDS, connection.timers, connection.inbox)
        await overdue.check_clock(lambda: pool.clock.wall_s() + apart_s)
    found = [one.__dict__["ahead_s"] for one in caplog.records if "clock is not the server's" in one.getMessage()]
    assert found == [pytest.approx(ahead_s, abs=1) for ahead_s in said]


async def test_a_worker_looks_at_its_clock_when_it_starts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def ahead(_: InMemoryTimers) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=100)

    monkeypatch.setattr(InMemoryTimers, "now", ahead)
    async with local_pool(model) as pool:
        await pool.clock.advance()
    found = [one.__dict__["ahead_s"] for one in caplog.records if "clock is not the server's" in one.getMessage()]
    assert found == [pytest.approx(-100, abs=1)] * len(pool.workers)
