"""What it takes to wake an actor that is not in memory: many at once, and one after the other.

The stream is made once: a million events, five on each of 200,000 actors, and among them actors with 100 and with
10,000 events, all in commits of one event and each actor's spread over the whole stream. A pool is killed and started
again for every round, so that every actor is cold. Actors are asked for their state, which stores nothing. The floor
reads the same stream. The more events an actor has, the fewer are asked at once: the server searches the stream while
it serves nothing else on that connection, and a connection that hears nothing for seconds is given up.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import uvloop

from benchmarks.cold import Ask, Processes, alternate_cold
from benchmarks.figures import Measured, Point
from benchmarks.history import SNAPSHOT_EXTRA, Spread, make_namespace, mixed, write, write_snapshots
from benchmarks.load import closed_loop
from benchmarks.server import Server
from benchmarks.suite import Settings, by_case


@dataclass(frozen=True, slots=True)
class Case:
    """Actors of one kind: `many` are woken at once and `single` one after the other."""

    events: int
    snapshot: bool
    many: int
    single: int
    in_flight: int

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"{self.events} events, {'a' if self.snapshot else 'no'} snapshot"

    @property
    def balance(self) -> int:
        """What an actor answers."""
        return self.events + SNAPSHOT_EXTRA * self.snapshot

    @property
    def keys(self) -> list[str]:
        """Its actors; those with a snapshot come after those without."""
        count = self.many + self.single
        return [f"e{self.events}x{number + self.snapshot * count}" for number in range(count)]

    @property
    def parts(self) -> list[tuple[str, list[str], int]]:
        """What is measured of it: a name, the actors, and how many are asked at once."""
        many, single = self.keys[: self.many], self.keys[self.many :]
        return [(f"many at once, {self.name}", many, self.in_flight), (f"one at a time, {self.name}", single, 1)]


def cases_of(settings: Settings) -> list[Case]:
    """All that are measured."""
    sizes = [(0, 5_000, 200, 256), (5, 5_000, 200, 256), (100, 200, 50, 16), (10_000, 8, 4, 4)]
    if settings.quick:
        sizes = [(0, 1_000, 50, 256), (5, 1_000, 50, 256), (100, 50, 20, 16), (10_000, 3, 2, 3)]
    return [Case(events, snapshot, *counts) for events, *counts in sizes
            for snapshot in (False, True) if events or not snapshot]  # fmt: skip


def activation(settings: Settings) -> Iterator[Point]:
    """Activations a second and the latency of a first answer, for every kind of history."""
    actors = settings.size(200_000, 10_000)
    cases = cases_of(settings)
    in_flight = {name: count for case in cases for name, _, count in case.parts}
    with Server("default") as server:
        stream = uvloop.run(fill(server.url, cases, actors))
        results = alternate_cold(settings, server, lambda ask, processes: measure(ask, cases, processes))
    for case, runs in by_case(results).items():
        yield Point(
            name="activation",
            case=case,
            in_flight=in_flight[case],
            unit="activations",
            runs=runs,
            more={"stream_commits": stream, "stream_actors": actors},
        )


async def fill(url: str, cases: list[Case], actors: int) -> int:
    """Make the stream; how many commits it has."""
    await make_namespace(url)
    begun_s = time.monotonic()
    histories = [Spread("e5x", actors, 5)]
    for events in {case.events for case in cases} - {0, 5}:
        wanted = sum(case.many + case.single for case in cases if case.events == events)
        histories.append(Spread(f"e{events}x", wanted, events))
    commits = await write(url, mixed(histories))
    for case in cases:
        if case.snapshot:
            await write_snapshots(url, case.keys, case.events)
    print(f"made a stream of {commits:,} commits in {time.monotonic() - begun_s:.0f} s", flush=True)
    return commits


async def measure(ask: Ask, cases: list[Case], processes: Processes) -> dict[str, Measured]:
    """Every case, many at once and one at a time."""
    found = {}
    for case in cases:
        for name, keys, in_flight in case.parts:
            found[name] = await closed_loop(ask, [(key, case.balance) for key in keys], in_flight, processes)
    return found
