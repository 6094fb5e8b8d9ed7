"""Aether and each peer under one load after the other, 1 and 100 in flight, in alternating rounds on fresh stores.

benchmarks/peers/run [peer ...] [--load NAME ...] [--json FILE] [--rounds N] [--quick]

deposits   on 1,000 accounts, answered when they are stored
tells      a handler of one account sends to another one, until the last effect is stored
delayed    calls that are due together: how many are set per second, and how long until the last has taken effect
tasks      a function that does nothing is run durably, until the last result is stored
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import uvloop

from benchmarks.figures import AETHER, Measured, Point, table
from benchmarks.peers import aether_bank
from benchmarks.peers.effects import DELAYED, LOADS, TASKS, TELLS
from benchmarks.peers.report import DEPOSIT_ACCOUNTS, DEPOSITS, against_each, told
from benchmarks.peers.servers import PYTHON, postgres, restate, sqlite, why_no_postgres, why_no_restate
from benchmarks.processes import children_of
from benchmarks.server import Server
from benchmarks.sides import aether_side
from benchmarks.suite import bounded, by_case
from benchmarks.throughput import deposits_on

PROGRAM_TIMEOUT_S = 600.0
POSTGRES_THREADS = 2
"""Of 1, 2, 4 and 16 the best (100 in flight: 1,091/s, 1,638/s, 1,567/s, 1,166/s): it locks its table to insert."""
CACHED = {
    "AGGREGATE_CACHE_MAXSIZE": str(2 * DEPOSIT_ACCOUNTS),
    "AGGREGATE_CACHE_FASTFORWARD": "n",
    "DEEPCOPY_FROM_AGGREGATE_CACHE": "n",
}
LEAD_S = 10.0
"""How long before they are due delayed calls are begun to be set: all must be set by then."""

SIZES = {DEPOSITS: (2_000, 10_000), TELLS: (300, 2_000), DELAYED: (200, 1_000), TASKS: (300, 2_000)}
"""How many requests a round makes with one in flight, and with more; a tenth of it with `--quick`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a round is to do."""

    load: str
    count: int
    in_flight: int
    seed: int


Round: TypeAlias = Callable[[Order], Mapping[str, Measured]]
"""A round; what it measured, by case."""


def aether_round(order: Order) -> Mapping[str, Measured]:
    """Aether on a server that syncs every write, as the peers' do."""
    if order.load != DEPOSITS:
        return aether_bank.aether_round(order.load, order.count, order.in_flight, order.seed, LEAD_S)

    async def run(server: Server) -> Measured:
        async with aether_side(server) as side:
            return await deposits_on(side, DEPOSIT_ACCOUNTS, order.count, order.in_flight, order.seed)

    with Server("barrier") as server:
        return {DEPOSITS: uvloop.run(bounded(run(server)))}


def sqlite_round(order: Order) -> Mapping[str, Measured]:
    """The library on a file. It writes one at a time, so more threads than one only cost it."""
    with sqlite() as where:
        return _eventsourcing(order, 1, 0, where)


def postgres_round(order: Order) -> Mapping[str, Measured]:
    """The library on PostgreSQL."""
    with postgres() as (where, pid):
        return _eventsourcing(order, min(order.in_flight, POSTGRES_THREADS), pid, where)


def restate_round(order: Order) -> Mapping[str, Measured]:
    """Restate through its HTTP ingress."""
    with restate() as (ingress, server_pid, service_pid):
        asked = [ingress, order.load, order.count, order.in_flight, order.seed, LEAD_S]
        return _program(["benchmarks.peers.restate_load", *asked, server_pid, children_of(service_pid)[-1]], {})


def dbos_round(order: Order) -> Mapping[str, Measured]:
    """DBOS on PostgreSQL."""
    with postgres() as (where, _):
        asked = [order.load, order.count, order.in_flight, order.seed, LEAD_S]
        return _program(["benchmarks.peers.dbos_load", *asked], where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A peer, the loads that it can do, and what is missing to run it."""

    round: Round
    loads: Collection[str]
    why_not: Callable[[], str | None]


PEERS: dict[str, Peer] = {
    "eventsourcing-sqlite": Peer(round=sqlite_round, loads=(DEPOSITS,), why_not=lambda: None),
    "eventsourcing-postgres": Peer(round=postgres_round, loads=(DEPOSITS,), why_not=why_no_postgres),
    "restate": Peer(round=restate_round, loads=(DEPOSITS, *LOADS), why_not=why_no_restate),
    "dbos": Peer(round=dbos_round, loads=LOADS, why_not=why_no_postgres),
}


def main() -> None:
    """Measure the peers that were asked for and print tables."""
    options = _parser().parse_args()
    found: list[Point] = []
    peers = dict(_present(options.name or PEERS))
    for load in options.load:
        contestants: dict[str, Round] = {AETHER: aether_round}
        contestants |= {name: peer.round for name, peer in peers.items() if load in peer.loads}
        begun_s = time.monotonic()
        points: list[Point] = []
        for in_flight in options.in_flight:
            count = SIZES[load][in_flight > 1] // (10 if options.quick else 1)
            points += _alternate(contestants, load, count, in_flight, options.rounds)
            if options.json:
                told_now = [point.to_json() for point in found + points]
                options.json.write_text(json.dumps(told_now, indent=2) + "\n")
        found += points
        for case in dict.fromkeys(point.name for point in points):
            print(f"\n## {case}: {options.rounds} rounds, {time.monotonic() - begun_s:.0f} s\n")
            of_case = [point for point in points if point.name == case]
            print("\n".join([*table(of_case), "", *map(against_each, of_case)]), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="*", metavar="peer", choices=[*PEERS, []], help=f"of {', '.join(PEERS)}")
    parser.add_argument(
        "--load", nargs="+", choices=SIZES, default=list(SIZES), help="all of them unless told otherwise"
    )
    parser.add_argument("--json", type=Path, help="write the points to this file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--in-flight", nargs="+", type=int, default=[1, 100])
    return parser


def _present(names: Collection[str]) -> Iterator[tuple[str, Peer]]:
    for name in names:
        reason = PEERS[name].why_not()
        if reason is None:
            yield name, PEERS[name]
        else:
            print(f"{name} is left out: {reason}", flush=True)


def _alternate(contestants: Mapping[str, Round], load: str, count: int, in_flight: int, rounds: int) -> Iterator[Point]:
    runs: dict[str, list[Mapping[str, Measured]]] = {name: [] for name in contestants}
    for seed in range(rounds):
        for name, round_ in contestants.items():
            runs[name].append(round_(Order(load=load, count=count, in_flight=in_flight, seed=seed)))
    for case, found in by_case(runs).items():
        more = {"requests": count, **({"accounts": DEPOSIT_ACCOUNTS, "deposits": count} if load == DEPOSITS else {})}
        unit = "commands" if load == DEPOSITS else "requests"
        yield Point(name=case, sync="barrier", in_flight=in_flight, unit=unit, runs=found, more=more)


def _eventsourcing(order: Order, threads: int, server_pid: int, where: Mapping[str, str]) -> Mapping[str, Measured]:
    asked = [DEPOSIT_ACCOUNTS, order.count, order.in_flight, order.seed, threads, server_pid]
    return _program(["benchmarks.peers.eventsourcing_bank", *asked], where)


def _program(arguments: list[object], variables: Mapping[str, str]) -> Mapping[str, Measured]:
    """Run a program of the peers' own Python and take what it tells."""
    command = [str(PYTHON), "-m", *(str(argument) for argument in arguments)]
    environment = {**os.environ, **CACHED, **variables}
    done = subprocess.run(command, check=False, env=environment, stdout=subprocess.PIPE, timeout=PROGRAM_TIMEOUT_S)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return told(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
