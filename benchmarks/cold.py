"""Asking actors that no worker has in memory, on one server whose histories are there already.

A pool is killed and started again before each of its rounds: a drain would write snapshots. The floor has no memory.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

import nats
import uvloop

from benchmarks.bank import Account
from benchmarks.figures import AETHER, Measured
from benchmarks.floor import FloorClient
from benchmarks.hosts import Host
from benchmarks.processes import children_of, running
from benchmarks.server import Server
from benchmarks.sides import client_of
from benchmarks.suite import Settings, bounded, check

FLOOR = "floor reader"
COLD = {"AETHER_SNAPSHOT_AFTER_REPLAY_S": "0"}
"""What is measured must not make the snapshots that the next round is to do without."""

Ask: TypeAlias = Callable[[str, int], Awaitable[int]]
"""Ask an account for its balance; a wrong one ends the run."""

Processes: TypeAlias = Mapping[str, Sequence[int]]
Measure: TypeAlias = Callable[[Ask, Processes], Awaitable[dict[str, Measured]]]


def alternate_cold(settings: Settings, server: Server, measure: Measure) -> dict[str, list[dict[str, Measured]]]:
    """Rounds of a pool that has no actor in memory and of the floor, taking turns."""
    results: dict[str, list[dict[str, Measured]]] = {AETHER: [], FLOOR: []}
    with Host(server.url, "a", 1, variables=COLD) as host:
        host.wait_ready()
        for round_ in range(settings.rounds):
            restart(host)
            rounds = {AETHER: aether_reader(server, host), FLOOR: floor_reader(server)}
            for name in (AETHER, FLOOR) if round_ % 2 == 0 else (FLOOR, AETHER):
                results[name].append(uvloop.run(bounded(_round(rounds[name], measure))))
        host.kill()
    return results


async def _round(
    side: contextlib.AbstractAsyncContextManager[tuple[Ask, Processes]], measure: Measure
) -> dict[str, Measured]:
    async with side as (ask, processes):
        await ask("warm-up", 0)
        return await measure(ask, processes)


def restart(host: Host) -> None:
    """Kill the pool and start it again."""
    ready = host.said_ready()
    host.kill()
    host.again()
    host.wait_ready(ready + 1)


@contextlib.asynccontextmanager
async def aether_reader(server: Server, host: Host) -> AsyncIterator[tuple[Ask, Processes]]:
    """The pool, asked through the public client for states, which stores nothing."""
    async with client_of(server) as client:

        async def ask(key: str, expected: int) -> int:
            found = (await client.state(Account, key)).state.balance
            check(found == expected, f"{key} has {found}, not {expected}")
            return found

        supervisor, *workers = children_of(host.process.pid)
        yield (
            ask,
            {"server": [server.pid], "worker": workers, "supervisor": [supervisor], "load": [os.getpid()]},
        )


@contextlib.asynccontextmanager
async def floor_reader(server: Server) -> AsyncIterator[tuple[Ask, Processes]]:
    """The hand-written reader."""
    with running(["-m", "benchmarks.floor_reader", server.url]) as process:
        connection = await nats.connect(server.url, pending_size=0, allow_reconnect=False)
        client = FloorClient(connection)
        await client.start()

        async def ask(key: str, expected: int) -> int:
            found = await client.ask(f"floor.read.{key}", {})
            check(found == expected, f"the floor says {key} has {found}, not {expected}")
            return found

        try:
            yield ask, {"server": [server.pid], "worker": [process.pid], "load": [os.getpid()]}
        finally:
            await connection.close()
