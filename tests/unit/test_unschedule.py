"""A schedule that an operator cancels: the actor itself ends it, also where the model has lost its kind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from aether import Actor, ActorId, Every, InvalidCommand, Model, UnknownCommand, command, event
from aether.config import RuntimeConfig
from aether.testing import local_pool
from aether.testing.pool import SHARDS, LocalPool
from aether.wire import (
    DEAD_LETTERED_EVENT,
    HANDLED_EVENT,
    TOLD_EVENT,
    UNSCHEDULE_COMMAND,
    decode_commit,
)
from tests.support.alarms import Alarm, model

START = datetime(2026, 3, 28, 12, tzinfo=UTC)
CONFIG = RuntimeConfig(tell_attempts_max=2, tell_retry_first_s=0.001, tell_retry_max_s=0.01)
A = ActorId("alarm", "a")


class Other(Actor):
    """All that is left of the model when alarms are gone."""

    @command
    def nothing(self) -> None:
        """Do nothing."""


GONE = Model("alarms", actors=[Other])


@pytest.fixture
async def pool() -> AsyncIterator[LocalPool]:
    async with local_pool(model, config=CONFIG, start=START) as pool:
        yield pool


def events(pool: LocalPool, key: str = "a") -> list[str]:
    """The types of all events of an actor, those of Aether too."""
    commits = [one for one in pool.server.space(model.name, SHARDS).commits if one.actor_id.key == key]
    return [event.type for one in commits for event in decode_commit(one.payload, one.actor_id, one.position)]


async def until(pool: LocalPool, reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():
            await pool.clock.advance(seconds=1)


async def deploy(pool: LocalPool, to: Model) -> None:
    pool.model = to
    for worker in range(len(pool.workers)):
        await pool.crash(worker)


async def waits(pool: LocalPool, *names: str) -> None:
    """The commit of a schedule that was cancelled comes to the timers a moment later."""
    async with asyncio.timeout(10):
        while [one.name for one in await pool.client.untyped.schedules()] != [*names]:  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.002)


async def cancel(pool: LocalPool, name: str, actor_id: ActorId = A) -> str:
    """Cancel a schedule; the command that it was to run."""
    return (await pool.client.untyped.cancel_schedule(actor_id, name)).command


async def test_it_has_no_further_ticks_and_the_others_go_on(pool: LocalPool) -> None:
    alarm = pool.client.actor(Alarm, "a")
    await alarm.often("x", 60)
    await alarm.once("y", 300)
    await pool.clock.advance(seconds=61)
    assert await cancel(pool, "x") == "ring"
    await waits(pool, "y")
    await pool.clock.advance(hours=1)
    assert await alarm.count() == 2
    assert events(pool) == ["Set", "Set", "Rang", TOLD_EVENT, "Rang"]


async def test_its_actor_knows_that_it_is_over_and_may_set_it_again(pool: LocalPool) -> None:
    alarm = pool.client.actor(Alarm, "a")
    await alarm.often("x", 60)
    await cancel(pool, "x")
    await deploy(pool, model)  # from its history, not from what its machine knows
    with pytest.raises(InvalidCommand):
        await cancel(pool, "x")
    await alarm.often("x", 60)
    await pool.clock.advance(seconds=121)
    assert await alarm.count() == 2
    await alarm.cancel("x")
    await pool.clock.advance(hours=1)
    assert await alarm.count() == 2


@pytest.mark.parametrize(
    ("name", "actor_id", "why"),
    [
        ("z", A, "alarm/a has no schedule 'z'"),
        ("x", ActorId("alarm", "b"), "alarm/b has no schedule 'x'"),
        ("x", ActorId("alarmm", "a"), "alarmm/a has no schedule 'x'"),
        ("", A, "1 to 100 bytes, not 0"),
        ("x" * 101, A, "1 to 100 bytes, not 101"),
        ("\udc80", A, "surrogate"),
    ],
)
async def test_what_is_not_set_is_refused_and_nothing_is_stored(
    pool: LocalPool, name: str, actor_id: ActorId, why: str
) -> None:
    await pool.client.actor(Alarm, "a").often("x", 60)
    before = len(pool.server.space(model.name, SHARDS).commits)
    with pytest.raises(InvalidCommand, match=why) as raised:
        await cancel(pool, name, actor_id)
    assert raised.value.path == "name"
    assert len(pool.server.space(model.name, SHARDS).commits) == before


async def test_one_whose_kind_is_gone_is_no_dead_letter_any_more(pool: LocalPool) -> None:
    await pool.client.actor(Alarm, "a").often("x", 60)
    await pool.client.actor(Alarm, "a").often("y", 3600)
    await deploy(pool, GONE)
    await until(pool, lambda: events(pool).count(DEAD_LETTERED_EVENT) == 2)
    assert await cancel(pool, "x") == "ring"
    assert events(pool)[-1] == TOLD_EVENT
    stored = len(events(pool))
    await pool.clock.advance(minutes=30)
    assert len(events(pool)) == stored
    await waits(pool, "y")
    await deploy(pool, model)
    await pool.clock.advance(minutes=40)
    assert await pool.client.actor(Alarm, "a").count() == 1, "the other one rings when the kind is back"


async def test_a_tick_that_fails_and_is_tried_again_is_not_run(pool: LocalPool) -> None:
    slow = RuntimeConfig(tell_attempts_max=1000, tell_retry_first_s=0.001, tell_retry_max_s=0.01)
    async with local_pool(model, config=slow, start=START) as other:
        await other.client.actor(Alarm, "a").often("fails", 10)
        await other.clock.advance(seconds=10)
        async with asyncio.timeout(10):
            while not (await other.client.untyped.waiting_tells())[0]:  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.002)
        assert await other.client.untyped.schedules() == [], "its next tick is set when this one is over"
        assert await cancel(other, "fails") == "ring"
        async with asyncio.timeout(10):
            while (await other.client.untyped.waiting_tells())[0]:  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.002)
        assert events(other) == ["Set", TOLD_EVENT, HANDLED_EVENT]


@dataclass(frozen=True)
class Filled:
    """Something was set."""


class Large(Actor):
    """Has a schedule with arguments that take nearly all of a commit."""

    @command
    def fill(self, size: int) -> None:
        self.emit(Filled())
        self.schedule("large", Every(minutes=1), Large.take, self.id.key, "x" * size)

    @command
    def take(self, text: str) -> None:
        """Do nothing."""

    @event
    def filled(self, e: Filled) -> None:
        """Nothing."""


async def test_one_with_large_arguments_is_cancelled() -> None:
    async with local_pool(Model("large", actors=[Large])) as pool:
        await pool.client.actor(Large, "a").fill(800_000)
        was = await pool.client.untyped.cancel_schedule(ActorId("large", "a"), "large")
        assert (was.name, was.command, bytes(was.args)) == ("large", "take", b"{}")


async def test_two_operators_at_once_have_one_effect(pool: LocalPool) -> None:
    await pool.client.actor(Alarm, "a").often("x", 60)
    came = await asyncio.gather(cancel(pool, "x"), cancel(pool, "x"), return_exceptions=True)
    assert sorted(map(type, came), key=str) == sorted([str, InvalidCommand], key=str)
    assert events(pool) == ["Set", TOLD_EVENT]


@pytest.mark.parametrize("args", [b"{}", b'{"name":1}', b'{"name":"x","more":1}', b'{"name":""}'])
async def test_arguments_that_are_none_are_refused(pool: LocalPool, args: bytes) -> None:
    with pytest.raises(InvalidCommand):
        await pool.client.untyped.call(A, UNSCHEDULE_COMMAND, args)


async def test_it_is_not_told(pool: LocalPool) -> None:
    await pool.client.actor(Alarm, "a").often("x", 3600)
    await pool.client.untyped.tell(A, UNSCHEDULE_COMMAND, b'{"name":"x"}')
    await until(pool, lambda: DEAD_LETTERED_EVENT in events(pool))
    (letter,) = [one async for one in pool.client.dead_letters()]
    assert isinstance(letter.error, UnknownCommand)
    assert [one.name for one in await pool.client.untyped.schedules()] == ["x"]
