"""What it takes to wake an actor that is not in memory: many at once, and one after the other.

The stream is made once: a million events, five on each of 200,000 actors, spread over the whole stream, and beside them
actors with 100 and with 10,000 events, in commits of one event. A pool is killed and started again for every round, so
that everybody is cold. Actors are asked for their state, which stores nothing. The floor reads the same stream.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop

from benchmarks.cold import Ask, Processes, alternate_cold
from benchmarks.figures import Measured, Point
from benchmarks.history import SNAPSHOT_EXTRA, make_namespace, spread, write, write_snapshots
from benchmarks.load import Plan, closed_loop
from benchmarks.server import Server
from benchmarks.suite import Settings, by_case

MANY_IN_FLIGHT = 256


@dataclass(frozen=True, slots=True)
class Case:
    """Actors of one kind: `many` are woken at once and `single` one after the other."""

    events: int
    snapshot: bool
    many: int
    single: int

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.events} events, {'a' if self.snapshot else 'no'} snapshot"

    @property
    def balance(self) -> int:
        """What an actor answers."""
        return self.events + SNAPSHOT_EXTRA * self.snapshot

    def keys(self, count: int) -> list[str]:
        """The first so many of its actors."""
        return [f"e{self.events}x{number + self.snapshot * (self.many + self.single)}" for number in range(count)]


def cases_of(settings: Settings) -> list[Case]:
    """All that are measured."""
    sizes = [(0, 5_000, 200), (5, 5_000, 200), (100, 1_000, 100), (10_000, 8, 4)]
    if settings.quick:
        sizes = [(0, 1_000, 50), (5, 1_000, 50), (100, 100, 20), (10_000, 3, 2)]
    return [Case(events, snapshot, many, single) for events, many, single in sizes
            for snapshot in (False, True) if events or not snapshot]  # fmt: skip


def activation(settings: Settings) -> Iterator[Point]:
    """Activations a second and the latency of a first answer, for every kind of history."""
    actors = settings.size(200_000, 10_000)
    cases = cases_of(settings)
    with Server("default") as server:
        stream = uvloop.run(fill(server.url, cases, actors))
        results = alternate_cold(settings, server, lambda ask, processes: measure(ask, cases, processes))
    for case, runs in by_case(results).items():
        single = case.startswith("one")
        yield Point(
            name="activation",
            case=case,
            in_flight=1 if single else MANY_IN_FLIGHT,
            unit="activations",
            runs=runs,
            more={"stream_commits": stream, "stream_actors": actors},
        )


async def fill(url: str, cases: list[Case], actors: int) -> int:
    """Make the stream; how many commits it has."""
    await make_namespace(url)
    begun_s = time.monotonic()
    commits = await write(url, spread("e5x", actors, 5))
    for events in {case.events for case in cases} - {0, 5}:
        wanted = sum(case.many + case.single for case in cases if case.events == events)
        commits += await write(url, spread(f"e{events}x", wanted, events))
    for case in cases:
        if case.snapshot:
            await write_snapshots(url, case.keys(case.many + case.single), case.events)
    print(f"made a stream of {commits:,} commits in {time.monotonic() - begun_s:.0f} s", flush=True)
    return commits


async def measure(ask: Ask, cases: list[Case], processes: Processes) -> dict[str, Measured]:
    """Every case, many at once and one at a time."""
    found = {}
    for case in cases:
        plan: Plan = [(key, case.balance) for key in case.keys(case.many + case.single)]
        found[f"many at once, {case.name}"] = await closed_loop(ask, plan[: case.many], MANY_IN_FLIGHT, processes)
        found[f"one at a time, {case.name}"] = await closed_loop(ask, plan[case.many :], 1, processes)
    return found
