"""Replay: how fast one long history is folded, in commits of one event and in commits of a hundred.

A cold actor is asked for its state, so a figure has the whole way in it: the client's question, the reading of the
stream, the fold, the answer. The floor reads the same history and sums it.
"""

import time
from collections.abc import Iterator

import uvloop

from benchmarks.cold import Ask, Processes, alternate_cold
from benchmarks.figures import Measured, Point
from benchmarks.history import make_namespace, run_of, write
from benchmarks.processes import cpu_by_name
from benchmarks.server import Server
from benchmarks.suite import Settings, by_case

COMMIT_EVENTS = (1, 100)


def replay(settings: Settings) -> Iterator[Point]:
    """Events a second."""
    events = settings.size(200_000, 20_000)

    async def fill(url: str) -> None:
        await make_namespace(url)
        for size in COMMIT_EVENTS:
            await write(url, run_of(f"by{size}", events, size))

    async def measure(ask: Ask, processes: Processes) -> dict[str, Measured]:
        found = {}
        for size in COMMIT_EVENTS:
            before, begun_s = cpu_by_name(processes), time.perf_counter()
            await ask(f"by{size}", events)
            took_s = time.perf_counter() - begun_s
            spent = {name: 1000 * (after - before[name]) / events for name, after in cpu_by_name(processes).items()}
            found[f"{events:,} events in commits of {size}"] = Measured(per_s=events / took_s, cpu_s=spent)
        return found

    with Server("default") as server:
        uvloop.run(fill(server.url))
        results = alternate_cold(settings, server, measure)
    for case, runs in by_case(results).items():
        yield Point(name="replay", case=case, in_flight=1, unit="events", runs=runs, more={"events": events})
