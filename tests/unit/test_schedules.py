"""Schedules in a pool in memory: ticks, catching up, and what replaces, cancels and fails them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, tzinfo
from typing import Any

import pytest

from aether import Actor, ActorFailed, After, At, InvalidCommand, Model, command, event, query
from aether.config import RuntimeConfig
from aether.ids import ActorId
from aether.memory.server import InMemoryServer
from aether.model import schedules
from aether.testing import clock as pool_clock
from aether.testing import given, local_pool, scheduled
from aether.testing.clock import PoolClock
from aether.testing.pool import SHARDS, LocalPool
from aether.wire import DEAD_LETTERED_EVENT, HANDLED_EVENT, REFUSED_EVENT, TOLD_EVENT, decode_commit
from tests.support.alarms import Alarm, Rang, model
from tests.support.alone import runtime_alone

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
CONFIG = RuntimeConfig(tell_attempts_max=2, tell_retry_first_s=0.001)


@pytest.fixture
async def pool() -> AsyncIterator[LocalPool]:
    async with local_pool(model, config=CONFIG, start=START) as pool:
        yield pool


def events(pool: LocalPool, key: str = "a") -> list[str]:
    """The types of all events of an actor, those of Aether too."""
    commits = [one for one in pool.server.space(model.name, SHARDS).commits if one.actor_id.key == key]
    return [event.type for one in commits for event in decode_commit(one.payload, one.actor_id, one.position)]


async def times(pool: LocalPool, key: str = "a") -> list[str]:
    """When it rang."""
    stored = [event async for event in pool.client.history(Alarm, key)]
    return [f"{event.time:%d %H:%M:%S}" for event in stored if event.type == "Rang"]


async def test_a_schedule_rings_once_at_its_time(pool: LocalPool) -> None:
    alarm = pool.client.actor(Alarm, "a")
    await alarm.once("x", 90)
    await pool.clock.advance(seconds=89)
    assert await alarm.count() == 0
    await pool.clock.advance(seconds=1)
    assert await times(pool) == ["28 12:01:30"]
    await pool.clock.advance(days=3)
    assert await alarm.count() == 1


async def test_a_recurring_one_rings_at_each_tick(pool: LocalPool) -> None:
    await pool.client.actor(Alarm, "a").often("x", 60)
    await pool.clock.advance(minutes=15, seconds=1)
    assert len(await times(pool)) == 15


async def test_what_was_told_before_time_moves_happens_before_it_does(pool: LocalPool) -> None:
    await pool.client.tell(Alarm.once, "a", "x", 10.0)
    await pool.clock.advance(seconds=12)
    assert await times(pool) == ["28 12:00:10"]


async def test_a_daily_one_follows_the_wall_clock(pool: LocalPool) -> None:
    await pool.client.actor(Alarm, "a").daily("x", "0 30 2 * * *", "Europe/Berlin")
    await pool.clock.advance(days=2)
    assert await times(pool) == ["29 01:00:00", "30 00:30:00"]


async def test_a_schedule_of_the_same_name_takes_its_place(pool: LocalPool) -> None:
    alarm = pool.client.actor(Alarm, "a")
    await alarm.once("x", 10)
    await alarm.once("x", 30)
    await alarm.once("y", 20)
    await pool.clock.advance(minutes=5)
    assert await times(pool) == ["28 12:00:20", "28 12:00:30"]


async def test_a_cancelled_one_does_not_ring(pool: LocalPool) -> None:
    alarm = pool.client.actor(Alarm, "a")
    await alarm.often("x", 10)
    await pool.clock.advance(seconds=25)
    await alarm.cancel("x")
    await alarm.cancel("never set")
    await pool.clock.advance(minutes=5)
    assert await alarm.count() == 2
    assert pool.server.space(model.name, SHARDS).timers.waiting() == []


async def test_a_tick_may_cancel_or_replace_its_own_schedule(pool: LocalPool) -> None:
    alarm, other = pool.client.actor(Alarm, "a"), pool.client.actor(Alarm, "b")
    await alarm.often("thrice", 10)
    await other.often("slower", 10)
    await pool.clock.advance(seconds=105)
    assert await alarm.count() == 3
    assert await times(pool, "b") == ["28 12:00:10"]
    await pool.clock.advance(seconds=10)
    assert await times(pool, "b") == ["28 12:00:10", "28 12:01:50"]
    await pool.clock.advance(days=1)
    assert await other.count() == 2


@pytest.mark.parametrize(("name", "type_"), [("refused", REFUSED_EVENT), ("silent", TOLD_EVENT)])
async def test_a_tick_that_is_refused_or_emits_nothing_goes_on(pool: LocalPool, name: str, type_: str) -> None:
    await pool.client.actor(Alarm, "a").often(name, 10)
    await pool.clock.advance(seconds=35)
    assert events(pool) == ["Set", *[type_] * 3]


async def test_a_single_tick_that_emits_nothing_is_noted(pool: LocalPool) -> None:
    await pool.client.actor(Alarm, "a").once("silent", 10)
    await pool.clock.advance(seconds=35)
    assert events(pool) == ["Set", HANDLED_EVENT]


async def test_a_tick_that_fails_too_often_is_given_up_and_the_next_one_comes(pool: LocalPool) -> None:
    await pool.client.actor(Alarm, "a").often("fails", 10)
    async with asyncio.timeout(10):
        while (events(pool)).count(DEAD_LETTERED_EVENT) < 2:
            await pool.clock.advance(seconds=1)
            await asyncio.sleep(0.002)
    assert set(events(pool)) == {"Set", DEAD_LETTERED_EVENT}


@pytest.mark.parametrize("name", ["x", "refused", "for another"])
async def test_a_tick_waits_where_its_time_zone_is_not_known(
    pool: LocalPool, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker without a time zone database must not end the schedules of its actors."""
    alarm, timers = pool.client.actor(Alarm, "a"), pool.server.space(model.name, SHARDS).timers
    await alarm.daily(name, "0 0 9 * * *", "Europe/Berlin", key="b" if name == "for another" else "a")
    known = schedules.time_zone

    def unknown(zone: str) -> tzinfo:
        raise InvalidCommand(f"the time zone {zone} is not known here", path="zone")

    monkeypatch.setattr(schedules, "time_zone", unknown)
    await pool.clock.advance(hours=20)
    assert events(pool) == ["Set"]
    assert events(pool, "b") == []
    assert timers.waiting() == []
    (said,) = [one for one in caplog.records if "time zone is not known" in one.getMessage()]
    assert said.__dict__["zone"] == "Europe/Berlin"
    monkeypatch.setattr(schedules, "time_zone", known)
    async with asyncio.timeout(10):
        while not timers.waiting():  # noqa: ASYNC110 - the runtime makes progress
            await asyncio.sleep(0.002)
    await pool.clock.advance(hours=24)
    ran = {"x": "Rang", "refused": REFUSED_EVENT, "for another": HANDLED_EVENT}[name]
    told = ["Rang", "Rang"] if name == "for another" else []
    async with asyncio.timeout(10):
        while events(pool, "b") != told:  # noqa: ASYNC110 - the runtime makes progress
            await asyncio.sleep(0.002)
    assert events(pool) == ["Set", ran, ran]


async def test_a_tick_that_waits_for_its_time_zone_can_be_given_up(
    pool: LocalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.client.actor(Alarm, "a").daily("x", "0 0 9 * * *", "Europe/Berlin")

    def unknown(zone: str) -> tzinfo:
        raise InvalidCommand(f"the time zone {zone} is not known here", path="zone")

    monkeypatch.setattr(schedules, "time_zone", unknown)
    await pool.clock.advance(hours=20)
    assert await pool.client.untyped.give_up_tells(ActorId("alarm", "a")) == 1
    async with asyncio.timeout(10):
        while events(pool) == ["Set"]:  # noqa: ASYNC110 - the runtime makes progress
            await asyncio.sleep(0.002)
    assert events(pool) == ["Set", DEAD_LETTERED_EVENT]
    assert pool.server.space(model.name, SHARDS).timers.waiting() == [], "and its schedule ends"


async def test_a_tick_for_another_actor_that_was_given_up_is_sent_again_to_that_one(
    pool: LocalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pool.client.actor(Alarm, "a").daily("x", "0 0 9 * * *", "Europe/Berlin", key="b/c d")
    known = schedules.time_zone

    def unknown(zone: str) -> tzinfo:
        raise InvalidCommand(f"the time zone {zone} is not known here", path="zone")

    monkeypatch.setattr(schedules, "time_zone", unknown)
    await pool.clock.advance(hours=20)
    assert await pool.client.untyped.give_up_tells(ActorId("alarm", "a")) == 1
    async with asyncio.timeout(10):
        while events(pool) == ["Set"]:  # noqa: ASYNC110 - the runtime makes progress
            await asyncio.sleep(0.002)
    monkeypatch.setattr(schedules, "time_zone", known)
    await pool.clock.advance()
    (letter,) = [one async for one in pool.client.untyped.dead_letters()]
    await pool.client.untyped.retry_dead_letter(letter.id)
    await pool.clock.advance()
    assert events(pool, "b/c d") == ["Rang"]
    assert events(pool) == ["Set", DEAD_LETTERED_EVENT]


async def test_a_schedule_may_be_for_another_actor(pool: LocalPool) -> None:
    alarm = pool.client.actor(Alarm, "a")
    await alarm.other("x", 10, "b", 2)
    await alarm.other("once", 15, "b")
    await pool.clock.advance(seconds=35)
    assert await times(pool, "b") == ["28 12:00:10", "28 12:00:15", "28 12:00:20", "28 12:00:30"]
    assert events(pool) == ["Set", "Set", *[HANDLED_EVENT] * 4]
    await alarm.cancel("x")
    await pool.clock.advance(minutes=1)
    assert len(await times(pool, "b")) == 4


async def test_schedules_outlive_workers_and_snapshots(pool: LocalPool) -> None:
    alarm = pool.client.actor(Alarm, "a")
    await alarm.often("x", 10)
    for _ in range(3):
        await pool.crash(0)
        await pool.crash(1)
        await pool.clock.advance(seconds=10)
    assert await alarm.count() == 3


async def test_many_are_due_at_once(pool: LocalPool) -> None:
    alarms = [pool.client.actor(Alarm, f"k{n}") for n in range(300)]
    await asyncio.gather(*(alarm.once("x", 60) for alarm in alarms))
    await pool.clock.advance(minutes=1, seconds=1)
    assert [await alarm.count() for alarm in alarms] == [1] * 300


@pytest.mark.parametrize(
    ("catch_up", "down_s", "ticks"),
    [("one", 200, 1), ("all", 200, 3), ("skip", 200, 0), ("skip", 100, 1)],
)
async def test_what_becomes_of_ticks_while_every_worker_was_down(catch_up: Any, down_s: int, ticks: int) -> None:
    clock = PoolClock(START)
    server = InMemoryServer(clock=clock)
    clock.stored = lambda: server.space("alone", 256).changes
    async with runtime_alone(server, model, CONFIG) as first:
        await first.actor(Alarm, "a").often("x", 60, catch_up)
    await clock.advance(seconds=down_s)
    async with runtime_alone(server, model, CONFIG) as second:
        alarm = second.actor(Alarm, "a")
        async with asyncio.timeout(10):
            while server.space("alone", 256).timers.changes < 3:  # noqa: ASYNC110 - the runtime makes progress
                await asyncio.sleep(0.002)
        await clock.advance(seconds=1)
        assert await alarm.count() == ticks
        await clock.advance(seconds=59 - down_s % 60)
        await clock.advance(seconds=1)
        assert await alarm.count() == ticks + 1, "and then it goes on as it was"


async def test_wrong_arguments_are_refused_when_it_is_set(pool: LocalPool) -> None:
    with pytest.raises(InvalidCommand) as refused:
        await pool.client.actor(Alarm, "a").once("x" * 200, 1)
    assert refused.value.path == "name"
    assert events(pool) == []


class Planner(Actor):
    """Sets many schedules for one time."""

    order: tuple[str, ...] = ()

    @command
    def plan(self, names: list[str]) -> None:
        for name in names:
            self.schedule(name, After(seconds=10), Planner.do, self.id.key, name)

    @command
    def do(self, name: str) -> None:
        self.emit(Rang(name, 0))
        if name == "first":
            self.cancel_schedule("cancelled")
            self.schedule("later", After(seconds=10), Planner.do, self.id.key, "later")

    @event
    def rang(self, e: Rang) -> None:
        self.order = (*self.order, e.name)


async def test_ticks_that_are_due_at_one_time_are_run_in_the_order_in_which_they_were_set() -> None:
    names = ["first", "cancelled", "later", *(f"x{n}" for n in range(20))]
    async with local_pool(Model("planners", actors=[Planner]), start=START) as pool:
        await pool.client.actor(Planner, "a").plan(names)
        await pool.clock.advance(seconds=10)
        assert (await pool.client.state(Planner, "a")).state.order == ("first", *names[3:])
        await pool.clock.advance(seconds=10)
        assert (await pool.client.state(Planner, "a")).state.order == ("first", *names[3:], "later")


class Restless(Actor):
    """Sets what is due at once, again and again."""

    rung: int = 0

    @command
    def go_on(self, until: int) -> None:
        self.emit(Rang("x", 0))
        if self.rung < until:
            self.schedule("x", After(seconds=0), Restless.go_on, self.id.key, until)

    @event
    def rang(self, e: Rang) -> None:
        self.rung += 1


async def test_time_does_not_stand_still_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_clock, "RESTLESS_MAX", 100)
    async with local_pool(Model("restless", actors=[Restless]), start=START) as pool:
        await pool.client.actor(Restless, "a").go_on(30)
        await pool.clock.advance(seconds=1)
        assert (await pool.client.state(Restless, "a")).state.rung == 30
        await pool.client.actor(Restless, "a").go_on(1_000)
        with pytest.raises(RuntimeError, match="what is due now does not end"):
            await pool.clock.advance(seconds=1)


class Punctual(Actor):
    """Has the same done at a time that was said."""

    rung: int = 0

    @command
    def at(self, time: datetime) -> None:
        self.schedule("x", At(time), Punctual.ring, self.id.key)

    @command
    def ring(self) -> None:
        self.emit(Rang("x", 0))

    @event
    def rang(self, e: Rang) -> None:
        self.rung += 1


async def test_a_command_that_is_carried_out_anew_sets_another_schedule() -> None:
    async with local_pool(Model("punctual", actors=[Punctual]), start=START) as pool:
        again = pool.client.using(command_id="order-7").actor(Punctual, "a")
        for rung in (1, 2):
            await again.at(START)
            await pool.clock.advance(minutes=10)  # then the id is forgotten
            assert (await pool.client.state(Punctual, "a")).state.rung == rung


class Meddler(Actor):
    """Its queries cancel what they find."""

    @command
    def begin(self) -> None:
        self.schedule("x", After(seconds=10), Meddler.begin, self.id.key)

    @query
    def cancel(self, name: str) -> None:
        self.cancel_schedule(name)

    @query
    def cancel_a_task(self, task_id: str) -> None:
        self.cancel_task(task_id)


@pytest.mark.parametrize("name", ["x", "never set"])
async def test_a_query_cancels_nothing(name: str) -> None:
    async with local_pool(Model("meddler", actors=[Meddler])) as pool:
        meddler = pool.client.actor(Meddler, "a")
        await meddler.begin()
        for query_, what in ((meddler.cancel, "a schedule"), (meddler.cancel_a_task, "a task")):
            with pytest.raises(ActorFailed, match=f"cancelled {what}"):
                await query_(name)
        assert (await pool.client.state(Meddler, "a")).version == 1
        assert [one.name for one in pool.server.space("meddler", SHARDS).timers.waiting()] == ["x"]
    given(Meddler).when(Meddler.cancel, name).then_failed(ActorFailed)
    given(Meddler).when(Meddler.cancel_a_task, name).then_failed(ActorFailed)


def test_the_test_kit_says_what_was_scheduled() -> None:
    outcome = given(Alarm, key="a", model=model).when(Alarm.once, "x", 5.0)
    assert outcome.schedules == (scheduled("x", After(seconds=5.0), Alarm.ring, "a", "x", 1),)
    assert given(Alarm).when(Alarm.cancel, "x").cancelled_schedules == ("x",)


async def test_a_client_lists_what_waits(pool: LocalPool) -> None:
    assert pool._untyped is not None
    await pool.client.actor(Alarm, "a").often("x", 60)
    await pool.client.actor(Alarm, "b").once("y", 30)
    await pool.client.actor(Alarm, "b").cancel("y")
    await pool.client.actor(Alarm, "b").once("z", 40)
    assert [(one.source, one.name) for one in await pool._untyped.schedules()] == [("alarm/b", "z"), ("alarm/a", "x")]
    assert [one.name for one in await pool._untyped.schedules("alarm", "a")] == ["x"]
    with pytest.raises(InvalidCommand):
        await pool._untyped.schedules("no kind!")
