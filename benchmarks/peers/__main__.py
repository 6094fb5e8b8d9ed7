"""Deposits on 1,000 accounts, 1 and 100 in flight: Aether and each peer, in alternating rounds on fresh stores.

benchmarks/peers/run [--json FILE] [--rounds N] [--quick] [peer ...]
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import uvloop

from benchmarks.figures import AETHER, Measured, Point, table
from benchmarks.peers.report import told
from benchmarks.peers.servers import PYTHON, postgres, restate, sqlite, why_no_postgres, why_no_restate
from benchmarks.processes import children_of
from benchmarks.server import Server
from benchmarks.sides import aether_side
from benchmarks.suite import bounded
from benchmarks.throughput import deposits_on

ACCOUNTS = 1_000
PROGRAM_TIMEOUT_S = 600.0
POSTGRES_THREADS = 2
"""Of 1, 2, 4 and 16 the best (100 in flight: 1,091/s, 1,638/s, 1,567/s, 1,166/s): it locks its table to insert."""
CACHED = {
    "AGGREGATE_CACHE_MAXSIZE": str(2 * ACCOUNTS),
    "AGGREGATE_CACHE_FASTFORWARD": "n",
    "DEEPCOPY_FROM_AGGREGATE_CACHE": "n",
}

Round: TypeAlias = Callable[[int, int, int], Measured]
"""A round with so many deposits, so many in flight and a seed."""


def aether_round(deposits: int, in_flight: int, seed: int) -> Measured:
    """Aether on a server that syncs every write, as the peers' do."""

    async def run(server: Server) -> Measured:
        async with aether_side(server) as side:
            return await deposits_on(side, ACCOUNTS, deposits, in_flight, seed)

    with Server("barrier") as server:
        return uvloop.run(bounded(run(server)))


def sqlite_round(deposits: int, in_flight: int, seed: int) -> Measured:
    """The library on a file. It writes one at a time, so more threads than one only cost it."""
    with sqlite() as where:
        return _program(["benchmarks.peers.eventsourcing_bank", ACCOUNTS, deposits, in_flight, seed, 1, 0], where)


def postgres_round(deposits: int, in_flight: int, seed: int) -> Measured:
    """The library on PostgreSQL."""
    threads = min(in_flight, POSTGRES_THREADS)
    with postgres() as (where, pid):
        arguments = [ACCOUNTS, deposits, in_flight, seed, threads, pid]
        return _program(["benchmarks.peers.eventsourcing_bank", *arguments], where)


def restate_round(deposits: int, in_flight: int, seed: int) -> Measured:
    """Restate through its HTTP ingress."""
    with restate() as (ingress, server_pid, service_pid):
        service = children_of(service_pid)[-1]
        arguments = [ingress, ACCOUNTS, deposits, in_flight, seed, server_pid, service]
        return _program(["benchmarks.peers.restate_load", *arguments], {})


PEERS: dict[str, tuple[Round, Callable[[], str | None]]] = {
    "eventsourcing-sqlite": (sqlite_round, lambda: None),
    "eventsourcing-postgres": (postgres_round, why_no_postgres),
    "restate": (restate_round, why_no_restate),
}


def main() -> None:
    """Measure the peers that were asked for and print a table."""
    parser = argparse.ArgumentParser(
        prog="peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="*", metavar="peer", choices=[*PEERS, []], help=f"of {', '.join(PEERS)}")
    parser.add_argument("--json", type=Path, help="write the points to this file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--in-flight", nargs="+", type=int, default=[1, 100])
    options = parser.parse_args()
    points, begun_s = [], time.monotonic()
    contestants: dict[str, Round] = {AETHER: aether_round}
    for name in options.name or PEERS:
        round_, why_not = PEERS[name]
        reason = why_not()
        if reason is None:
            contestants[name] = round_
        else:
            print(f"{name} is left out: {reason}", flush=True)
    for in_flight in options.in_flight:
        deposits = (200 if options.quick else 2_000) * (1 if in_flight == 1 else 5)
        runs: dict[str, list[Measured]] = {name: [] for name in contestants}
        for seed in range(options.rounds):
            for name, round_ in contestants.items():
                runs[name].append(round_(deposits, in_flight, seed))
        more = {"accounts": ACCOUNTS, "deposits": deposits}
        points.append(Point(name="peers", sync="barrier", in_flight=in_flight, runs=runs, more=more))
        if options.json:
            options.json.write_text(json.dumps([point.to_json() for point in points], indent=2) + "\n")
    print(f"\n## peers: {options.rounds} rounds, {time.monotonic() - begun_s:.0f} s\n")
    print("\n".join(table(points)), flush=True)


def _program(arguments: list[object], variables: Mapping[str, str]) -> Measured:
    """Run a program of the peers' own Python and take what it tells."""
    command = [str(PYTHON), "-m", *(str(argument) for argument in arguments)]
    environment = {**os.environ, **CACHED, **variables}
    done = subprocess.run(command, check=False, env=environment, stdout=subprocess.PIPE, timeout=PROGRAM_TIMEOUT_S)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return told(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
