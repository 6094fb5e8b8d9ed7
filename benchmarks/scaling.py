"""What a command costs as there are more active actors, and as the stream has more in it.

100 deposits are in flight on random actors; what counts is the CPU of worker and server by command, which should not
grow. Within a round one pool goes through all steps. The stream grows by events of actors that are not used. The first
deposits after actors were made active are measured too, as cases of their own: the server has dropped what it had in
memory of actors that were made active more than ten seconds before, and reads it again.
"""

from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from typing import TypeAlias

from benchmarks.figures import AETHER, Measured, Point
from benchmarks.floor import STREAM
from benchmarks.history import Spread, mixed, names, write
from benchmarks.load import closed_loop, each_once, random_deposits, sum_of
from benchmarks.server import Server
from benchmarks.sides import FloorSide, Side, side_of
from benchmarks.suite import Settings, alternate, by_case, check
from benchmarks.throughput import FLOORS, WARM_UP_IN_FLIGHT

ACTORS = (1_000, 10_000, 50_000, 200_000)
ACTORS_LARGE = 1_000_000
EVENTS = (10_000, 100_000, 1_000_000)
EVENTS_PER_ACTOR = 5

_Steps: TypeAlias = Callable[[Side, Server, Settings, int, int, int], Awaitable[dict[str, Measured]]]


def scaling(settings: Settings) -> Iterator[Point]:
    """Active actors, then events in the stream."""
    yield from _points(settings, "actors", _growing_actors)
    yield from _points(settings, "stream", _growing_stream)


def _points(settings: Settings, what: str, steps_of: _Steps) -> Iterator[Point]:
    in_flight = settings.in_flight[0] if settings.in_flight else 100
    deposits = settings.deposits_or(60_000, 2_000)
    for sync in settings.sync or ("default",):

        async def one_round(contestant: str, server: Server, seed: int) -> dict[str, Measured]:
            limits = {"AETHER_ACTIVE_VMS_MAX": str(4 * ACTORS_LARGE), "AETHER_IDLE_PASSIVATION_S": "0"}
            async with side_of(contestant, server, 1, limits) as side:
                return await steps_of(side, server, settings, deposits, in_flight, seed)

        results = alternate((AETHER, *FLOORS), settings, sync, one_round)
        for case, runs in by_case(results).items():
            more = {"growing": what, "deposits": deposits}
            yield Point(name="scaling", case=case, sync=sync, in_flight=in_flight, runs=runs, more=more)


async def _growing_actors(
    side: Side, server: Server, settings: Settings, deposits: int, in_flight: int, seed: int
) -> dict[str, Measured]:
    steps = (500, 2_000, 8_000) if settings.quick else (*ACTORS, *(ACTORS_LARGE,) * settings.large)
    found, before, total = {}, 0, 0
    for actors in steps:
        new = each_once(before, actors)
        await closed_loop(side.deposit, new, WARM_UP_IN_FLIGHT)
        before, total = actors, total + sum_of(new)
        for lap, case in enumerate((f"the first with {actors:,} active actors", f"{actors:,} active actors")):
            plan = random_deposits(actors, deposits, 2 * seed + lap)
            found[case] = await closed_loop(side.deposit, plan, in_flight, side.processes)
            total += sum_of(plan)
    check(await side.total(before) == total, "the balances do not add up to the acknowledged deposits")
    return found


async def _growing_stream(
    side: Side, server: Server, settings: Settings, deposits: int, in_flight: int, seed: int
) -> dict[str, Measured]:
    steps, accounts = ((2_000, 20_000) if settings.quick else EVENTS), 1_000
    background = mixed([Spread("h", steps[-1] // EVENTS_PER_ACTOR, EVENTS_PER_ACTOR)])
    found, before, total = {}, 0, 0
    for events in steps:
        if isinstance(side, FloorSide):
            others = min(events, steps[-1] // EVENTS_PER_ACTOR)
            await write(server.url, islice(background, events - before), STREAM, lambda key: f"floor.evt.{key}")
            side.others = others
        else:
            await write(server.url, islice(background, events - before), names.stream)
        # Also lets the worker catch up with the broadcast of what was just written.
        first, plan = each_once(0, accounts), random_deposits(accounts, deposits, seed)
        await closed_loop(side.deposit, first, WARM_UP_IN_FLIGHT)
        found[f"{events:,} events of others"] = await closed_loop(side.deposit, plan, in_flight, side.processes)
        before, total = events, total + sum_of(first) + sum_of(plan)
    check(await side.total(accounts) == total, "the balances do not add up to the acknowledged deposits")
    return found
