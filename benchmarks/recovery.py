"""How long a user waits when something happens to a worker, a host or the server.

    python -m benchmarks.recovery [--rounds 20] [start crash restart frozen host moves]

Real supervisors, workers and a nats-server with `sync_interval: always`, all on this machine, with a member ttl of 5 s.
Actors are asked from outside through one client, as any user asks; every figure is what that client saw. The load under
a planned move is closed: some callers, each with one command in flight, and no command may fail.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from aether.client import Client
from aether.config import CallConfig, ConnectionConfig
from aether.connecting import connect, connect_untyped
from aether.core.cluster.overview import ShardState
from benchmarks.bank import Account, model
from benchmarks.hosts import NAMESPACE, Host
from benchmarks.server import Server

ACTORS = 512
CALLERS = 16
DEADLINE_S = 30.0
TTL_S = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*MEASUREMENTS, []], help="default: all")
    parser.add_argument("--rounds", type=int, default=20, help="crashes of a worker")
    options = parser.parse_args(arguments)
    print("| what happens | measured | bar |\n|---|---|---|", flush=True)
    for name in options.what or MEASUREMENTS:
        for row in uvloop.run(MEASUREMENTS[name](options)):
            print("| " + " | ".join(row) + " |", flush=True)


@contextlib.asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Client]:
    """A client whose every actor has been used once."""
    connection = ConnectionConfig(url=url)
    calls = CallConfig(deadline_s=DEADLINE_S)
    async with connect(url, model=model, namespace=NAMESPACE, calls=calls, connection=connection) as client:
        await asyncio.gather(*(client.actor(Account, f"a{n}").deposit(1) for n in range(ACTORS)))
        yield client


async def until_all_answer(client: Client, begun_s: float) -> tuple[float, float]:
    """Seconds from `begun_s` until the first and until every actor has answered a new command."""
    answered_s: list[float] = []

    async def ask(key: str) -> None:
        await client.actor(Account, key).deposit(1)
        answered_s.append(time.monotonic() - begun_s)

    await asyncio.gather(*(ask(f"a{n}") for n in range(ACTORS)))
    return min(answered_s), max(answered_s)


@dataclass
class Load:
    """Callers that go on until stopped, and what they saw."""

    latencies_s: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    stopped: bool = False

    async def call(self, client: Client, caller: int) -> None:
        """Deposit one after the other."""
        count = 0
        while not self.stopped:
            count += 1
            begun_s = time.monotonic()
            try:
                await client.actor(Account, f"a{(caller * 37 + count) % ACTORS}").deposit(1)
            except Exception as error:
                self.failed.append(repr(error))
            self.latencies_s.append(time.monotonic() - begun_s)

    def row(self, what: str) -> tuple[str, str, str]:
        """What it saw, for the table."""
        p99_ms = 1000 * statistics.quantiles(self.latencies_s, n=100)[98]
        longest_ms = 1000 * max(self.latencies_s)
        seen = f"{len(self.latencies_s)} commands, {len(self.failed)} failed, p99 {p99_ms:.0f} ms, longest"
        for failure in self.failed[:3]:
            print(failure)
        return what, f"{seen} {longest_ms:.0f} ms", "0 failed, p99 under 250 ms"


async def under_load(client: Client, happen: Callable[[], Awaitable[None]], what: str) -> tuple[str, str, str]:
    """A planned change while callers work."""
    load = Load()
    callers = [asyncio.create_task(load.call(client, n)) for n in range(CALLERS)]
    await asyncio.sleep(0.3)
    load.latencies_s.clear()
    await happen()
    await asyncio.sleep(0.3)
    load.stopped = True
    await asyncio.gather(*callers)
    return load.row(what)


async def owned(url: str, workers: int) -> None:
    """Return when so many members share all the shards and nothing moves."""
    async with connect_untyped(url, namespace=NAMESPACE) as session:
        while True:
            found = await session.overview()
            if len(found.members) == workers and all(shard.state is ShardState.HELD for shard in found.shards):
                return
            await asyncio.sleep(0.02)


async def start(_: argparse.Namespace) -> list[tuple[str, str, str]]:
    """From the start of the supervisor to every shard owned."""
    rows = []
    for workers in (1, 2, 4, 8):
        with Server("always") as server:
            begun_s = time.monotonic()
            with Host(server.url, "a", workers, TTL_S) as host:
                await owned(server.url, workers)
                owned_s = time.monotonic() - begun_s
                await asyncio.to_thread(host.wait_ready)
                ready_s = time.monotonic() - begun_s
        rows.append((f"start of {workers} workers", f"all owned {owned_s:.2f} s, ready {ready_s:.2f} s", "2 s"))
    return rows


async def crash(options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """kill -9 of one of two workers."""
    waits_s = []
    with Server("always") as server, Host(server.url, "a", 2, TTL_S) as host:
        await asyncio.to_thread(host.wait_ready)
        async with client_of(server.url) as client:
            for killed in range(options.rounds):
                await asyncio.sleep(0.5)
                workers = sorted(host.workers)
                begun_s = time.monotonic()
                os.kill(workers[killed % 2], signal.SIGKILL)
                waits_s.append((await until_all_answer(client, begun_s))[1])
    waits_s.sort()
    p99_s = waits_s[min(len(waits_s) - 1, round(0.99 * len(waits_s)))]
    seen = f"p50 {1000 * statistics.median(waits_s):.0f} ms, p99 {1000 * p99_s:.0f} ms of {len(waits_s)}"
    return [("crash of a worker: all its actors answer", seen, "p99 500 ms")]


async def restart(_: argparse.Namespace) -> list[tuple[str, str, str]]:
    """kill -9 of the server and its return, at once and after longer than the ttl."""
    rows = []
    with Server("always") as server, Host(server.url, "a", 2, TTL_S) as host:
        await asyncio.to_thread(host.wait_ready)
        async with client_of(server.url) as client:
            for away_s in (0.0, TTL_S + 3.0):
                await asyncio.sleep(1)
                server.kill()
                await asyncio.sleep(away_s)
                server.start()
                first_s, all_s = await until_all_answer(client, time.monotonic())
                what = f"server restarted after {away_s:.0f} s"
                rows.append((what, f"first answer {first_s:.2f} s, all {all_s:.2f} s after its return", "first 3 s"))
    return rows


def wait_for_words(log: Path, words: str) -> None:
    """Wait until a log has them."""
    while words not in log.read_text():
        time.sleep(0.005)


async def frozen(_: argparse.Namespace) -> list[tuple[str, str, str]]:
    """SIGSTOP of the server: how long until the workers have noticed."""
    with Server("always") as server, Host(server.url, "a", 1, TTL_S) as host:
        await asyncio.to_thread(host.wait_ready)
        await asyncio.sleep(1)
        log = Path(host.log)
        begun_s = time.monotonic()
        server.signal(signal.SIGSTOP)
        await asyncio.to_thread(wait_for_words, log, "connection is lost")
        noticed_s = time.monotonic() - begun_s
        server.signal(signal.SIGCONT)
    return [("frozen server: noticed", f"{noticed_s:.2f} s", "4 s")]


async def host_lost(_: argparse.Namespace) -> list[tuple[str, str, str]]:
    """kill -9 of a whole supervisor, for good and with a restart at once."""
    rows = []
    with Server("always") as server, Host(server.url, "a", 1, TTL_S) as stays:
        await asyncio.to_thread(stays.wait_ready)
        with Host(server.url, "b", 1, TTL_S) as dies:
            await asyncio.to_thread(dies.wait_ready)
            async with client_of(server.url) as client:
                await asyncio.sleep(1)
                begun_s = time.monotonic()
                dies.kill()
                all_s = (await until_all_answer(client, begun_s))[1]
                rows.append(("loss of a host", f"{all_s:.2f} s with a ttl of {TTL_S} s", "ttl + 2 s"))
                dies.again()
                await asyncio.to_thread(dies.wait_ready, 2)
                await asyncio.sleep(1)
                begun_s = time.monotonic()
                dies.kill()
                dies.again()
                all_s = (await until_all_answer(client, begun_s))[1]
                rows.append(("crash of a supervisor, started again at once", f"{all_s:.2f} s", ""))
    return rows


async def moves(_: argparse.Namespace) -> list[tuple[str, str, str]]:
    """A worker more, a worker less, a rolling restart, a host that joins and one that drains, under load."""
    rows = []
    with Server("always") as server, Host(server.url, "a", 2, TTL_S) as stays:
        await asyncio.to_thread(stays.wait_ready)
        async with client_of(server.url) as client:

            async def nothing() -> None:
                await asyncio.sleep(2)

            async def one_more() -> None:
                stays.process.send_signal(signal.SIGTTIN)
                await owned(server.url, 3)

            async def one_less() -> None:
                stays.process.send_signal(signal.SIGTTOU)
                await owned(server.url, 2)

            async def roll() -> None:
                said = stays.said_ready()
                stays.process.send_signal(signal.SIGHUP)
                await asyncio.to_thread(stays.wait_ready, said + 1)

            async def join_and_drain() -> None:
                with Host(server.url, "b", 1, TTL_S) as joins:
                    await asyncio.to_thread(joins.wait_ready)
                    await asyncio.sleep(0.5)
                    await asyncio.to_thread(joins.drain)

            rows.append(await under_load(client, nothing, "nothing (for comparison)"))
            rows.append(await under_load(client, one_more, "2 -> 3 workers"))
            rows.append(await under_load(client, one_less, "3 -> 2 workers"))
            rows.append(await under_load(client, roll, "rolling restart of 2 workers"))
            rows.append(await under_load(client, join_and_drain, "a host joins, then drains"))
    return rows


MEASUREMENTS = {"start": start, "crash": crash, "restart": restart, "frozen": frozen, "host": host_lost, "moves": moves}

if __name__ == "__main__":
    main()
