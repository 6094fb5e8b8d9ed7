"""Tasks in a real pool: workers are killed and drained, the server dies, functions fail, take long and end processes.

Each call is a line in a file, with the task's id, the attempt and the process; the histories say what came back.
"""

import asyncio
import os
import random
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

import aether
from tests.support.errands import CALLS, Errand, Lost, model
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool

MODEL = "tests.support.errands:model"
TTL_S = 2
SETTLE_S = 60


class Call(NamedTuple):
    """One call of a function."""

    task_id: str
    attempt: int
    pid: int
    text: str


class Trial:
    """A pool under test."""

    def __init__(self, server: NatsServer, namespace: str, pool: Pool, calls: Path, client: aether.Client) -> None:
        self.server = server
        self.namespace = namespace
        self.pool = pool
        self.client = client
        self._calls = calls

    def errand(self, key: str = "a") -> Errand:
        return self.client.actor(Errand, key, deadline_s=30)

    def calls(self) -> list[Call]:
        lines = self._calls.read_text().splitlines() if self._calls.exists() else []
        return [Call(one[0], int(one[1]), int(one[2]), one[3]) for one in (line.split(" ", 3) for line in lines)]

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(SETTLE_S):
            while not reached():  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.02)

    async def back(self, key: str = "a", count: int = 1) -> list[str]:
        async with asyncio.timeout(SETTLE_S):
            while len(found := await self.errand(key).results()) < count:  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.02)
        return found

    async def lost(self, key: str = "a") -> Lost:
        async with asyncio.timeout(SETTLE_S):
            while not (found := await self.errand(key).losses()):  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.02)
        return found[0]


@asynccontextmanager
async def trial(
    tmp_path: Path, *options: str, workers: int = 2, variables: Mapping[str, str] | None = None, barrier: bool = False
) -> AsyncIterator[Trial]:
    namespace, calls = fresh_namespace(), tmp_path / "calls"
    with NatsServer() as server:
        environment = {
            **os.environ,
            CALLS: str(calls),
            "AETHER_MEMBER_TTL_S": str(TTL_S),
            "AETHER_NATS_STORE": str(server.store),
            **(variables or {}),
        }
        sync = ["--sync", "barrier"] if barrier else []
        arguments = ["--workers", str(workers), "--nats", server.url, "--namespace", namespace, *sync, *options]
        with Pool(MODEL, *arguments, variables=environment) as pool:
            async with aether.connect(server.url, model=model, namespace=namespace) as client:
                yield Trial(server, namespace, pool, calls, client)


async def test_tasks_of_several_types_run_and_their_results_come_back(tmp_path: Path) -> None:
    async with trial(tmp_path) as one:
        for n in range(20):
            await one.errand(f"{n % 5}").note(f"n{n}")
            await one.errand(f"{n % 5}").note_async(f"a{n}")
            await one.errand(f"{n % 5}").echo(f"e{n}")
        for n in range(5):
            found = await one.back(f"{n}", 12)
            assert Counter(found) == Counter(f"{kind}{m}" for kind in "nae" for m in range(20) if m % 5 == n)
        assert len({call.pid for call in one.calls()}) == 2, "one worker has done all of it"


async def test_a_worker_that_is_killed_gives_its_task_back_within_the_ttl(tmp_path: Path) -> None:
    async with trial(tmp_path) as one:
        task_id = await one.errand().note_async("slow", 1.0)
        await one.until(lambda: len(one.calls()) == 1)
        os.kill(one.calls()[0].pid, signal.SIGKILL)
        killed_s = asyncio.get_running_loop().time()
        await one.until(lambda: len(one.calls()) == 2)
        assert asyncio.get_running_loop().time() - killed_s < TTL_S + 2
        assert await one.back() == ["slow"]
        first, second = one.calls()
        assert (first.task_id, first.attempt, second.task_id, second.attempt) == (task_id, 1, task_id, 2)
        assert first.pid != second.pid


@pytest.mark.parametrize("kind", ["thread", "loop"])
async def test_a_task_that_takes_longer_than_the_ttl_keeps_its_claim(tmp_path: Path, kind: str) -> None:
    async with trial(tmp_path) as one:
        errand = one.errand()
        await (errand.note("long", 2.5 * TTL_S) if kind == "thread" else errand.note_async("long", 2.5 * TTL_S))
        assert await one.back() == ["long"]
        assert len(one.calls()) == 1


async def test_what_fails_is_tried_again_and_then_given_up(tmp_path: Path) -> None:
    async with trial(tmp_path) as one:
        task_id = await one.errand().note("twice", fail=2)
        assert await one.back() == ["twice"]
        assert [(call.task_id, call.attempt) for call in one.calls()] == [(task_id, n) for n in (1, 2, 3)]
        hopeless = await one.errand("b").note("never", fail=99)
        assert await one.lost("b") == Lost("no 3", "ConnectionError", 3)
        assert [call.attempt for call in one.calls() if call.task_id == hopeless] == [1, 2, 3]


async def test_one_that_ends_its_worker_each_time_is_given_up_and_its_neighbours_go_on(tmp_path: Path) -> None:
    async with trial(tmp_path) as one:
        await one.errand().end_worker()
        for n in range(10):
            await one.errand(f"b{n}").note("neighbour")
        assert (await one.lost()).error_type == "WorkerLost"
        for n in range(10):
            assert await one.back(f"b{n}") == ["neighbour"]
        assert [call.attempt for call in one.calls() if call.text == "end"] == [1, 2]


async def test_what_one_that_ends_workers_takes_along_has_its_result_in_the_end(tmp_path: Path) -> None:
    """It has as many attempts as each of them, and they are all on one worker."""
    async with trial(tmp_path, workers=1) as one:
        for n in range(3):
            await one.errand(f"b{n}").note_async("neighbour", 1.5)
        await one.until(lambda: len(one.calls()) == 3)
        await one.errand().end_workers()
        assert (await one.lost()).error_type == "WorkerLost"
        assert [call.attempt for call in one.calls() if call.text == "end"] == [1, 2, 3]
        for n in range(3):
            assert await one.back(f"b{n}") == ["neighbour"]


async def test_one_that_blocks_the_loop_ends_its_worker_and_its_neighbours_go_on(tmp_path: Path) -> None:
    async with trial(tmp_path, "--loop-silent-kill", "2", variables={"AETHER_MEMBER_TTL_S": "4"}) as one:
        await one.errand().block_worker()
        for n in range(10):
            await one.errand(f"b{n}").note("neighbour")
        assert (await one.lost()).error_type == "WorkerLost"
        for n in range(10):
            assert await one.back(f"b{n}") == ["neighbour"]
        assert [call.attempt for call in one.calls() if call.text == "block"] == [1]


async def test_a_cancelled_task_gives_nothing_and_its_function_ends(tmp_path: Path) -> None:
    async with trial(tmp_path) as one:
        task_id = await one.errand().note_async("cancelled", 600)
        await one.until(lambda: len(one.calls()) == 1)
        await one.errand().cancel(task_id)
        await one.errand().note("next")
        assert await one.back() == ["next"]
        assert one.pool.drain() == 0, "the cancelled function has held its worker up"
        assert await_calls(one, task_id) == 1


def await_calls(one: Trial, task_id: str) -> int:
    return sum(call.task_id == task_id for call in one.calls())


async def test_a_worker_that_drains_gives_its_tasks_back(tmp_path: Path) -> None:
    async with trial(tmp_path, variables={"AETHER_TASK_DRAIN_S": "0.2"}) as one:
        await one.errand().note_async("carried", 3.0)
        await one.until(lambda: len(one.calls()) == 1)
        os.kill(one.calls()[0].pid, signal.SIGTERM)
        began_s = asyncio.get_running_loop().time()
        await one.until(lambda: len(one.calls()) == 2)
        assert asyncio.get_running_loop().time() - began_s < TTL_S, "it waited for the end of its time to live"
        assert await one.back() == ["carried"]
        assert [call.attempt for call in one.calls()] == [1, 1]


async def started(one: Trial, keys: Sequence[str], rounds: int) -> dict[str, list[str]]:
    """Start tasks from several actors; what was acknowledged."""
    found: dict[str, list[str]] = defaultdict(list)

    async def start(key: str) -> None:
        for n in range(rounds):
            errand = one.client.actor(Errand, key, deadline_s=60, command_id=f"{key}-{n}")
            await errand.note(f"{key}-{n}", 0.01 * (n % 3), n % 2)
            found[key].append(f"{key}-{n}")

    await asyncio.gather(*(start(key) for key in keys))
    return found


@pytest.mark.parametrize("victim", ["workers", "server"])
async def test_kills_lose_no_task_and_repeat_no_result(tmp_path: Path, victim: str) -> None:
    chance = random.Random(5)  # noqa: S311 - no secret
    keys = [f"k{n}" for n in range(8)]
    async with trial(tmp_path, workers=3, barrier=victim == "server") as one:
        starting = asyncio.create_task(started(one, keys, 12))
        for round_ in range(3):
            await one.until(lambda: len(one.calls()) > 20 * (round_ + 1))  # noqa: B023 - called at once
            if victim == "server":
                one.server.kill()
                one.server.start()
            else:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(one.calls()[-5:]).pid, signal.SIGKILL)
        wanted = await starting
        for key in keys:
            found = await one.back(key, len(wanted[key]))
            lost = await one.errand(key).losses()
            assert lost == []
            assert Counter(found) == Counter(wanted[key])
        ids: dict[str, set[str]] = defaultdict(set)
        for call in one.calls():
            ids[call.text].add(call.task_id)
        assert all(len(found) == 1 for found in ids.values()), "a task was called under two ids"
