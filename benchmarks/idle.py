"""What an idle pool costs: CPU of server, supervisor and each worker while no command comes.

256 shards, whose leases, heartbeats and subscriptions are all there is to do. The floor is the hand-written program
with no more than its subscriptions. Both idle at the same time, each on a server of its own.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence

import uvloop

from benchmarks.figures import AETHER, Measured, Point
from benchmarks.processes import cpu_by_name
from benchmarks.server import Server
from benchmarks.sides import Side, aether_side, floor_side
from benchmarks.suite import Settings

SHARDS = 256
SETTLE_S = 5.0
"""From ready to idle: what a start leaves behind."""


def idle(settings: Settings) -> Iterator[Point]:
    """CPU in per cent of one core."""
    for workers in settings.workers or (1, 2):
        rounds = [uvloop.run(one_round(workers, settings)) for _ in range(settings.rounds)]
        runs = {name: [round_[name] for round_ in rounds] for name in (AETHER, "floor single")}
        seconds = settings.size(30, 5)
        yield Point(name="idle", workers=workers, runs=runs, more={"shards": SHARDS, "seconds": seconds})


async def one_round(workers: int, settings: Settings) -> dict[str, Measured]:
    """Watch both sides for a while."""
    async with contextlib.AsyncExitStack() as stack:
        ours, theirs = (stack.enter_context(Server("default")) for _ in range(2))
        shards = {"AETHER_SHARDS": str(SHARDS)}
        sides: dict[str, Side] = {
            AETHER: await stack.enter_async_context(aether_side(ours, workers, shards)),
            "floor single": await stack.enter_async_context(floor_side(theirs, "single", workers)),
        }
        watched = {name: _apart(side.processes) for name, side in sides.items()}
        await asyncio.sleep(settings.size(1, 0) * SETTLE_S)
        before = {name: cpu_by_name(processes) for name, processes in watched.items()}
        begun_s = time.monotonic()
        await asyncio.sleep(settings.size(30, 5))
        took_s = time.monotonic() - begun_s
        spent = {name: cpu_by_name(processes) for name, processes in watched.items()}
    return {
        name: Measured(figures={f"{who}, % of a core": 100 * (used - before[name][who]) / took_s
                                for who, used in spent[name].items()})
        for name in spent
    }  # fmt: skip


def _apart(processes: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Each process on its own, without the load, which is idle here."""
    return {
        f"worker {place}" if name == "worker" else name: [pid]
        for name, pids in processes.items()
        for place, pid in enumerate(pids)
        if pid != os.getpid()
    }
