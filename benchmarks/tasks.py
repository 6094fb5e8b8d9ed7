"""Tasks: a function that does nothing, from the command that starts it until its result is committed.

    python -m benchmarks tasks --sync default barrier --workers 1 2 --rounds 3

Each of 100 actors has a caller that starts one task after the other, and waits for the answer of each start, not for
the task. What is measured is how many tasks are done per second, from the first command until the last result is
committed. The promise is at least 2,000 per second. Beside it:

- `two calls`: the client sends the same two commands itself, one after the other: two commits, and no task.

`plain calls per task` is the CPU of server and workers per task, as a multiple of that of one such call.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from aether import Client
from benchmarks.errands import MODEL, Asked, Done, Errand, model
from benchmarks.figures import AETHER, Measured, Point, timed
from benchmarks.load import account_name, set_aside, spent
from benchmarks.processes import cpu_by_name
from benchmarks.server import Server
from benchmarks.sides import AetherSide, aether_side
from benchmarks.suite import Settings, alternate, check
from benchmarks.tells import until_applied

ACTORS = 100
SYNC = ("default", "barrier")
WORKERS = (1, 2)
FUNCTIONS = {"coroutine functions": "start", "plain functions": "start_in_a_thread"}
"""The command that starts a task, by what its function is."""

TWO_CALLS = "two calls"
PLAIN_CALLS = "plain calls per task"
_TASKS = (10_000, 1_000)
"""How many are started, in full and quick."""


def tasks(settings: Settings) -> Iterator[Point]:
    """Tasks done per second."""
    actors = (settings.in_flight or (ACTORS,))[0]
    each = settings.deposits_or(*_TASKS) // actors
    for sync in settings.sync or SYNC:
        for workers in settings.workers or WORKERS:
            for case, start in FUNCTIONS.items():

                async def one_round(contestant: str, server: Server, _: int) -> Measured:
                    async with aether_side(server, workers, where=MODEL, model=model) as side:  # noqa: B023 - awaited in this turn
                        return await tasks_on(side, start if contestant == AETHER else TWO_CALLS, actors, each)  # noqa: B023

                runs = in_plain_calls(alternate((AETHER, TWO_CALLS), settings, sync, one_round))
                more = {"actors": actors, "tasks": actors * each}
                yield Point(
                    name="tasks", case=case, in_flight=actors, sync=sync, workers=workers, unit="tasks", runs=runs,
                    more=more,
                )  # fmt: skip


async def tasks_on(side: AetherSide, way: str, actors: int, each: int) -> Measured:
    """Have one task of each actor run, then measure, and check each actor's history."""
    await asyncio.gather(*(_errand(side, way, actor, 0) for actor in range(actors)))
    told = 0 if way == TWO_CALLS else actors
    await until_applied(side.client, told)
    latencies_s: list[float] = []

    async def one_caller(actor: int) -> None:
        for number in range(1, each + 1):
            begun_s = time.perf_counter()
            await _errand(side, way, actor, number)
            latencies_s.append(time.perf_counter() - begun_s)

    with set_aside():
        before = cpu_by_name(side.processes)
        begun_s = time.perf_counter()
        await asyncio.gather(*(one_caller(actor) for actor in range(actors)))
        await until_applied(side.client, told * (each + 1))
        took_s = time.perf_counter() - begun_s
    count = actors * each
    cpu_s = spent(before, side.processes, count)
    for actor in range(actors):
        await check_done(side.client, account_name(actor), range(each + 1))
    return timed(latencies_s, count / took_s, cpu_s)


async def check_done(client: Client, key: str, numbers: Sequence[int]) -> None:
    """End the run unless each of these was asked for and done once, and nothing else was."""
    history = await client.history(Errand, key)
    asked = sorted(one.event.number for one in history if isinstance(one.event, Asked))
    done = sorted(one.event.number for one in history if isinstance(one.event, Done))
    wanted = sorted(numbers)
    check(asked == wanted, f"{key} was asked for {len(asked)}, not for {len(wanted)}")
    check(done == wanted, f"of {len(wanted)} errands of {key} {len(set(done))} were done, {len(done)} times in all")


def in_plain_calls(runs: dict[str, list[Measured]]) -> dict[str, list[Measured]]:
    """The same rounds; those of tasks say what one costs in calls of the round beside it."""
    told = [
        replace(ours, figures={PLAIN_CALLS: 2 * _pool(ours) / _pool(calls)}) if _pool(calls) else ours
        for ours, calls in zip(runs[AETHER], runs[TWO_CALLS], strict=True)
    ]
    return {**runs, AETHER: told}


def _pool(measured: Measured) -> float:
    return sum(measured.cpu_s.get(name, 0.0) for name in ("server", "worker"))


async def _errand(side: AetherSide, way: str, actor: int, number: int) -> None:
    errand = side.client.actor(Errand, account_name(actor))
    if way == TWO_CALLS:
        await errand.note(number)
        await errand.finish(number)
    else:
        await getattr(errand, way)(number)
