"""Tasks that were started under another version of the model: which command takes what comes of them?"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from aether import Actor, Model, Retry, TaskFailed, command, event, query, task
from aether.config import RuntimeConfig
from aether.errors import AetherError, Unavailable
from aether.memory.tasks import InMemoryTasks
from aether.model.tasks import Task
from aether.ports import TaskBacklog
from aether.runtime import unknown_tasks
from aether.runtime.unknown_tasks import BACK_S
from aether.testing import local_pool
from aether.testing.pool import SHARDS, LocalPool

CONFIG = RuntimeConfig(tell_attempts_max=2, tell_retry_first_s=0.01, tell_retry_max_s=0.01)
FAILS_AT_ONCE = Retry(first_s=0.01, cap_s=0.01, attempts=2)


@dataclass(frozen=True)
class Amount:
    """An argument that a later version refuses with an error of its own."""

    cents: int

    def __post_init__(self) -> None:
        if self.cents < world.least:
            raise KeyError(self.cents)


class World:
    """What a test sets, and what it looks at."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.called = 0
        self.least = 0


world = World()


@task(retry=FAILS_AT_ONCE)
async def charge(amount: Amount) -> str:
    """Wait for the test, then succeed."""
    world.called += 1
    await world.gate.wait()
    return f"{amount.cents} cents"


@task(retry=FAILS_AT_ONCE)
async def refuse() -> str:
    """Wait for the test, then fail."""
    world.called += 1
    await world.gate.wait()
    raise ValueError("no")


@dataclass(frozen=True)
class Noted:
    """Something came back."""

    what: str


class _Till(Actor, kind="till"):
    notes: tuple[str, ...] = ()

    @query
    def read(self) -> tuple[str, ...]:
        return self.notes

    @event
    def noted(self, e: Noted) -> None:
        self.notes += (e.what,)


def till(
    *, has_paid: bool = True, has_failed: bool = True, tasks: tuple[Task[..., Any], ...] = (charge, refuse)
) -> Model:
    """A model with, or without, the commands for what comes of a task."""

    class Till(_Till, kind="till"):
        @command
        def start(self, what: str) -> str:
            call: Any = refuse() if what == "refuse" else charge(Amount(5))
            names: Any = type(self)
            return self.start_task(call, then=names.paid, failed=names.failed)

        @command
        def stop(self, task_id: str) -> None:
            self.cancel_task(task_id)

        if has_paid:

            @command
            def paid(self, receipt: str) -> None:
                self.emit(Noted(receipt))

        if has_failed:

            @command
            def failed(self, failed: TaskFailed) -> None:
                self.emit(Noted(f"{failed.error_type}: {failed.message}"))

    return Model("till", actors=[Till], tasks=tasks)


@pytest.fixture
async def pool() -> AsyncIterator[LocalPool]:
    global world  # noqa: PLW0603 - tasks find it here
    world = World()
    async with local_pool(till(), config=CONFIG) as pool:
        yield pool
        world.gate.set()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.002)


async def start(pool: LocalPool, what: str) -> None:
    """Start a task, and let its worker die while it runs."""
    await pool.client.actor("till", "a").start(what)
    await until(lambda: world.called == 1)


async def deploy(pool: LocalPool, model: Model) -> None:
    """All workers run another version of the model, and what ran is handed out again."""
    pool.model = model
    for worker in pool.workers:
        await pool.crash(worker)
    world.gate.set()
    await pool.clock.advance(seconds=15)


async def notes(pool: LocalPool) -> tuple[str, ...]:
    async with asyncio.timeout(10):
        while not (found := await pool.client.actor("till", "a").read()):
            await pool.clock.advance(seconds=1)
    return tuple(found)


async def letters(pool: LocalPool) -> list[Any]:
    async with asyncio.timeout(10):
        while not (found := [one async for one in pool.client.untyped.dead_letters("till")]):
            await pool.clock.advance(seconds=1)
    return found


async def test_a_function_whose_result_no_command_takes_is_not_called(pool: LocalPool) -> None:
    await start(pool, "charge")
    await deploy(pool, till(has_paid=False))
    (note,) = await notes(pool)
    assert note.startswith("UnknownCommand: ")
    assert "'paid'" in note
    assert world.called == 1


async def test_a_failure_that_no_command_takes_is_a_dead_letter(pool: LocalPool) -> None:
    await start(pool, "refuse")
    await deploy(pool, till(has_failed=False))
    (letter,) = await letters(pool)
    assert (str(letter.actor_id), letter.command) == ("till/a", "failed")
    assert letter.args["failed"]["message"] == "no"
    assert world.called == 2
    (vm,) = [vm for worker in pool.workers for vm in worker.runtime.get_active_vms() if vm.actor_id.key == "a"]
    assert not vm.fold.agenda


async def test_an_argument_that_cannot_be_made_any_more_is_a_failure_of_the_task(pool: LocalPool) -> None:
    await start(pool, "charge")
    world.least = 10
    await deploy(pool, till())
    assert await notes(pool) == ("KeyError: 5",)
    assert world.called == 1


def charge_by_name() -> Task[..., Any]:
    """The task under its old name, with another argument."""

    @task(retry=FAILS_AT_ONCE)
    async def charge(cents: int) -> str:
        world.called += 1
        return f"{cents} cents"

    return charge


async def test_arguments_that_do_not_fit_any_more_are_a_failure_that_names_the_task_and_the_argument(
    pool: LocalPool,
) -> None:
    await start(pool, "charge")
    await deploy(pool, till(tasks=(charge_by_name(), refuse)))
    (note,) = await notes(pool)
    assert note.startswith("InvalidCommand: the task charge does not take the arguments that it was started with: ")
    assert "amount: " in note
    assert world.called == 1


async def test_what_another_version_may_take_is_left_to_it_and_is_no_attempt(
    pool: LocalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = True

    def foreign(self: object, error: AetherError) -> AetherError:
        return Unavailable("another version may know it") if both else error

    monkeypatch.setattr("aether.runtime.worker_context.WorkerContext.foreign", foreign)
    await start(pool, "charge")
    await deploy(pool, till(has_paid=False))
    for _ in range(10):
        await pool.clock.advance(seconds=1)
    assert world.called == 1
    both = False
    await deploy(pool, till())
    assert await notes(pool) == ("5 cents",)
    assert world.called == 2


@pytest.mark.parametrize("tasks", [(), (refuse,)])
async def test_starts_of_a_task_that_the_model_has_lost_are_kept_and_told_once(
    pool: LocalPool,
    tasks: tuple[Task[..., Any], ...],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def lines() -> list[tuple[str, int]]:
        return [(r.__dict__["task"], r.__dict__["starts"]) for r in caplog.records if "does not have" in r.message]

    looks: list[None] = []
    backlog = InMemoryTasks.backlog

    async def counted(self: InMemoryTasks) -> list[TaskBacklog]:
        looks.append(None)
        return await backlog(self)

    monkeypatch.setattr(InMemoryTasks, "backlog", counted)
    for setting in ("FIRST_LOOK_S", "LOOK_EVERY_S"):
        monkeypatch.setattr(unknown_tasks, setting, 0.001)
    await start(pool, "charge")
    await deploy(pool, till(tasks=tasks))
    looks.clear()
    await until(lambda: len(looks) > 5)
    assert lines() == [("charge", 1)] * len(pool.workers)
    world.gate.set()
    await deploy(pool, till())
    assert await notes(pool) == ("5 cents",)
    assert len(lines()) == len(pool.workers)


async def lose(pool: LocalPool, monkeypatch: pytest.MonkeyPatch) -> str:
    """Start a task and deploy a model without it; its id. From here on such starts are looked for all the time."""
    for setting in ("FIRST_LOOK_S", "LOOK_EVERY_S"):
        monkeypatch.setattr(unknown_tasks, setting, 0.001)
    task_id: str = await pool.client.actor("till", "a").start("charge")
    await until(lambda: world.called == 1)
    await pool.client.actor("till", "b").start("charge")
    await until(lambda: world.called == 2)
    return task_id


async def is_over(pool: LocalPool, left: int) -> None:
    """Wait until so many starts of the task are left."""
    async with asyncio.timeout(10):
        while sum(one.waiting + one.taken for one in await pool.client.untyped.tasks.backlog()) != left:
            await pool.clock.advance(seconds=1)


async def is_put_back(pool: LocalPool) -> None:
    """Wait until a look has put back all starts that are left: a worker that crashed with one would cost an attempt."""
    queue = pool.server.space(pool.namespace, SHARDS).task_queues["charge"]
    await until(lambda: all(0 < one.due_s - queue._clock.boot_s() <= BACK_S for one in queue._handed.values()))


def deliveries(pool: LocalPool) -> list[int]:
    """How often each start of the task that is not over was handed out."""
    queue = pool.server.space(pool.namespace, SHARDS).task_queues["charge"]
    return [one.deliveries for one in queue._handed.values()]


@pytest.mark.parametrize("before", [True, False])
async def test_a_cancelled_task_that_the_model_has_lost_ends_and_is_no_attempt_of_the_others(
    pool: LocalPool, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    task_id = await lose(pool, monkeypatch)
    for worker in pool.workers if before else ():
        await pool.crash(worker)
    if before:
        await pool.client.untyped.tasks.cancel(task_id)
    await deploy(pool, till(tasks=()))
    if not before:
        await pool.client.untyped.tasks.cancel(task_id)
    await is_over(pool, left=1)
    assert await notes(pool) == ("TaskCancelled: an operator has cancelled it",)
    await is_put_back(pool)
    await deploy(pool, till())
    await is_over(pool, left=0)
    assert await pool.client.actor("till", "b").read() == ("5 cents",)


async def test_a_task_that_its_actor_has_cancelled_and_the_model_has_lost_ends(
    pool: LocalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = await lose(pool, monkeypatch)
    await deploy(pool, till(tasks=(refuse,)))
    await pool.client.actor("till", "a").stop(task_id)
    await is_over(pool, left=1)
    (row,) = await pool.client.untyped.tasks.failed()
    assert row.note.given_back, "the other one was given back, and nothing is kept of the cancelled one"
    assert not await pool.client.actor("till", "a").read()


async def test_a_cancelled_task_that_has_ended_has_the_starts_of_a_lost_task_taken_no_more(
    pool: LocalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[None] = []
    stored = InMemoryTasks.stored

    async def counted(self: InMemoryTasks, task: str) -> list[bytes]:
        looks.append(None)
        return await stored(self, task)

    monkeypatch.setattr(InMemoryTasks, "stored", counted)
    task_id = await lose(pool, monkeypatch)
    await deploy(pool, till(tasks=()))
    await pool.client.untyped.tasks.cancel(task_id)
    await is_over(pool, left=1)
    for settled in (False, True):
        before = deliveries(pool)
        for _ in range(10):
            await pool.clock.advance(seconds=15)
            looks.clear()
            await until(lambda: len(looks) > 4)
        assert deliveries(pool) == before or not settled


async def test_a_cancelled_task_is_left_to_another_version_that_may_have_it(
    pool: LocalPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = True
    asked: list[None] = []

    def foreign(self: object, error: AetherError) -> AetherError:
        asked.append(None)
        return Unavailable("another version may have it") if both else error

    monkeypatch.setattr("aether.runtime.worker_context.WorkerContext.foreign", foreign)
    task_id = await lose(pool, monkeypatch)
    await deploy(pool, till(tasks=()))
    await pool.client.untyped.tasks.cancel(task_id)
    asked.clear()
    await until(lambda: len(asked) > 10)
    assert deliveries(pool) == [1, 1]
    both = False
    await is_over(pool, left=1)
