"""Deposits on many accounts, whole system, beside the hand-written floor in the same run.

    python -m benchmarks.throughput --in-flight 100 --sync default barrier always

The same as `scripts/bench throughput` with one worker and 100 in flight unless told otherwise. Server, workers and load
share the machine, and each contestant gets a fresh server for every round; rounds alternate. Every account is used once
before the clock starts. Every round checks that the balances add up to the acknowledged deposits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmarks.figures import AETHER, Measured, Point
from benchmarks.load import closed_loop, each_once, random_deposits, sum_of
from benchmarks.server import Server
from benchmarks.sides import Side, side_of
from benchmarks.suite import Settings, alternate, check

FLOORS = ("floor single", "floor batch")
FLOORS_BARRIER = ("floor barrier",)
"""Nothing else is as fast and as durable."""

FLOORS_ALIKE = ("floor single alike", "floor batch alike")
"""Floors that store what Aether stores: what is left between them is the price of the code, not of the contract."""
IN_FLIGHT = (1, 10, 100, 500)
WORKERS = (1, 2)
SYNC = ("default", "barrier", "always")
WARM_UP_IN_FLIGHT = 500


UNSYNCED, ALWAYS = "unsynced", "always"


def durable(settings: Settings) -> Iterator[Point]:
    """What it costs that all that is answered is on the disk: beside Aether without syncs, and with one per message."""
    accounts = settings.accounts or 1_000
    server_of = {AETHER: "barrier", UNSYNCED: "default", ALWAYS: "always"}
    for workers in settings.workers or WORKERS:
        for in_flight in settings.in_flight or IN_FLIGHT:
            deposits = settings.deposits_or(*_DEPOSITS[in_flight > 1])

            async def one_round(_: str, server: Server, seed: int) -> Measured:
                async with side_of(AETHER, server, workers) as side:  # noqa: B023 - awaited in this turn
                    return await deposits_on(side, accounts, deposits, in_flight, seed)  # noqa: B023

            runs = alternate(server_of, settings, server_of, one_round)
            more = {"accounts": accounts, "deposits": deposits}
            yield Point(name="durable", in_flight=in_flight, sync="barrier", workers=workers, runs=runs, more=more)


def alike(settings: Settings) -> Iterator[Point]:
    """`throughput` with many in flight, beside programs that store and repeat the same bytes."""
    crowded = replace(settings, in_flight=settings.in_flight or IN_FLIGHT[2:], workers=settings.workers or WORKERS[:1])
    yield from throughput(crowded, "alike", FLOORS_ALIKE)


def throughput(settings: Settings, name: str = "throughput", floors: Sequence[str] = FLOORS) -> Iterator[Point]:
    """Commands a second at every setting."""
    accounts = settings.accounts or 1_000
    for sync in settings.sync or SYNC:
        for workers in settings.workers or WORKERS:
            for in_flight in settings.in_flight or IN_FLIGHT:
                deposits = settings.deposits_or(*_DEPOSITS[in_flight > 1])

                async def one_round(contestant: str, server: Server, seed: int) -> Measured:
                    async with side_of(contestant, server, workers) as side:  # noqa: B023 - awaited in this turn
                        return await deposits_on(side, accounts, deposits, in_flight, seed)  # noqa: B023

                others = FLOORS_BARRIER if sync == "barrier" else floors
                runs = alternate((AETHER, *others), settings, sync, one_round)
                yield Point(
                    name=name,
                    in_flight=in_flight,
                    sync=sync,
                    workers=workers,
                    runs=runs,
                    more={"accounts": accounts, "deposits": deposits},
                )


_DEPOSITS = {False: (2_000, 300), True: (20_000, 3_000)}
"""How many are measured with one in flight and with more, in full and quick."""


async def deposits_on(side: Side, accounts: int, deposits: int, in_flight: int, seed: int) -> Measured:
    """Use every account once, then measure random deposits, and check the balances."""
    first, plan = each_once(0, accounts), random_deposits(accounts, deposits, seed)
    await closed_loop(side.deposit, first, WARM_UP_IN_FLIGHT)
    measured = await closed_loop(side.deposit, plan, in_flight, side.processes)
    found = await side.total(accounts)
    check(found == sum_of(first) + sum_of(plan), f"the balances add up to {found}, not to the acknowledged deposits")
    return measured
