"""The loops of a worker that runs tasks, over a server by hand: what they ask for, keep, take once, and give back."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from aether import Actor, Model, Retry, TaskContext, command, task
from aether.config import RuntimeConfig
from aether.errors import Unavailable
from aether.runtime import task_runner
from aether.runtime.task_runner import NO_PLACE, UNREADABLE_AGAIN_S, WAIT_S, TaskRunner
from aether.sends import StartTask
from tests.support.pauses import Pauses
from tests.support.task_server import CONFIG, TaskSide, claim_of, start_of


class World:
    """What the tasks below have done."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.opened = asyncio.Event()


world = World()


@task(retry=Retry(first_s=1, attempts=3))
async def waits(context: TaskContext) -> str:
    """Wait until the test opens the gate."""
    world.calls.append(context.task_id)
    await world.opened.wait()
    return "opened"


@task(max_running=1)
async def alone(context: TaskContext) -> str:
    """The same, one at a time, and it goes on when it is cancelled."""
    world.calls.append(context.task_id)
    while not world.opened.is_set():
        try:
            await world.opened.wait()
        except asyncio.CancelledError:
            continue
    return "opened"


@task(retry=Retry(first_s=3600, cap_s=3600, attempts=3))
async def fails(context: TaskContext) -> str:
    """Fail."""
    world.calls.append(context.task_id)
    raise ConnectionError("no")


class Errand(Actor):
    """Takes what comes."""

    @command
    def came(self, what: str) -> None: ...


both = Model("both", actors=[Errand], tasks=[waits, alone])
waiting = Model("waiting", actors=[Errand], tasks=[waits])
failing = Model("failing", actors=[Errand], tasks=[fails])
single = Model("single", actors=[Errand], tasks=[alone])


def start(task: str = "waits", id: str = "t1") -> StartTask:
    return start_of(task, id=id)


class Side(TaskSide):
    """One worker with its runner."""

    def __init__(self, model: Model, config: RuntimeConfig = CONFIG, ttl_s: float = 60.0) -> None:
        super().__init__(model)
        worker = replace(self.worker, config=config, ttl_s=ttl_s, resources=lambda: None, foreign=lambda error: error)
        self.runner = TaskRunner(worker, model.task_types)
        self.runner.start()


Begin = Callable[..., Side]


@pytest.fixture
async def begin(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Begin]:
    global world  # noqa: PLW0603 - tasks find it here
    world = World()
    sides: list[Side] = []

    def made(*args: Any, **options: Any) -> Side:
        sides.append(Side(*args, **options))
        return sides[-1]

    monkeypatch.setattr(task_runner, "AGAIN", Pauses())
    yield made
    world.opened.set()
    for side in sides:
        await side.runner.close(5.0)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - the runner makes progress
            await asyncio.sleep(0)


async def settle() -> None:
    """Let everything that can go on without the test go on."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_what_runs_is_kept_alive_by_its_last_claim(begin: Begin) -> None:
    side = begin(waiting, ttl_s=0.003)
    side.server.give("waits", claim_of(start(), sequence=7))
    await until(lambda: ("keep", 7) in side.server.said)
    side.server.give("waits", claim_of(start(), 2, sequence=8))
    await until(lambda: ("keep", 8) in side.server.said)
    world.opened.set()
    await until(lambda: ("done", 8) in side.server.said)
    assert world.calls == ["t1"]
    assert ("done", 7) not in side.server.said


async def test_one_that_was_done_here_is_not_run_again(begin: Begin) -> None:
    world.opened.set()
    side = begin(waiting)
    side.server.give("waits", claim_of(start(), sequence=7), claim_of(start(id="t2"), sequence=9))
    await until(lambda: {("done", 7), ("done", 9)} <= set(side.server.said))
    await until(lambda: side.runner.running == 0)
    side.server.give("waits", claim_of(start(), 2, sequence=8))
    await until(lambda: ("done", 8) in side.server.said)
    assert world.calls == ["t1", "t2"]


async def test_a_start_that_cannot_be_read_is_left_to_a_later_version(begin: Begin) -> None:
    side = begin(waiting)
    side.server.give("waits", claim_of(start())._replace(payload=b"?"))
    await until(lambda: side.server.said == [("again", 7, UNREADABLE_AGAIN_S)])
    assert side.runner.running == 0


async def test_it_asks_for_what_there_is_room_for_and_waits_for_a_single_one(begin: Begin) -> None:
    side = begin(waiting, replace_config(tasks_running_max=3))
    await until(lambda: side.server.asked == [("waits", 3, 0.0), ("waits", 1, WAIT_S)])
    side.server.give("waits", claim_of(start()))
    await until(lambda: side.server.asked[2:] == [("waits", 2, 0.0), ("waits", 1, WAIT_S)])


def replace_config(**options: Any) -> RuntimeConfig:
    return replace(CONFIG, **options)


async def test_room_that_one_task_asks_for_is_not_asked_for_by_another(begin: Begin) -> None:
    asked: list[str] = []
    answer = asyncio.Event()

    async def take(name: str) -> None:
        asked.append(name)
        await answer.wait()

    side = begin(both, replace_config(tasks_running_max=1))
    side.server.during_take = take
    await settle()
    assert asked == ["waits"]
    answer.set()
    await until(lambda: "alone" in asked)
    assert side.server.asked[-1] in {("alone", 1, 0.0), ("alone", 1, WAIT_S)}


async def test_a_function_that_goes_on_keeps_its_place_until_it_ends(begin: Begin) -> None:
    side = begin(single, replace_config(cancel_grace_s=0.0))
    side.server.give("alone", claim_of(start("alone")), claim_of(start("alone", "t2"), sequence=8))
    await until(lambda: world.calls == ["t1"])
    assert side.server.receive is not None
    side.server.receive("t1", "actor")
    await until(lambda: side.runner.running == 0)
    await settle()
    assert world.calls == ["t1"]
    world.opened.set()
    await until(lambda: world.calls == ["t1", "t2"])


async def test_functions_that_go_on_and_keep_all_places_are_an_error_in_the_log(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    side = begin(single, replace_config(cancel_grace_s=0.0))
    side.server.give("alone", claim_of(start("alone")))
    await until(lambda: world.calls == ["t1"])
    assert side.server.receive is not None
    side.server.receive("t1", "actor")
    await until(lambda: side.runner.running == 0)
    await settle()
    assert [one.__dict__["task"] for one in caplog.records if one.getMessage() == NO_PLACE] == ["alone"]
    caplog.clear()
    side.server.give("alone", claim_of(start("alone", "t2"), sequence=8))
    world.opened.set()
    await until(lambda: ("done", 8) in side.server.said)
    world.opened.clear()
    side.server.give("alone", claim_of(start("alone", "t3"), sequence=9))
    await until(lambda: world.calls == ["t1", "t2", "t3"])
    await side.runner.drain()
    assert ("again", 9, 0.0) in side.server.said
    assert NO_PLACE not in caplog.messages, "its worker leaves"


async def test_a_cancellation_that_is_forgotten_cancels_nothing(begin: Begin) -> None:
    side = begin(waiting)
    side.server.give("waits", claim_of(start()))
    await until(lambda: world.calls == ["t1"])
    assert side.server.receive is not None
    side.server.receive("t1", "")
    await settle()
    assert side.runner.running == 1
    assert side.server.said == []
    side.server.receive("t1", "actor")
    await until(lambda: side.server.said == [("done", 7)])
    await until(lambda: side.runner.running == 0)
    side.server.receive("t2", "actor")
    side.server.give("waits", claim_of(start(id="t2"), sequence=8))
    await until(lambda: ("done", 8) in side.server.said)
    assert world.calls == ["t1"]


async def test_a_cancellation_that_is_heard_after_its_task_was_put_off_ends_the_wait(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cancelled it looked for what waits before the failure was written down."""
    monkeypatch.setattr(task_runner, "HEAR_LATE_S", 0.0)
    side = begin(failing)
    put_off = [("again", 7, 1800.0), ("again", 8, 1800.0)]
    side.server.give("fails", claim_of(start("fails")), claim_of(start("fails", id="t2"), sequence=8))
    await until(lambda: side.server.said == put_off)
    await until(lambda: side.runner.running == 0)
    del side.server.notes["t2"]  # it has ended meanwhile
    assert side.server.receive is not None
    for task_id, reason in (("t1", ""), ("t2", "actor"), ("t3", "actor"), ("t1", "actor")):
        side.server.receive(task_id, reason)
    await until(lambda: side.server.said[2:] == [("hurry", "token-1")])
    side.server.row_errors = [Unavailable("no server")]
    side.server.receive("t1", "actor")
    await until(lambda: side.server.row_errors == [])
    await settle()
    assert side.server.said[2:] == [("hurry", "token-1")]


async def test_what_is_cancelled_is_followed_as_soon_as_it_can_be(begin: Begin) -> None:
    side = begin(waiting)
    side.server.follow_errors = [Unavailable("no server")] * 3
    await until(lambda: side.server.receive is not None)
    await side.runner.close(5.0)
    assert side.server.stopped == 1
    await side.runner.close(5.0)
    assert side.server.stopped == 1


async def test_after_an_error_it_is_opened_again_and_pauses_grow_until_it_works(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = Pauses()
    monkeypatch.setattr(task_runner, "AGAIN", pauses)
    with caplog.at_level(logging.INFO, "aether.tasks"):
        side = begin(waiting)
        for times in (1, 2):
            side.server.take_errors = [Unavailable("no server")] * 2
            side.server.give("waits", claim_of(start(id=f"t{times}"), sequence=times))
            await until(lambda: len(world.calls) == times)  # noqa: B023 - called at once
            await until(lambda: side.server.asked[-1][2] == WAIT_S)
    assert pauses.asked == [0, 1] * 2
    assert len(side.server.opened) == 5
    assert [line.__dict__.get("times") for line in lines_of(caplog)][:1] == [None]
    assert [line.__dict__.get("times_more") for line in lines_of(caplog)][:3] == [None, 1, None]


def lines_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if one.getMessage() == "no starts of tasks can be taken now"]


async def test_one_task_that_cannot_be_taken_is_said_once_though_others_can(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    world.opened.set()
    with caplog.at_level(logging.INFO, "aether.tasks"):
        side = begin(both)

        async def take(name: str) -> None:
            await asyncio.sleep(0)
            if name == "alone":
                raise Unavailable("no such consumer")

        side.server.during_take = take
        for number in range(20):
            side.server.give("waits", claim_of(start(id=f"t{number}")))
            await until(lambda: len(world.calls) == number + 1)  # noqa: B023 - called at once
    assert [line.__dict__["task"] for line in lines_of(caplog)] == ["alone"]


# ------------------------------------------------------------------------------------------------ the end


async def test_a_drain_lets_what_runs_go_on_for_a_while(begin: Begin) -> None:
    side = begin(waiting, replace_config(task_drain_s=10.0))
    loop = asyncio.get_running_loop()
    side.server.during_leave = lambda _: loop.call_later(0.005, world.opened.set)
    side.server.give("waits", claim_of(start()))
    await until(lambda: world.calls == ["t1"])
    await side.runner.drain()
    assert side.server.said == [("done", 7)]


async def test_a_drain_gives_the_rest_back_and_takes_place_once(begin: Begin) -> None:
    side = begin(waiting)
    side.server.give("waits", claim_of(start()))
    side.server.arrived = [claim_of(start(id="t2"), sequence=8)]
    await until(lambda: world.calls == ["t1"])
    await side.runner.drain()
    assert side.server.said == [("again", 8, 0.0), ("again", 7, 0.0)]
    assert side.runner.running == 0
    await side.runner.drain()
    assert side.server.left_tasks == ["waits"]


async def test_a_drain_goes_on_though_the_server_is_away(begin: Begin) -> None:
    side = begin(waiting)
    side.server.leave_error = Unavailable("no server")
    side.server.write_error = Unavailable("no server")
    side.server.give("waits", claim_of(start()))
    await until(lambda: world.calls == ["t1"])
    await side.runner.drain()
    assert side.server.said == [("again", 7, 0.0)]


async def test_a_runner_that_is_closed_has_no_threads(begin: Begin) -> None:
    side = begin(waiting)
    await side.runner.close(5.0)
    with pytest.raises(RuntimeError, match="after shutdown"):
        side.runner._threads.submit(print)


async def test_a_drain_leaves_half_of_its_time_to_what_comes_after(begin: Begin) -> None:
    side = begin(waiting, replace_config(task_drain_s=3600.0, drain_timeout_s=0.02))
    side.server.give("waits", claim_of(start()))
    await until(lambda: world.calls == ["t1"])
    async with asyncio.timeout(10):
        await side.runner.drain()
    assert side.server.said == [("again", 7, 0.0)]


async def test_a_start_that_goes_back_for_want_of_room_does_so_though_the_worker_leaves(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    side, asked, answered = begin(both, replace_config(tasks_running_max=1)), asyncio.Event(), asyncio.Event()

    async def row(_: str) -> None:
        asked.set()
        await answered.wait()

    await until(lambda: {("waits", 1, WAIT_S), ("alone", 1, WAIT_S)} <= set(side.server.asked))
    side.server.give("waits", claim_of(start()))
    await until(lambda: world.calls == ["t1"])
    monkeypatch.setattr(side.server, "row", row)
    side.server.give("alone", claim_of(start("alone", id="t2"), deliveries=2, sequence=8))
    async with asyncio.timeout(10):
        await asked.wait()
        side.server.during_leave = lambda _: answered.set()
        await side.runner.drain()
    assert ("again", 8, 0.0) in side.server.said
    assert side.server.notes["t2"].given_back == 1


async def test_a_start_that_cannot_be_given_back_for_want_of_room_is_said_and_left_to_its_time(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    side = begin(both, replace_config(tasks_running_max=1))
    await until(lambda: {("waits", 1, WAIT_S), ("alone", 1, WAIT_S)} <= set(side.server.asked))
    side.server.give("waits", claim_of(start()))
    await until(lambda: world.calls == ["t1"])
    side.server.row_errors = [Unavailable("no server")]
    with caplog.at_level(logging.INFO, "aether.tasks"):
        side.server.give("alone", claim_of(start("alone", id="t2"), deliveries=2, sequence=8))
        await until(lambda: "a start of a task cannot be given back now" in caplog.messages)
    assert side.server.said == []
