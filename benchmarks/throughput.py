"""Deposits on many accounts, whole system, beside the hand-written floor in the same run.

    python -m benchmarks.throughput --in-flight 100 --sync default always

Server, worker and load share the machine, and each contestant gets a fresh server for every round; rounds alternate.
Every account is used once before the clock starts. Every round checks that the balances add up to the acknowledged
deposits.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nats
import uvloop

from aether import connect
from benchmarks.bank import Account, model
from benchmarks.floor import STREAM, FloorClient
from benchmarks.load import Measured, children_of, closed_loop
from benchmarks.server import nats_server

Options = argparse.Namespace
Contestant = Callable[[str, int, Options, int], Coroutine[Any, Any, Measured]]


def main() -> None:
    """Run every point that was asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sync", nargs="+", default=["default", "always"], choices=["default", "always"])
    parser.add_argument("--in-flight", nargs="+", type=int, default=[100])
    parser.add_argument("--deposits", type=int, default=20_000)
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the points to this file")
    options = parser.parse_args()
    points = [point(sync, in_flight, options) for sync in options.sync for in_flight in options.in_flight]
    if options.json:
        options.json.write_text(json.dumps(points, indent=2))


def point(sync: str, in_flight: int, options: Options) -> dict[str, object]:
    """Measure one point of both contestants, alternating, and print it."""
    runs: dict[str, list[Measured]] = {"floor": [], "aether": []}
    contestants: dict[str, Contestant] = {"floor": floor_round, "aether": aether_round}
    for seed in range(options.rounds):
        for name, contestant in contestants.items():
            with nats_server(sync) as (url, server_pid):
                options.server_pid = server_pid
                runs[name].append(uvloop.run(contestant(url, in_flight, options, seed)))
    ratios = sorted(a.per_s / f.per_s for a, f in zip(runs["aether"], runs["floor"], strict=True))
    print(f"\nsync {sync}, {in_flight} in flight, {options.accounts} accounts, {options.workers} worker(s)")
    for name, measured in runs.items():
        p50_ms, p99_ms = _median([m.p50_ms for m in measured]), _median([m.p99_ms for m in measured])
        print(
            f"  {name:7} {_spread([m.per_s for m in measured], '9,.0f')}/s  p50 {p50_ms:6.2f} ms  p99 {p99_ms:6.2f} ms"
            f"  CPU s per 1,000: {_cpu(measured)}"
        )
    print(f"  ratio   {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})")
    return {
        "name": "throughput",
        "sync": sync,
        "in_flight": in_flight,
        "workers": options.workers,
        "aether_per_s": _median([m.per_s for m in runs["aether"]]),
        "floor_per_s": _median([m.per_s for m in runs["floor"]]),
        "ratio": statistics.median(ratios),
        "p50_ms": _median([m.p50_ms for m in runs["aether"]]),
        "p99_ms": _median([m.p99_ms for m in runs["aether"]]),
        "floor_p50_ms": _median([m.p50_ms for m in runs["floor"]]),
        "runs": {name: [asdict(m) for m in measured] for name, measured in runs.items()},
    }


async def floor_round(url: str, in_flight: int, options: Options, seed: int) -> Measured:
    """One round of the hand-written program."""
    with _process([sys.executable, "-m", "benchmarks.floor", url]) as worker:
        assert worker.stdout is not None
        assert await asyncio.to_thread(worker.stdout.readline) == b"ready\n"
        connection = await nats.connect(url, pending_size=0, allow_reconnect=False)
        client = FloorClient(connection)
        await client.start()
        balances: dict[str, int] = {}

        async def deposit(account: str, amount: int) -> int:
            balance = await client.deposit(account, amount)
            balances[account] = max(balance, balances.get(account, 0))
            return balance

        warm = await _warm_up(deposit, options)
        measured, total = await closed_loop(
            deposit, **_load(options, in_flight, seed), processes=_processes(options, [worker.pid])
        )
        stored = (await connection.jetstream().stream_info(STREAM)).state.messages
        await connection.close()
    _check("floor", sum(balances.values()) == warm + total and stored == options.accounts + options.deposits)
    return measured


async def aether_round(url: str, in_flight: int, options: Options, seed: int) -> Measured:
    """One round of a pool, through the public client."""
    pool = [sys.executable, "-m", "workers", "benchmarks.bank:model", "--workers", str(options.workers), "--nats", url]
    with _process(pool) as supervisor:
        async with connect(url, model=model) as client:

            async def deposit(account: str, amount: int) -> int:
                balance: int = await client.actor(Account, account).deposit(amount)
                return balance

            warm = await _warm_up(deposit, options)
            pids = children_of(supervisor.pid)
            measured, total = await closed_loop(
                deposit, **_load(options, in_flight, seed), processes=_processes(options, pids)
            )
            states = await asyncio.gather(*(client.state(Account, f"a{n}") for n in range(options.accounts)))
    _check("aether", sum(state.state["balance"] for state in states) == warm + total)
    return measured


async def _warm_up(deposit: Callable[[str, int], Awaitable[int]], options: Options) -> int:
    """One deposit on every account, so that what is measured is commands and not activations; the sum."""
    accounts: int = options.accounts
    await asyncio.gather(*(deposit(f"a{n}", 1) for n in range(accounts)))
    return accounts


def _load(options: Options, in_flight: int, seed: int) -> dict[str, int]:
    return {"deposits": options.deposits, "accounts": options.accounts, "in_flight": in_flight, "seed": seed}


def _processes(options: Options, workers: list[int]) -> dict[str, list[int]]:
    return {"server": [options.server_pid], "worker": workers, "load": [os.getpid()]}


@contextlib.contextmanager
def _process(command: list[str]) -> "Iterator[subprocess.Popen[bytes]]":
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


def _check(name: str, right: bool) -> None:
    if not right:
        raise SystemExit(f"{name}: the balances do not add up to the acknowledged deposits")


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _spread(values: list[float], form: str) -> str:
    return f"{_median(values):{form}} ({min(values):,.0f}-{max(values):,.0f})"


def _cpu(measured: list[Measured]) -> str:
    return " ".join(f"{name} {_median([m.cpu_s[name] for m in measured]):.3f}" for name in measured[0].cpu_s)


if __name__ == "__main__":
    main()
