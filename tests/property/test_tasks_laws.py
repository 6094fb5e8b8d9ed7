"""Laws of tasks, over random crashes, drains, faults of the connection, failures, cancels and times, in memory.

The runner's world is a namespace in memory with a clock that the test moves. Starts are relayed as an owner does it.
What is stored in the inbox is the judge: each task that was not cancelled has a result in the end, and it is its own.
Which result of a task counts is the agenda's matter. With a safeguard taken away the law has to break.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from aether import Actor, Model, Retry, TaskContext, TaskFailed, command, task
from aether.config import RuntimeConfig
from aether.core.backoff import Backoff
from aether.errors import AetherError
from aether.ids import ActorId
from aether.memory.clock import ManualClock
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import Disconnected, Fault, FaultPoint, Faults, Late, Lost, StoredUnknown
from aether.memory.server import InMemoryServer
from aether.memory.task_queue import TaskQueue
from aether.names import shard_of
from aether.runtime import task_apart, task_runner, task_store
from aether.runtime.counters import Counters
from aether.runtime.task_run import TaskRun
from aether.runtime.task_runner import TaskRunner
from aether.runtime.task_worker import TaskWorker
from aether.sends import StartTask, encode_send
from aether.tells import Tell, decode_told

SHARDS = 4
TTL_S = 9.0
ATTEMPTS = 3
WORKERS = 2
ROUNDS_MAX = 400


class Calls:
    """What the outside world saw: which task was called, by its id, and how often each is to fail."""

    def __init__(self) -> None:
        self.fail: dict[str, int] = {}
        self.seen: dict[str, list[int]] = {}
        self.hold: set[str] = set()


calls = Calls()


@task(retry=Retry(first_s=1, cap_s=8, attempts=ATTEMPTS))
async def work(context: TaskContext, number: int) -> int:
    """Fail as often as the test says."""
    seen = calls.seen.setdefault(context.task_id, [])
    seen.append(context.attempt)
    for _ in range(number % 3):
        await asyncio.sleep(0)
    if context.attempt <= calls.fail.get(context.task_id, 0):
        raise ConnectionError("no")
    return number


@task(retry=Retry(first_s=1, cap_s=8, attempts=ATTEMPTS))
async def other(context: TaskContext, number: int) -> int:
    """Another type, that fails the same way."""
    return await work.function(context, number)  # type: ignore[no-any-return]


class Owner(Actor):
    """Waits for numbers."""

    @command
    def came(self, number: int) -> None: ...

    @command
    def failed(self, failed: TaskFailed) -> None: ...


MODEL = Model("tasks", actors=[Owner], tasks=[work, other])


class Pool:
    """Workers that run tasks, and the stream that holds what became of them."""

    def __init__(self, chance: random.Random, fault_rate: float) -> None:
        self.clock = ManualClock()
        self.chance = chance
        self.rate = fault_rate
        self.server = InMemoryServer(clock=self.clock)
        self.space = self.server.space("tasks", SHARDS)
        self.owner = InMemoryConnection(self.server, "tasks", shards=SHARDS)
        self.workers: list[tuple[InMemoryConnection, TaskRunner]] = []
        self.mark = 0
        self.cancelled: set[str] = set()
        self.started: dict[str, int] = {}

    def _fault(self, step: FaultPoint) -> Fault | None:
        if step not in (
            FaultPoint.TELL,
            FaultPoint.TELL_READ,
            FaultPoint.TASK,
            FaultPoint.TABLE_READ,
            FaultPoint.TABLE_WRITE,
        ):
            return None
        if self.chance.random() >= self.rate:
            return None
        options: list[Fault] = [Lost()]
        if step is not FaultPoint.TASK:
            options += [Late(self.chance.choice([0.5, 5.0])), Disconnected(self.chance.choice([0.5, 2 * TTL_S]))]
        if step in (FaultPoint.TELL, FaultPoint.TABLE_WRITE):
            options.append(StoredUnknown())
        return self.chance.choice(options)

    def add_worker(self) -> None:
        connection = InMemoryConnection(self.server, "tasks", shards=SHARDS, faults=Faults(self._fault))
        worker = TaskWorker(
            tasks=connection.tasks,
            inbox=connection.inbox,
            shards=SHARDS,
            clock=self.clock,
            config=RuntimeConfig(tasks_running_max=3, task_drain_s=0.0, cancel_grace_s=0.01),
            counters=Counters(),
            jitter=self.chance.random,
            ttl_s=TTL_S,
            resources=lambda: None,
            command_type=lambda kind, name: MODEL.actor_type(kind).commands[name],
            foreign=lambda error: error,
        )
        runner = TaskRunner(worker, MODEL.task_types)
        runner.start()
        self.workers.append((connection, runner))

    async def start(self, number: int, fail: int) -> None:
        if not self.mark:
            self.mark = await self.owner.inbox.claim_relay(0, b"", 0) or 0
        task_id, name = f"t{number}", ("work", "other")[number % 2]
        calls.fail[task_id] = fail
        self.started[task_id] = number
        start = StartTask(
            id=task_id, task=name, args=work_args(number), then="came", failed="failed", source=f"owner/o{number % 5}",
            position=number + 1,
        )  # fmt: skip
        assert await self.owner.inbox.relay_task(name, 0, encode_send(start), self.mark) is not None

    async def crash(self, which: int) -> None:
        connection, runner = self.workers.pop(which % len(self.workers))
        connection.close()
        await runner.close(1.0)
        self.add_worker()

    async def drain(self, which: int) -> None:
        connection, runner = self.workers.pop(which % len(self.workers))
        await runner.drain()
        await runner.close(1.0)
        connection.close()
        self.add_worker()

    async def cancel(self, number: int) -> None:
        task_id = f"t{number}"
        if task_id in self.started:
            self.cancelled.add(task_id)
            await self.owner.tasks.cancel(task_id, "actor")

    def results(self) -> dict[str, list[Tell]]:
        found: dict[str, list[Tell]] = {}
        for entry in self.space.tells:
            if entry.subject.endswith(".client"):
                tell = decode_told(entry.payload)[0]
                found.setdefault(tell.id.removeprefix("task:"), []).append(tell)
        return found

    async def settle(self) -> None:
        """Let time pass, without faults, until nothing is left to do."""
        self.rate = 0.0
        for _ in range(ROUNDS_MAX):
            await asyncio.sleep(0.0005)
            idle = sum(runner.running for _, runner in self.workers) == 0
            if idle and all(not queue.waiting and not queue.taken for queue in self.space.task_queues.values()):
                return
            self.clock.advance(1.0)
        left = {name: (one.waiting, one.taken) for name, one in self.space.task_queues.items()}
        raise AssertionError(f"work is left over: {left}")


def work_args(number: int) -> Raw:
    return Raw(MODEL.task_types["work"].encode_args((number,), {}))


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


Step_ = tuple[str, int, int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "start", "turns", "time", "crash", "drain", "cancel"]),
        st.integers(0, 40),
        st.integers(0, 4),
    ),
    max_size=40,
)


async def play(script: list[Step_], seed: int, fault_rate: float) -> Pool:
    global calls  # noqa: PLW0603 - tasks find it here
    calls = Calls()
    pool = Pool(random.Random(seed), fault_rate)  # noqa: S311 - a test's choices
    for _ in range(WORKERS):
        pool.add_worker()
    number = 0
    for what, which, many in script:
        match what:
            case "start":
                await pool.start(number, many)
                number += 1
            case "turns":
                await turns(which)
            case "time":
                pool.clock.advance(float(many))
            case "crash":
                await pool.crash(which)
            case "drain":
                await pool.drain(which)
            case _:
                with suppress(AetherError):
                    await pool.cancel(which)
        await turns(which % 7)
    await pool.settle()
    for connection, runner in pool.workers:
        await runner.close(1.0)
        connection.close()
    return pool


def check(pool: Pool) -> None:
    """Each task has a result, unless it was cancelled; the first one is right, and no other differs in kind wrongly."""
    results = pool.results()
    for task_id, number in pool.started.items():
        found = results.get(task_id, [])
        if task_id not in pool.cancelled:
            assert found, f"{task_id} has no result"
        for tell in found:
            owner = ActorId("owner", f"o{number % 5}")
            assert (tell.target, tell.id) == (owner, f"task:{task_id}")
            if tell.command == "came":
                assert bytes(tell.args) == b'{"number":%d}' % number
                assert max(calls.seen[task_id]) > calls.fail[task_id], "a result of a call that failed"
            else:
                assert tell.command == "failed"
        attempts = calls.seen.get(task_id, [])
        assert all(1 <= one <= ATTEMPTS for one in attempts), f"{task_id} was called as attempt {attempts}"
    assert set(results) <= set(pool.started)
    places = {shard_of(tell.target, SHARDS) for found in results.values() for tell in found}
    assert places <= set(range(SHARDS))


def run(work: Coroutine[Any, Any, Pool]) -> Pool:
    with asyncio.Runner() as runner:
        return runner.run(work)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of the event loop, which the clock does not move, are short."""
    short = Backoff(first_s=0.0001, cap_s=0.0005)
    monkeypatch.setattr(task_runner, "AGAIN", short)
    monkeypatch.setattr(task_store, "SEND_AGAIN", short)
    monkeypatch.setattr(task_apart, "SETTLE_S", 0.0)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(script=steps, seed=st.integers(0, 2**32), fault_rate=st.sampled_from([0.0, 0.02, 0.2]))
def test_no_task_is_lost_and_each_result_is_its_own(script: list[Step_], seed: int, fault_rate: float) -> None:
    check(run(play(script, seed, fault_rate)))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.integers(0, 2**32))
def test_without_faults_each_task_is_called_as_often_as_it_has_to_be(fails: list[int], seed: int) -> None:
    async def starts() -> Pool:
        script = [("start", 0, fail) for fail in fails]
        return await play(script, seed, 0.0)

    pool = run(starts())
    check(pool)
    for number, fail in enumerate(fails):
        assert calls.seen[f"t{number}"] == list(range(1, fail + 2))
        assert [tell.command for tell in pool.results()[f"t{number}"]] == ["came"]


# ------------------------------------------------------------------------------------------------ ablations


def acknowledged_first(patch: pytest.MonkeyPatch) -> None:
    """A start that is acknowledged before its result is stored is lost with its worker."""
    tell = TaskRun._tell

    async def early(self: TaskRun, *arguments: Any) -> bool:
        self._worker.tasks.done(self.claim)
        return await tell(self, *arguments)

    patch.setattr(TaskRun, "_tell", early)


def never_handed_out_again(patch: pytest.MonkeyPatch) -> None:
    """A server that hands a start out once loses it with its worker."""
    put_off = TaskQueue.put_off

    def once(self: TaskQueue, sequence: int, delay_s: float) -> None:
        put_off(self, sequence, delay_s if delay_s != self.ttl_s else 1e9)

    patch.setattr(TaskQueue, "put_off", once)


CRASHES = [("start", 0, 0), ("turns", 6, 0), ("crash", 0, 0), ("crash", 1, 0), ("time", 0, 4), ("turns", 9, 0)] * 4


@pytest.mark.parametrize("ablation", [acknowledged_first, never_handed_out_again], ids=lambda one: one.__name__)
def test_without_a_safeguard_a_task_is_lost(
    ablation: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ablation(monkeypatch)
    with pytest.raises(AssertionError, match=r"has no result|work is left over"):
        crash_in_many_places()


def crash_in_many_places() -> None:
    for seed in range(60):
        check(run(play([("turns", seed % 9, 0), *CRASHES], seed, 0.2)))


def test_with_all_of_them_none_is() -> None:
    crash_in_many_places()
