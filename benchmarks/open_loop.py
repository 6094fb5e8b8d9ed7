"""Latency at a load that a pool can carry: half and four fifths of its measured maximum.

The maximum is Aether's, by a closed loop with 500 in flight, a moment before. Deposits are sent at random times at that
rate, whatever has been answered, and a latency counts from the time at which it should have been sent. The floor is
given the same deposits at the same times.
"""

import statistics
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.figures import AETHER, Measured, Point
from benchmarks.load import arrivals_s, closed_loop, each_once, open_loop, random_deposits, sum_of
from benchmarks.server import Server
from benchmarks.sides import side_of
from benchmarks.suite import Settings, alternate, by_case, check
from benchmarks.throughput import FLOORS, FLOORS_BARRIER, SYNC, WARM_UP_IN_FLIGHT, deposits_on

MAXIMUM_IN_FLIGHT = 500
MAXIMUM_ROUNDS = 3
SHARES = (0.5, 0.8)


def open_loops(settings: Settings) -> Iterator[Point]:
    """Latencies at both loads."""
    accounts = settings.accounts or 1_000
    seconds = settings.size(10, 2)
    for sync in settings.sync or SYNC:
        maximum = maximum_per_s(settings, sync, accounts)

        async def one_round(contestant: str, server: Server, seed: int) -> dict[str, Measured]:
            found = {}
            async with side_of(contestant, server, 1) as side:
                first = each_once(0, accounts)
                await closed_loop(side.deposit, first, WARM_UP_IN_FLIGHT)
                total = sum_of(first)
                for share in SHARES:
                    per_s = share * maximum  # noqa: B023 - awaited in this turn
                    plan = random_deposits(accounts, round(per_s * seconds), seed)
                    due_s = arrivals_s(per_s, len(plan), seed)
                    found[f"{share:.0%} of {maximum:,.0f}/s"] = await open_loop(  # noqa: B023
                        side.deposit, plan, due_s, side.processes
                    )
                    total += sum_of(plan)
                check(await side.total(accounts) == total, "the balances do not add up to the acknowledged deposits")
            return found

        floors = FLOORS_BARRIER if sync == "barrier" else FLOORS
        results = alternate((AETHER, *floors), settings, sync, one_round)
        for share, (case, runs) in zip(SHARES, by_case(results).items(), strict=True):
            more = {"share": share, "maximum_per_s": maximum, "offered_per_s": share * maximum, "seconds": seconds}
            yield Point(name="open", case=case, sync=sync, runs=runs, better="p99_ms", more=more)


def maximum_per_s(settings: Settings, sync: str, accounts: int) -> float:
    """Aether's most commands per second."""
    deposits = settings.deposits_or(20_000, 3_000)

    async def one_round(contestant: str, server: Server, seed: int) -> Measured:
        async with side_of(contestant, server, 1) as side:
            return await deposits_on(side, accounts, deposits, MAXIMUM_IN_FLIGHT, seed)

    rounds = replace(settings, rounds=min(settings.rounds, MAXIMUM_ROUNDS))
    found = [one.per_s for one in alternate([AETHER], rounds, sync, one_round)[AETHER]]
    return statistics.median(per_s for per_s in found if per_s is not None)
