"""Tasks in memory: each result once, whatever the function does and whichever worker crashes."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

import pytest
from msgspec import Raw

from aether import (
    Actor,
    ActorFailed,
    InvalidCommand,
    Model,
    PolicyContext,
    Retry,
    TaskContext,
    TaskFailed,
    Unavailable,
    command,
    event,
    policy,
    query,
    task,
)
from aether.config import RuntimeConfig
from aether.ids import ActorId
from aether.log_lines import TYPE_CHARS_MAX
from aether.memory.connection import InMemoryConnection
from aether.memory.tasks import InMemoryTasks
from aether.names import shard_of
from aether.ports import TaskClaim
from aether.runtime.task_notes import GIVEN_UP, RUNS, WAITS, TaskNote, decode_note
from aether.sends import RESULT
from aether.tells import Tell, encode_tell
from aether.testing import given, local_pool, started
from aether.testing.pool import SHARDS, LocalPool
from aether.worker_log import CommandFilter
from tests.support import errands
from tests.support.errands import Back, Errand, Lost, Sent, World, echo, model, renew

CONFIG = RuntimeConfig(cancel_grace_s=0.2, task_drain_s=0.05, tasks_running_max=5)
TTL_S = 15.0


@pytest.fixture
def world() -> World:
    return renew()


@pytest.fixture
async def pool(world: World) -> AsyncIterator[LocalPool]:
    async with local_pool(model, config=CONFIG) as pool:
        yield pool
        world.opened.set()
        world.gate.set()


def errand(pool: LocalPool, key: str = "a") -> Errand:
    return pool.client.actor(Errand, key)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not reached():  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.002)


async def back(pool: LocalPool, key: str = "a", count: int = 1) -> list[str]:
    async with asyncio.timeout(10):
        while len(found := await errand(pool, key).results()) < count:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.002)
    return found


async def lost(pool: LocalPool, key: str = "a") -> Lost:
    async with asyncio.timeout(10):
        while not (found := await errand(pool, key).losses()):  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.002)
    assert len(found) == 1
    return found[0]


def outcomes(pool: LocalPool) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for worker in pool.workers:
        for key, count in worker.runtime.counters.by_task.items():
            found[key] = found.get(key, 0) + count
    return found


def attempts(pool: LocalPool) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for worker in pool.workers:
        for key, count in worker.runtime.counters.attempts_by_task.items():
            found[key] = found.get(key, 0) + count
    return found


def open_tasks(pool: LocalPool) -> int:
    machines = [vm for worker in pool.workers for vm in worker.runtime.get_active_vms()]
    return sum(len(cast(Any, vm).fold.agenda or ()) for vm in machines)


async def test_a_result_comes_to_its_command(pool: LocalPool, world: World) -> None:
    task_id = await errand(pool).echo("hello")
    assert await back(pool) == ["hello"]
    (context,) = world.calls
    assert (context.task_id, context.attempt, str(context.actor_id)) == (task_id, 1, "errand/a")
    assert context.resources == "a client"
    assert timedelta(0) < context.deadline - pool.clock.now() <= timedelta(seconds=30)
    await until(lambda: outcomes(pool) == {("echo", "ok"): 1})
    assert attempts(pool) == {("echo", "ok"): 1}
    assert open_tasks(pool) == 0


async def test_a_command_that_is_carried_out_anew_starts_another_task(pool: LocalPool, world: World) -> None:
    again = pool.client.using(command_id="order-7").actor(Errand, "a")
    first = await again.echo("hello")
    assert await back(pool) == ["hello"]
    assert await again.echo("hello") == first
    await pool.clock.advance(minutes=10)  # the id is forgotten
    second = await again.echo("hello")
    assert await back(pool, count=2) == ["hello", "hello"]
    assert [one.task_id for one in world.calls] == [first, second]
    assert first != second
    assert open_tasks(pool) == 0


async def test_what_fails_is_tried_again_under_the_same_id(pool: LocalPool, world: World) -> None:
    task_id = await errand(pool).fail(2)
    for attempt in (1, 2):
        await until(lambda: attempts(pool).get(("fails", "failed")) == attempt)  # noqa: B023 - called at once
        await pool.clock.advance(seconds=attempt)
    assert await back(pool) == ["after 3"]
    assert [(one.task_id, one.attempt) for one in world.calls] == [(task_id, 1), (task_id, 2), (task_id, 3)]


async def test_it_waits_before_it_tries_again(pool: LocalPool, world: World) -> None:
    await errand(pool).fail(2)
    await until(lambda: attempts(pool).get(("fails", "failed")) == 1)
    await pool.clock.advance(seconds=0.4)
    assert len(world.calls) == 1
    await pool.clock.advance(seconds=0.7)
    await until(lambda: len(world.calls) == 2)


async def test_a_store_that_cannot_be_read_costs_no_attempt(
    pool: LocalPool, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, unread = InMemoryTasks.row, list(range(3))

    async def row_(self: InMemoryTasks, task_id: str) -> bytes | None:
        if unread:
            raise Unavailable(f"no answer {unread.pop()}")
        return await row(self, task_id)

    monkeypatch.setattr(InMemoryTasks, "row", row_)
    await errand(pool).fail(1)
    await until(lambda: attempts(pool).get(("fails", "failed")) == 1)
    await pool.clock.advance(seconds=1)
    assert await back(pool) == ["after 2"]
    assert [one.attempt for one in world.calls] == [1, 2]


async def test_one_that_another_worker_has_ended_meanwhile_is_over(pool: LocalPool, world: World) -> None:
    task_id = await errand(pool).wait()
    await until(lambda: world.running == 1)
    args = Raw(b'{"failed":{"message":"no","error_type":"Another","attempts":3}}')
    told = Tell(kind="errand", key="a", command="failed", args=args, id=f"{RESULT}{task_id}")
    connection = InMemoryConnection(pool.server, pool.namespace, shards=SHARDS)
    await connection.inbox.send(shard_of(ActorId("errand", "a"), SHARDS), encode_tell(told), told.id)
    assert (await lost(pool)).error_type == "Another"
    world.opened.set()
    await until(lambda: pool.server.space(pool.namespace, SHARDS).task_queues["waits"].taken == 0)
    assert len(world.calls) == 1
    assert attempts(pool) == {("waits", "ok"): 1}
    assert noted(pool, task_id) is None
    assert await errand(pool).results() == []


async def test_after_its_attempts_a_task_is_given_up(pool: LocalPool, world: World) -> None:
    task_id = await errand(pool).fail(99)
    for attempt in (1, 2):
        await until(lambda: attempts(pool).get(("fails", "failed")) == attempt)  # noqa: B023 - called at once
        note = await tasks_of(pool).row(task_id)
        assert (known := decode_note(note)) is not None
        assert (known.attempt, known.error, known.error_type) == (attempt, f"no {attempt}", "ConnectionError")
        await pool.clock.advance(seconds=attempt)
    assert await lost(pool) == Lost("no 3", "ConnectionError", 3)
    await until(lambda: outcomes(pool) == {("fails", "given_up"): 1})
    assert set(attempts(pool)) == {("fails", "failed")}
    assert open_tasks(pool) == 0
    await until(lambda: note_state(pool, task_id) == GIVEN_UP)


def tasks_of(pool: LocalPool) -> Any:
    return InMemoryConnection(pool.server, pool.namespace, shards=SHARDS).tasks


def noted(pool: LocalPool, task_id: str) -> TaskNote | None:
    return decode_note(pool.server.space(pool.namespace, SHARDS).failed_tasks.get(task_id))


def note_state(pool: LocalPool, task_id: str) -> str:
    note = noted(pool, task_id)
    return "" if note is None else note.state


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def called() -> Any:
        return function()

    return called


@task
@once
async def wrapped() -> int:
    return 1


class Starter(Actor):
    """Starts it, and keeps what became of it."""

    seen: str = ""

    @command
    def begin(self) -> None:
        self.start_task(wrapped(), then=Starter.done, failed=Starter.lost)

    @command
    def done(self, result: int) -> None:
        self.emit(Lost(str(result), "", 1))

    @command
    def lost(self, failure: TaskFailed) -> None:
        self.emit(Lost(failure.message, failure.error_type, failure.attempts))

    @event
    def ended(self, e: Lost) -> None:
        self.seen = e.why


@pytest.mark.filterwarnings("error::RuntimeWarning")
async def test_a_plain_decorator_around_an_asynchronous_function_is_named() -> None:
    async with local_pool(Model("starter", actors=[Starter], tasks=[wrapped])) as pool:
        await pool.client.actor(Starter, "a").begin()
        async for one in pool.client.follow(Starter, "a"):
            if one.state.seen:
                break
        assert one.state.seen == (
            "the task wrapped is a plain function, and this one gave something to await; "
            "where a decorator is around an `async def`, the decorator gives an `async def`, too"
        )


async def test_a_plain_function_runs_in_a_thread_and_holds_no_command_up(pool: LocalPool, world: World) -> None:
    await errand(pool).block()
    await until(lambda: len(world.calls) == 1)
    await errand(pool, "b").echo("meanwhile")
    assert await back(pool, "b") == ["meanwhile"]
    world.gate.set()
    assert await back(pool) == ["unblocked"]


@pytest.mark.parametrize("name", ["overdue", "overdue_in_thread"])
async def test_one_that_takes_too_long_has_failed(pool: LocalPool, world: World, name: str) -> None:
    await errand(pool).run(name)
    found = await lost(pool)
    assert found.error_type == "TimeoutError"
    assert found.why.startswith("it took longer than 0.05 s")
    await until(lambda: outcomes(pool) == {(name, "given_up"): 1})
    assert attempts(pool) == {(name, "timed_out"): 1}


def leave() -> None:
    raise SystemExit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


def cancel_itself() -> None:
    raise asyncio.CancelledError


def stop() -> None:
    raise StopIteration


class Mute(Exception):
    """Has no words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def without_words() -> None:
    raise Mute


def in_no_encoding() -> None:
    raise FileNotFoundError("caf\udce9.txt")


def of_a_class_with_a_long_name() -> None:
    raise type("x" * 1_200_000, (Exception,), {})


class Nameless(type):
    """The class of a class that does not tell its name."""

    __name__ = property(lambda _: 1 // 0)


class Unnamed(Exception, metaclass=Nameless):
    """Its class has no name to read."""


def without_a_name() -> None:
    raise Unnamed


@pytest.mark.parametrize(
    "how",
    [leave, interrupt, cancel_itself, stop, without_words, without_a_name, in_no_encoding, of_a_class_with_a_long_name],
    ids=lambda one: one.__name__,
)
@pytest.mark.parametrize("name", ["breaks", "breaks_in_thread"])
async def test_whatever_it_raises_is_its_own_failure(
    pool: LocalPool, world: World, name: str, how: Callable[[], None]
) -> None:
    await errand(pool, "neighbour").wait()
    await until(lambda: world.running == 1)
    world.breaks = how
    await errand(pool).run(name)
    found = await lost(pool)
    assert found.error_type in {
        "SystemExit",
        "KeyboardInterrupt",
        "CancelledError",
        "StopIteration",
        "RuntimeError",
        "Mute",
        "Unnamed",
        "FileNotFoundError",
        "x" * TYPE_CHARS_MAX,
    }
    world.opened.set()
    assert await back(pool, "neighbour") == ["opened"]


async def test_a_result_of_another_type_is_a_failure(pool: LocalPool, world: World) -> None:
    await errand(pool).lie()
    found = await lost(pool)
    assert found.error_type == "TypeError"
    assert "what the task lies returned is not of its declared type" in found.why
    assert found.attempts == 1, "it was called again"


async def test_a_result_that_its_command_does_not_take_says_which(pool: LocalPool, world: World) -> None:
    await errand(pool).mistake()
    found = await lost(pool)
    assert found.error_type == "InvalidCommand"
    assert found.why.startswith("the command numbered does not take what the task gives_a_text has returned: number: ")
    assert found.attempts == 1, "it was called again"


async def test_a_result_that_is_too_large_is_a_failure(pool: LocalPool, world: World) -> None:
    await errand(pool).enlarge(2_000_000)
    found = await lost(pool)
    assert found.error_type == "InvalidCommand"
    assert found.why.startswith("what the task large has returned is too large: ")
    assert found.attempts == 1, "it was called again"


async def test_a_result_without_a_command_closes_its_task(pool: LocalPool, world: World) -> None:
    await errand(pool).forget()
    await until(lambda: outcomes(pool) == {("nothing", "ok"): 1})
    await until(lambda: open_tasks(pool) == 0)
    assert await errand(pool).results() == []


async def test_a_command_that_fails_starts_nothing(pool: LocalPool, world: World) -> None:
    with pytest.raises(ActorFailed):
        await errand(pool).start_and_fail()
    await errand(pool).echo("hello")
    assert await back(pool) == ["hello"]
    assert len(world.calls) == 1


async def test_many_results_of_one_actor_all_count(pool: LocalPool, world: World) -> None:
    await errand(pool).many(300)
    assert len(await back(pool, count=300)) == 300
    assert outcomes(pool) == {("nothing", "ok"): 300}


# ------------------------------------------------------------------------------------------------ bounds


async def test_no_more_run_at_once_than_the_task_and_the_worker_allow(world: World) -> None:
    async with local_pool(model, workers=1, config=CONFIG) as pool:
        for n in range(4):
            await errand(pool, f"{n}").wait()
        await until(lambda: world.running == 2)
        await errand(pool, "b").echo("others run")
        assert await back(pool, "b") == ["others run"]
        assert world.most == 2
        for n in range(9):
            await errand(pool, f"{n}").block()
        await until(lambda: pool.workers[0].runtime.readings().values["aether_running_tasks"][()] == 5)
        await pool.clock.advance(seconds=1)
        assert pool.workers[0].runtime.readings().values["aether_running_tasks"][()] == 5
        world.opened.set()
        world.gate.set()
        for n in range(4):
            await back(pool, f"{n}", count=2)


# ------------------------------------------------------------------------------------------------ cancel


async def test_a_task_that_runs_is_cancelled(pool: LocalPool, world: World) -> None:
    task_id = await errand(pool).wait()
    await until(lambda: world.running == 1)
    await errand(pool).cancel(task_id)
    await until(lambda: world.ended == [task_id])
    await until(lambda: outcomes(pool) == {("waits", "cancelled"): 1})
    assert attempts(pool) == {("waits", "cancelled"): 1}
    assert open_tasks(pool) == 0
    world.opened.set()
    await pool.clock.advance(seconds=2 * TTL_S)
    assert await errand(pool).results() == []


async def test_one_that_waits_to_be_tried_again_and_is_cancelled_ends_at_once_and_is_not_called(
    pool: LocalPool, world: World
) -> None:
    task_id = await errand(pool).run("fails_for_an_hour")
    await until(lambda: attempts(pool).get(("fails_for_an_hour", "failed")) == 1)
    await errand(pool).cancel(task_id)
    await until(lambda: outcomes(pool).get(("fails_for_an_hour", "cancelled")) == 1)
    await until(lambda: noted(pool, task_id) is None)
    assert len(world.calls) == 1
    assert await errand(pool).losses() == []


async def test_a_thread_that_is_cancelled_goes_on_and_its_result_does_not_count(
    pool: LocalPool, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = await errand(pool).block()
    await until(lambda: len(world.calls) == 1)
    await errand(pool).cancel(task_id)
    await until(lambda: outcomes(pool) == {("blocks", "cancelled"): 1})
    assert "a plain task is over and goes on in its thread, which it keeps" in caplog.messages
    world.gate.set()
    await errand(pool).echo("next")
    assert await back(pool) == ["next"]


async def test_a_cancelled_function_that_goes_on_in_its_thread_keeps_its_place(world: World) -> None:
    async with local_pool(model, workers=1, config=CONFIG) as pool:
        task_id = await errand(pool).block_alone()
        await until(lambda: len(world.calls) == 1)
        await errand(pool).cancel(task_id)
        await until(lambda: outcomes(pool) == {("blocks_alone", "cancelled"): 1})
        await errand(pool, "b").block_alone()
        await errand(pool, "c").echo("others run")
        assert await back(pool, "c") == ["others run"]
        assert [call.task_id for call in world.calls].count(task_id) == 1
        assert len(world.calls) == 2, "two run at once, of which one may run"
        world.gate.set()
        assert await back(pool, "b") == ["unblocked"]


async def test_one_that_is_cancelled_where_it_is_started_gives_nothing(pool: LocalPool, world: World) -> None:
    await errand(pool).start_and_cancel()
    await errand(pool).echo("hello")
    assert await back(pool) == ["hello"]
    assert open_tasks(pool) == 0


async def test_to_cancel_what_is_not_open_does_nothing(pool: LocalPool, world: World) -> None:
    await errand(pool).cancel("never")
    task_id = await errand(pool).echo("hello")
    await back(pool)
    await errand(pool).cancel(task_id)
    await errand(pool, "other").cancel(task_id)
    assert pool.server.space(pool.namespace, SHARDS).cancelled_tasks == {}


async def test_what_an_operator_cancels_has_failed(pool: LocalPool, world: World) -> None:
    task_id = await errand(pool).wait()
    await until(lambda: world.running == 1)
    await tasks_of(pool).cancel(task_id, "operator")
    assert await lost(pool) == Lost("an operator has cancelled it", "TaskCancelled", 1)


async def test_an_operator_cancels_no_task_that_is_not_known(pool: LocalPool, world: World) -> None:
    task_id, view = await errand(pool).wait(), pool.client.untyped.tasks
    await until(lambda: world.running == 1)
    for unknown in ("99999", task_id[:-1], task_id.upper(), ">", "\u00e9"):
        with pytest.raises(InvalidCommand, match="there is no task") as raised:
            await view.cancel(unknown)
        assert raised.value.path == "id"
    assert pool.server.space(pool.namespace, SHARDS).cancelled_tasks == {}
    await view.cancel(task_id)
    assert await lost(pool) == Lost("an operator has cancelled it", "TaskCancelled", 1)


async def test_operators_see_what_has_failed_and_try_it_again_or_cancel_it(pool: LocalPool, world: World) -> None:
    view = pool.client.untyped.tasks
    retried, cancelled = await errand(pool).fail(1), await errand(pool, "b").fail(99)
    await until(lambda: attempts(pool).get(("fails", "failed")) == 2)
    assert {one.id for one in await view.failed()} == {retried, cancelled}
    counts = {one.task: (one.waiting, one.taken) for one in await view.backlog()}
    assert (counts["fails"], counts["echo"]) == ((0, 2), (0, 0))
    assert (await view.retry(retried)).note.attempt == 1
    assert await back(pool) == ["after 2"]
    await view.cancel(cancelled)
    assert await lost(pool, "b") == Lost("an operator has cancelled it", "TaskCancelled", 1)
    await until(lambda: pool.server.space(pool.namespace, SHARDS).failed_tasks == {})
    with pytest.raises(InvalidCommand, match="there is no failed task"):
        await view.retry(retried)
    world.breaks = leave
    hopeless = await errand(pool, "c").run("breaks")
    await until(lambda: note_state(pool, hopeless) == GIVEN_UP)
    with pytest.raises(InvalidCommand, match="is given up: its actor has been told"):
        await view.retry(hopeless)
    with pytest.raises(InvalidCommand, match="is given up: its actor has been told"):
        await view.cancel(hopeless)
    with pytest.raises(InvalidCommand, match="a task's id is"):
        await view.cancel("")


@task(retry=Retry(first_s=60, cap_s=60, attempts=2))
async def stumbles(context: TaskContext) -> str:
    """Fail at first, then wait until the test opens the gate."""
    errands.world.calls.append(context)
    if context.attempt == 1:
        raise ConnectionError("no 1")
    await errands.world.opened.wait()
    return "opened"


class Stumbler(Actor):
    """Starts one, and keeps what comes back."""

    found: list[str] = field(default_factory=list[str])

    @command
    def begin(self) -> str:
        return self.start_task(stumbles(), then=Stumbler.came, failed=Stumbler.failed)

    @command
    def came(self, what: str) -> None:
        self.emit(Back(what))

    @command
    def failed(self, failed: TaskFailed) -> None:
        self.emit(Back(failed.message))

    @query
    def came_back(self) -> list[str]:
        return self.found

    @event
    def was_back(self, e: Back) -> None:
        self.found = [*self.found, e.what]


async def test_one_that_is_tried_again_already_is_not_tried_twice_at_once(world: World) -> None:
    async with local_pool(Model("stumbling", actors=[Stumbler], tasks=[stumbles])) as pool:
        stumbler, view = pool.client.actor(Stumbler, "a"), pool.client.untyped.tasks
        task_id = await stumbler.begin()
        await until(lambda: note_state(pool, task_id) == WAITS)
        await view.retry(task_id)
        await until(lambda: len(world.calls) == 2)
        assert (one := noted(pool, task_id)) is not None
        assert (one.state, one.attempt, one.error) == (RUNS, 1, "no 1")
        with pytest.raises(InvalidCommand, match="is being tried again already") as refused:
            await view.retry(task_id)
        assert refused.value.path == "id"
        for _ in range(100):
            await asyncio.sleep(0)
        assert await stumbler.came_back() == [], "another worker has given it up meanwhile"
        world.opened.set()
        await until(lambda: noted(pool, task_id) is None)
        assert await stumbler.came_back() == ["opened"]
        assert [one.attempt for one in world.calls] == [1, 2]


# ------------------------------------------------------------------------------------------------ crashes


async def test_a_worker_that_crashes_gives_its_tasks_back(pool: LocalPool, world: World) -> None:
    task_id = await errand(pool).wait()
    await until(lambda: world.running == 1)
    for worker in pool.workers:
        await pool.crash(worker)
    await until(lambda: world.running == 0)
    assert len(world.calls) == 1
    await pool.clock.advance(seconds=TTL_S)
    await until(lambda: world.running == 1)
    world.opened.set()
    assert await back(pool) == ["opened"]
    assert [(one.task_id, one.attempt) for one in world.calls] == [(task_id, 1), (task_id, 2)]


async def test_one_that_ends_its_worker_each_time_is_given_up(pool: LocalPool, world: World) -> None:
    await errand(pool).wait()
    for attempt in (1, 2, 3):
        await until(lambda: len(world.calls) == attempt)  # noqa: B023 - called at once
        for worker in pool.workers:
            await pool.crash(worker)
        await pool.clock.advance(seconds=TTL_S)
    assert await lost(pool) == Lost("its worker was lost each time, or could not keep it", "WorkerLost", 3)


async def test_what_arrives_while_a_worker_leaves_goes_back_and_that_is_no_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_ = InMemoryTasks.leave

    async def leave_late(self: InMemoryTasks, task: str) -> list[TaskClaim]:
        arrived = self._queues[task].take(64) if task in self._queues else []
        return [*arrived, *await leave_(self, task)]

    monkeypatch.setattr(InMemoryTasks, "leave", leave_late)
    async with local_pool(model, workers=1, config=CONFIG) as pool:
        ids = [await errand(pool).wait() for _ in range(3)]
        await until(lambda: world.running == 2)  # the third one waits for room
        await pool.workers[0].runtime.finish_tasks()
        await until(lambda: [getattr(noted(pool, one), "given_back", 0) for one in ids] == [1, 1, 1])
        monkeypatch.setattr(InMemoryTasks, "leave", leave_)
        await pool.crash(0)
        world.opened.set()
        assert await back(pool, count=3) == ["opened"] * 3
        assert sorted(one.task_id for one in world.calls) == sorted(ids[:2] * 2 + ids[2:])
        assert {one.attempt for one in world.calls} == {1}


async def test_a_worker_that_leaves_gives_its_tasks_back_and_that_is_no_attempt(world: World) -> None:
    async with local_pool(model, config=CONFIG) as pool:
        for _ in range(5):
            await errand(pool).echo("warm")
        await errand(pool).wait()
        await until(lambda: world.running == 1)
        world.calls.clear()
        for turn in range(4):
            runner = next(
                one.runtime for one in pool.workers if one.runtime.readings().values["aether_running_tasks"][()]
            )
            await runner.finish_tasks()
            slot = next(n for n, one in enumerate(pool.workers) if one.runtime is runner)
            await pool.crash(slot)
            await until(lambda: len(world.calls) == turn + 1)  # noqa: B023 - called at once
        assert [one.attempt for one in world.calls] == [1, 1, 1, 1]
        world.opened.set()
        await until(lambda: ("waits", "ok") in outcomes(pool))


# ------------------------------------------------------------------------------------------------ what is refused


@task
def lone() -> int:
    """In no model."""
    return 1


class Wrong(Actor):
    """Starts what cannot be."""

    @command
    def unknown(self) -> None:
        self.start_task(lone())

    @command
    def bad_argument(self) -> None:
        self.start_task(echo(cast(str, 7)))

    @command
    def foreign(self) -> None:
        self.start_task(echo("x"), then=cast(Any, Errand.came))

    @command
    def takes_two(self, one: str, two: str) -> None:
        self.start_task(echo("x"), then=cast(Any, Wrong.takes_two))

    @command
    def to_a_query(self) -> None:
        self.start_task(echo("x"), then=cast(Any, Wrong.asks))

    @command
    def no_call(self) -> None:
        self.start_task(cast(Any, echo))

    @query
    def asks(self, what: str = "") -> None:
        self.start_task(echo("x"))

    @command
    def came(self, what: str) -> None: ...

    @command
    def failed(self, failed: TaskFailed) -> None: ...


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("unknown", (), "has no task 'lone'"),
        ("bad_argument", (), "text"),
        ("foreign", (), "then is a command of the actor that starts the task, wrong, not of errand"),
        ("takes_two", ("a", "b"), r"takes_two\(one, two\) is called with one argument by position"),
        ("to_a_query", (), "takes a command as its class has it"),
        ("no_call", (), "takes a call of a task"),
    ],
)
async def test_what_cannot_be_started_is_refused(name: str, args: tuple[str, ...], why: str, world: World) -> None:
    model = Model("wrong", actors=[Wrong, Errand], tasks=[echo])
    given(Wrong, model=model).when(name, *args).then_failed()
    async with local_pool(model) as pool:
        with pytest.raises((InvalidCommand, ActorFailed), match=why):
            await getattr(pool.client.actor(Wrong, "a"), name)(*args)
        with pytest.raises(ActorFailed, match="the query asks started a task"):
            await pool.client.actor(Wrong, "a").asks()


@dataclass(frozen=True)
class Heard:
    """An answer came."""

    what: str


class Listening(Actor):
    """A base of actors that start a task."""

    heard: tuple[str, ...] = ()

    @command
    def send(self, what: str) -> None:
        self.start_task(echo(what), then=Listening.came, failed=Listening.failed)

    @command
    def came(self, what: str) -> None:
        self.emit(Heard(what))

    @command
    def failed(self, failed: TaskFailed) -> None: ...

    @event
    def on(self, e: Heard) -> None:
        self.heard += (e.what,)


class Child(Listening):
    """Inherits the command that starts it."""


class Loud(Listening):
    """Has a command of its own for the result."""

    @command
    def came(self, what: str) -> None:
        self.emit(Heard(what.upper()))


@policy
def again(event: Heard, context: PolicyContext[Listening]) -> None:
    """Once more."""
    if len(context.state.heard) == 1:
        context.start_task(echo("again"), then=Listening.came)


@pytest.mark.parametrize(("kind", "heard"), [(Child, ("x", "again")), (Loud, ("X", "AGAIN"))])
@pytest.mark.parametrize("with_base", [True, False])
async def test_an_inherited_command_starts_tasks_of_its_actor(
    kind: type[Listening], heard: tuple[str, ...], with_base: bool, world: World
) -> None:
    actors = [kind, Listening] if with_base else [kind]
    async with local_pool(Model("heirs", actors=actors, tasks=[echo], policies=[again])) as pool:
        await pool.client.actor(kind, "a").send("x")
        await pool.clock.advance()
        assert (await pool.client.state(kind, "a")).state.heard == heard


# ------------------------------------------------------------------------------------------------ around it


async def test_log_lines_of_a_task_say_for_which(
    pool: LocalPool, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(CommandFilter())
    world.gate.set()
    with caplog.at_level(logging.INFO, "shop.errands"):
        client = pool.client.using(command_id="first", correlation_id="together", traceparent=TRACE)
        task_id = await client.actor(Errand, "a").echo("x")
        await errand(pool).block()
        await back(pool, count=2)
    first = next(one for one in caplog.records if one.getMessage() == "at work").__dict__
    wanted = {"actor": "errand/a", "task": "echo", "task_id": task_id, "attempt": "1", "command_id": "first",
              "correlation_id": "together"}  # fmt: skip
    assert {name: first.get(name) for name in wanted} == wanted
    assert next(one for one in caplog.records if one.getMessage() == "in a thread").__dict__["task"] == "blocks"
    assert (world.calls[0].correlation_id, world.calls[0].traceparent) == ("together", TRACE)
    stored = [one async for one, _ in pool.client.untyped.history(ActorId("errand", "a"))]
    result = next(one for one in stored if one.type == "Back")
    assert (result.correlationid, result.causationid, result.traceparent) == ("together", "first", TRACE)


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_given_shows_what_was_started_and_cancelled() -> None:
    outcome = given(Errand, model=model).when(Errand.echo, "x")
    assert outcome.tasks == (started(echo("x"), then=Errand.came, failed=Errand.failed),)
    outcome.then(Sent("test-task-1"), reply="test-task-1")
    assert given(Errand).when(Errand.cancel, "one").cancelled_tasks == ("one",)
    assert given(Errand).when(Errand.start_and_fail).tasks == ()


def test_given_refuses_commands_that_never_take_what_comes() -> None:
    outcome = given(Misfit, model=Model("misfit", actors=[Misfit], tasks=[echo])).when(Misfit.begin)
    assert isinstance(outcome.error, InvalidCommand)
    assert outcome.error.path == "then"


class Misfit(Actor):
    """Mistakes a text for a number."""

    @command
    def begin(self) -> None:
        self.start_task(echo("x"), then=cast(Any, Misfit.counted))

    @command
    def counted(self, number: int) -> None: ...
