"""Starts that have lost several workers in a row: one of them is called at a time, and the others go back."""

import asyncio

import pytest

from aether.runtime import task_apart
from aether.runtime.task_apart import APART_AGAIN_S, APART_S, Apart, settled
from aether.runtime.task_notes import TaskNote
from aether.runtime.task_run import TaskRun
from aether.testing.clock import PoolClock
from tests.support.errands import World, model, renew
from tests.support.task_server import TaskSide, start_of

LOST_TWO = 3
"""How often a start was handed out that has lost two workers."""


@pytest.fixture
def world() -> World:
    return renew()


@pytest.fixture
async def side(world: World, monkeypatch: pytest.MonkeyPatch) -> TaskSide:
    monkeypatch.setattr(task_apart, "SETTLE_S", 0.0)
    return TaskSide(model)


def echo(side: TaskSide, deliveries: int = LOST_TWO, id: str = "t2") -> TaskRun:
    return side.run_of(start_of("echo", b'{"text":"x"}', id=id), deliveries=deliveries)


async def begun(side: TaskSide, world: World) -> "asyncio.Task[None]":
    """One that has lost two workers, which runs."""
    living = asyncio.create_task(side.run_of(start_of("waits"), deliveries=LOST_TWO).live())
    async with asyncio.timeout(10):
        while not world.running:  # noqa: ASYNC110 - the run makes progress
            await asyncio.sleep(0)
    return living


def called(world: World) -> list[tuple[str, int]]:
    return [(one.task_id, one.attempt) for one in world.calls]


async def test_a_second_one_goes_back_until_the_first_is_over_which_is_no_attempt(side: TaskSide, world: World) -> None:
    living = await begun(side, world)
    await echo(side).live()
    assert side.server.said == [("again", 7, APART_AGAIN_S)]
    assert side.server.notes["t2"].given_back == 1
    world.opened.set()
    await living
    await echo(side, deliveries=LOST_TWO + 1).live()
    assert called(world) == [("t1", 3), ("t2", 3)]
    assert side.counters.by_task == {("waits", "ok"): 1, ("echo", "ok"): 1}
    assert side.counters.attempts_by_task[("echo", "given_back")] == 1


@pytest.mark.parametrize(
    ("deliveries", "given_back", "failed"), [(1, 0, 0), (2, 0, 0), (3, 1, 0), (3, 0, 1), (3, 0, 2), (4, 1, 1)]
)
async def test_others_run_beside_it(
    side: TaskSide, world: World, deliveries: int, given_back: int, failed: int
) -> None:
    """Those that have lost one worker, that were given back, or that have failed without the loss of a worker."""
    living = await begun(side, world)
    if given_back or failed:
        side.server.notes["t2"] = TaskNote(task="echo", actor="errand/a", attempt=failed, given_back=given_back)
    await echo(side, deliveries).live()
    assert ("echo", "ok") in side.counters.by_task
    world.opened.set()
    await living


async def test_what_runs_for_long_holds_no_other_one_up(side: TaskSide, world: World) -> None:
    living = await begun(side, world)
    side.clock.advance(APART_S)
    await echo(side).live()
    assert called(world) == [("t1", 3), ("t2", 3)]
    world.opened.set()
    await living


async def test_it_waits_before_it_is_called_and_is_not_when_its_worker_leaves(
    side: TaskSide, world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(task_apart, "SETTLE_S", 3600.0)
    run = echo(side)
    living = asyncio.create_task(run.live())
    async with asyncio.timeout(10):
        while not caplog.records:  # noqa: ASYNC110 - the run makes progress
            await asyncio.sleep(0)
        run.give_back()
        await living
    assert "runs apart from others like it" in caplog.messages[0]
    assert called(world) == []
    assert side.server.said == [("again", 7, 0.0)]
    assert side.server.notes["t2"].given_back == 1


async def test_how_long_it_waits_is_by_a_clock_that_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_apart, "SETTLE_S", 3600.0)
    clock = PoolClock()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(settled(clock, asyncio.get_running_loop().create_future()))
        await asyncio.sleep(0)
        await clock.advance(hours=1)


def test_only_who_runs_apart_ends_that() -> None:
    apart, first, second = Apart(), object(), object()
    assert apart.begin(first, 0.0)
    apart.end(second)
    assert not apart.begin(second, 0.0)
    assert apart.begin(second, APART_S)
    apart.end(first)
    assert not apart.begin(first, APART_S)
    apart.end(second)
    assert apart.begin(first, APART_S)
