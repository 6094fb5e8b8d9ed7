"""One hot actor: every deposit is on the same account, so they can only be stored one after the other, or together.

The floor has two variants: a publish a deposit, and a message for everything that came while the one before was in
flight, which is what Aether does.
"""

from collections.abc import Iterator

from benchmarks.figures import AETHER, Measured, Point
from benchmarks.server import Server
from benchmarks.sides import side_of
from benchmarks.suite import Settings, alternate
from benchmarks.throughput import SYNC, deposits_on

FLOORS = ("floor single", "floor turn")


def hot(settings: Settings) -> Iterator[Point]:
    """Commands a second on one account."""
    deposits = settings.deposits_or(20_000, 2_000)
    for sync in settings.sync or SYNC:
        for in_flight in settings.in_flight or (100,):

            async def one_round(contestant: str, server: Server, seed: int) -> Measured:
                async with side_of(contestant, server, 1) as side:
                    return await deposits_on(side, 1, deposits, in_flight, seed)  # noqa: B023 - awaited in this turn

            floors = ("floor turn barrier",) if sync == "barrier" else FLOORS
            runs = alternate((AETHER, *floors), settings, sync, one_round)
            yield Point(
                name="hot", in_flight=in_flight, sync=sync, runs=runs, more={"accounts": 1, "deposits": deposits}
            )
