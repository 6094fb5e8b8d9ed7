"""The places of a worker's tasks: no more run than it says, and the tasks of a model take turns."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from aether import Actor, Model, Retry, TaskContext, TaskFailed, command, event, query, task
from aether.config import RuntimeConfig
from aether.model.task_type import TaskType
from aether.runtime.task_room import TaskRoom
from aether.testing import local_pool
from aether.testing.pool import SHARDS, LocalPool
from tests.support.errands import Lost

FEW = RuntimeConfig(tasks_running_max=2, task_threads_max=1, cancel_grace_s=0.2, task_drain_s=0.05)


class Log:
    """Which tasks were called, in order, and when they may go on."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.running = 0
        self.most = 0
        self.go_on = asyncio.Semaphore(0)
        self.gate = threading.Event()

    async def call(self, name: str, attempt: int) -> None:
        self.enter(name, attempt)
        await self.go_on.acquire()
        self.running -= 1

    def enter(self, name: str, attempt: int) -> None:
        self.calls.append((name, attempt))
        self.running += 1
        self.most = max(self.most, self.running)


log = Log()


@pytest.fixture
async def pool() -> AsyncIterator[LocalPool]:
    global log  # noqa: PLW0603 - tasks find it here
    log = Log()
    async with local_pool(model, workers=1, config=FEW) as pool:
        yield pool
        log.gate.set()
        for _ in range(100):
            log.go_on.release()


@task
async def long_list(context: TaskContext) -> None:
    """One of many."""
    await log.call("long_list", context.attempt)


@task
async def seldom(context: TaskContext) -> None:
    """One of few."""
    await log.call("seldom", context.attempt)


@task(retry=Retry(attempts=1))
async def third(context: TaskContext) -> None:
    """One of few."""
    await log.call("third", context.attempt)


@task(retry=Retry(attempts=1))
def plain(context: TaskContext) -> None:
    """In a thread."""
    log.enter("plain", context.attempt)
    log.gate.wait(10)
    log.running -= 1


@task
def another_plain(context: TaskContext) -> None:
    """In a thread."""
    log.enter("another_plain", context.attempt)
    log.gate.wait(10)
    log.running -= 1


TASKS = {one.name: one for one in (long_list, seldom, third, plain, another_plain)}


class Starter(Actor):
    """Starts them."""

    lost: str = ""

    @command
    def start(self, name: str, count: int) -> None:
        for _ in range(count):
            self.start_task(TASKS[name](), failed=Starter.failed)

    @command
    def failed(self, failed: TaskFailed) -> None:
        self.emit(Lost(failed.message, failed.error_type, failed.attempts))

    @event
    def was_lost(self, e: Lost) -> None:
        self.lost = f"{e.error_type}: {e.why}"

    @query
    def read(self) -> str:
        return self.lost


model = Model("starters", actors=[Starter], tasks=[long_list, seldom, third, plain, another_plain])


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.002)


async def start(pool: LocalPool, name: str, count: int) -> None:
    await pool.client.actor(Starter, name).start(name, count)


async def test_a_backlog_of_one_task_does_not_keep_the_others_from_running(pool: LocalPool) -> None:
    await start(pool, "long_list", 60)
    await until(lambda: log.running == 2)
    await start(pool, "seldom", 3)
    for done in range(12):
        await until(lambda: len(log.calls) == done + 2)  # noqa: B023 - called at once
        log.go_on.release()
    await until(lambda: len(log.calls) == 14)
    assert [name for name, _ in log.calls].count("seldom") == 3


async def test_what_comes_to_a_worker_that_is_full_goes_back_and_that_is_no_attempt(pool: LocalPool) -> None:
    await start(pool, "long_list", 1)  # all have nothing to do, and wait for a start
    await start(pool, "seldom", 1)
    await until(lambda: log.running == 2)
    await start(pool, "third", 1)
    await until(lambda: bool(pool.server.space(pool.namespace, SHARDS).failed_tasks))
    assert log.running == 2
    log.go_on.release()
    await until(lambda: len(log.calls) == 3)
    assert log.most == 2
    assert log.calls[-1] == ("third", 1)


async def test_plain_functions_of_all_tasks_share_the_threads(pool: LocalPool) -> None:
    await start(pool, "plain", 3)
    await start(pool, "another_plain", 3)
    await until(lambda: log.running == 1)
    await pool.clock.advance(seconds=1)
    assert pool.workers[0].runtime.readings().values["aether_running_tasks"][()] == 1
    log.gate.set()
    await until(lambda: len(log.calls) == 6)
    assert log.most == 1


async def test_a_function_that_gets_no_thread_has_failed_and_keeps_no_place(
    pool: LocalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(ThreadPoolExecutor, "submit", no_thread)
        await start(pool, "plain", 1)
        starter = pool.client.actor(Starter, "plain")
        async with asyncio.timeout(10):
            while await starter.read() != "RuntimeError: can't start new thread":  # noqa: ASYNC110
                await asyncio.sleep(0.002)
    await start(pool, "another_plain", 1)
    await until(lambda: log.calls == [("another_plain", 1)])


# ------------------------------------------------------------------------------------------------ the room by itself


MANY, FEWER, THREAD = TaskType(long_list), TaskType(seldom), TaskType(plain)


async def test_what_is_asked_for_has_its_place_until_it_is_known_what_came() -> None:
    room = TaskRoom(FEW)
    assert await room.ask(MANY) == 2
    waits = asyncio.ensure_future(room.ask(FEWER))
    await asyncio.sleep(0)
    assert not waits.done()
    room.enter(MANY)
    room.asked(MANY, 2)
    assert await waits == 1


async def test_functions_that_stay_keep_all_places_when_no_more_may_run_beside_them() -> None:
    room = TaskRoom(FEW)
    for one in (MANY, THREAD):
        room.enter(one)
    assert not room.stay(MANY)
    room.leave_late(MANY)
    assert room.stay(THREAD), "all threads are kept"
    room.enter(MANY)
    assert room.stay(MANY), "all places are kept"
    room.leave_late(THREAD)
    room.leave_late(MANY)
    assert await room.ask(MANY) == 2


async def test_one_that_came_unasked_waits_for_what_is_asked_for_and_for_nothing_else() -> None:
    room = TaskRoom(FEW)
    assert await room.ask(MANY) == 2
    came = asyncio.ensure_future(room.ask_for_one(FEWER))
    await asyncio.sleep(0)
    assert not came.done()
    room.enter(MANY)
    room.enter(MANY)
    room.asked(MANY, 2)
    assert not await came
    room.leave(MANY)
    assert await room.ask_for_one(FEWER)


async def test_a_turn_that_is_given_to_one_that_was_cancelled_is_the_next_ones() -> None:
    room = TaskRoom(FEW)
    assert await room.ask(MANY) == 2
    first, second = (asyncio.ensure_future(room.ask(FEWER)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    room.asked(MANY, 2)  # in the same step
    assert await second == 2
    third_, fourth = (asyncio.ensure_future(room.ask(FEWER)) for _ in range(2))
    await asyncio.sleep(0)
    room.asked(FEWER, 2)
    third_.cancel()
    assert await fourth == 2
    room.asked(FEWER, 2)
    assert await room.ask(MANY) == 2


async def test_a_thread_is_free_when_its_function_has_ended_and_the_place_when_all_is_over() -> None:
    room = TaskRoom(FEW)
    assert await room.ask(THREAD) == 1
    room.enter(THREAD)
    room.asked(THREAD, 1)
    waits = asyncio.ensure_future(room.ask(THREAD))
    await asyncio.sleep(0)
    assert not waits.done()
    room.leave_thread(THREAD)
    assert await waits == 1
    room.asked(THREAD, 1)
    assert await room.ask(MANY) == 1
