"""The pages of the dashboard over a store with many actors: bytes, time, CPU and requests of each.

    scripts/bench pages [--rounds N]
    python -m benchmarks.pages [--actors N] [--rounds N]

One server, four workers and one gateway. The histories are written into the stream before the pool starts. Requests
are messages from the gateway to the server. Each page is asked for once, then `--rounds` times one after the other.
"""

import argparse
import asyncio
import html
import re
import statistics
import time
import urllib.request
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import uvloop

import aether
from benchmarks.gateway import process
from benchmarks.history import Spread, make_namespace, run_of, write
from benchmarks.hosts import NAMESPACE, Host
from benchmarks.pages_model import Account, model
from benchmarks.processes import cpu_of
from benchmarks.server import Server

MODEL = "benchmarks.pages_model:model"
WORKERS = 4
LONG_EVENTS = 10_000
LETTERS = 100
DEADLINE_S = 30.0
VARIABLES = {"AETHER_TELL_ATTEMPTS_MAX": "2", "AETHER_TELL_RETRY_FIRST_S": "0.01", "AETHER_TELL_RETRY_MAX_S": "0.01"}

PAGES = {
    "overview": "/ui/",
    "kinds": "/ui/actors",
    "actors of a kind": "/ui/actors?kind=account",
    "search that finds": "/ui/actors?kind=account&begins=a1",
    "search that finds nothing": "/ui/actors?kind=account&begins=nobody",
    "actor with 1 event": "/ui/actor?kind=account&key=a1",
    "actor with 10,000 events": "/ui/actor?kind=account&key=long",
    "the same at version 5,000": "/ui/actor?kind=account&key=long&version=5000",
    "form of a command": "/ui/command?kind=account&key=a1&name=deposit",
    "failures": "/ui/failures",
    "dead letters and inbox": "/ui/dead-letters",
    "tasks": "/ui/tasks",
    "schedules": "/ui/schedules",
    "events": "/ui/events",
    "events of an actor": "/ui/events?kind=account&key=long",
    "trace that finds": "/ui/trace?id=traced&since=3d",
    "trace that finds nothing": "/ui/trace?id=nobody&since=9999d",
    "board": "/ui/board",
}


class Visited(NamedTuple):
    """What one page cost: each time in seconds; CPU and requests are means of the later visits."""

    size_bytes: int
    first_s: float
    took_s: Sequence[float]
    gateway_cpu_s: float
    server_cpu_s: float
    requests: float


class Meter:
    """Asks for pages, and what they cost."""

    def __init__(self, url: str, gateway: int, server: Server, connections: frozenset[int]) -> None:
        self._url = url
        self._gateway = gateway
        self._server = server
        self._connections = connections

    def visit(self, address: str, rounds: int) -> tuple[Visited, str]:
        """Ask for a page so many times; its costs and its text."""
        text, first_s = self._get(address)
        requests = self._requests()
        cpu_s = (cpu_of([self._gateway]), cpu_of([self._server.pid]))
        took_s = [self._get(address)[1] for _ in range(rounds)]
        gateway_s, server_s = cpu_of([self._gateway]) - cpu_s[0], cpu_of([self._server.pid]) - cpu_s[1]
        asked = self._requests() - requests
        found = Visited(len(text), first_s, took_s, gateway_s / rounds, server_s / rounds, asked / rounds)
        return found, text.decode()

    def _get(self, address: str) -> tuple[bytes, float]:
        begun_s = time.perf_counter()
        with urllib.request.urlopen(f"{self._url}{address}") as answer:  # noqa: S310 - of the gateway's own
            return answer.read(), time.perf_counter() - begun_s

    def _requests(self) -> int:
        return sum(one["in_msgs"] for one in self._server.connections() if one["cid"] in self._connections)


async def prepare(url: str) -> None:
    """Have something on every page: dead letters, tasks that failed, schedules, failures, a trace."""
    async with aether.connect(url, model=model, namespace=NAMESPACE) as client:
        traced = client.using(correlation_id="traced")
        await asyncio.gather(*(traced.actor(Account, f"s{n}").begin(f"d{n}") for n in range(LETTERS)))
        await asyncio.gather(*(_failed(client, f"f{n}") for n in range(LETTERS)))


async def _failed(client: aether.Client, key: str) -> None:
    try:
        await client.actor(Account, key).fail(1)
    except aether.ActorFailed:
        return
    raise RuntimeError("a command that fails did not fail")


def whole_trace(meter: Meter, address: str) -> Iterator[Visited]:
    """The pages of a trace, each of which goes on with the one before."""
    while True:
        visited, text = meter.visit(address, 1)
        yield visited
        following = re.search(r'data-next="([^"]+)"', text)
        if following is None:
            return
        address = html.unescape(following[1])


def measure(meter: Meter, rounds: int) -> None:
    """Print a table of all pages."""
    print("| page | bytes | first, ms | then, ms (max) | CPU of gateway + server, ms | requests |")
    print("|---|---|---|---|---|---|")
    for name, address in PAGES.items():
        one, _ = meter.visit(address, rounds)
        print(f"| {name} | {_cells(one)} |", flush=True)
    parts = list(whole_trace(meter, PAGES["trace that finds nothing"]))
    slowest = max(parts, key=lambda part: part.first_s)
    print(f"| slowest of the {len(parts)} pages of that trace | {_cells(slowest)} |")
    whole_s = sum(part.first_s for part in parts)
    print(f"\nAll pages of that trace together: {whole_s:.1f} s, were each asked for once.")


def _cells(one: Visited) -> str:
    times_ms = [took_s * 1e3 for took_s in one.took_s]
    cpu = f"{one.gateway_cpu_s * 1e3:.0f} + {one.server_cpu_s * 1e3:.0f}"
    spent = f"{statistics.median(times_ms):.0f} ({max(times_ms):.0f})"
    return f"{one.size_bytes:,} | {one.first_s * 1e3:.0f} | {spent} | {cpu} | {one.requests:.1f}"


def run(actors: int, rounds: int) -> None:
    """Fill a store, start a pool and a gateway, and measure."""
    with Server("default", monitored=True) as server:
        uvloop.run(make_namespace(server.url))
        histories = chain(Spread("a", actors, 1).commits(), ((1.0, one) for one in run_of("long", LONG_EVENTS, 10)))
        count = uvloop.run(write(server.url, (commit for _, commit in histories)))
        with Host(server.url, "a", WORKERS, variables=VARIABLES, model=MODEL) as host:
            host.wait_ready()
            uvloop.run(prepare(server.url))
            before = {one["cid"] for one in server.connections()}
            arguments = ("--http", "127.0.0.1:0", "--nats", server.url, "--namespace", NAMESPACE)
            with process("aether.gateway", MODEL, *arguments, says=r"serving at (http://\S+)") as (url, pid):
                own = frozenset(one["cid"] for one in server.connections()) - before
                print(f"{actors:,} actors in {count:,} commits, {WORKERS} workers; {rounds} visits of each page\n")
                measure(Meter(url, pid, server, own), rounds)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.pages", description=__doc__.partition("\n")[0])
    parser.add_argument("--actors", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args(arguments)
    run(options.actors, options.rounds)


if __name__ == "__main__":
    main()
