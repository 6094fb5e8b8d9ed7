"""What all benchmarks share: their settings, and rounds that alternate between contestants.

Every round of every contestant has a server of its own and a bounded time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import uvloop

from benchmarks.figures import Measured, Point
from benchmarks.server import Server

ROUND_TIMEOUT_S = 900.0
"""A round that takes longer has lost something."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line asks for; None and empty leave a choice to the benchmark."""

    rounds: int = 5
    quick: bool = False
    large: bool = False
    sync: Sequence[str] = ()
    in_flight: Sequence[int] = ()
    workers: Sequence[int] = ()
    deposits: int | None = None
    accounts: int | None = None

    def size(self, full: int, quick: int) -> int:
        """A number that `--quick` makes smaller."""
        return quick if self.quick else full

    def deposits_or(self, full: int, quick: int) -> int:
        """How many deposits to measure."""
        return self.deposits or self.size(full, quick)


Benchmark: TypeAlias = Callable[[Settings], Iterator[Point]]


def alternate(
    contestants: Iterable[str],
    settings: Settings,
    sync: str | Mapping[str, str],
    one_round: Callable[[str, Server, int], Awaitable[_Result]],
) -> dict[str, list[_Result]]:
    """Rounds of all contestants, taking turns, each on a fresh server; which is first changes from round to round.

    `sync` is the server's (see `Server`), for all or by contestant.
    """
    names = list(contestants)
    results: dict[str, list[_Result]] = {name: [] for name in names}
    for seed in range(settings.rounds):
        first = seed % len(names)
        for name in names[first:] + names[:first]:
            with Server(sync if isinstance(sync, str) else sync[name]) as server:
                results[name].append(uvloop.run(bounded(one_round(name, server, seed))))
    return results


async def bounded(round_: Awaitable[_Result]) -> _Result:
    """A round that ends in time, or raises TimeoutError."""
    async with asyncio.timeout(ROUND_TIMEOUT_S):
        return await round_


def by_case(results: Mapping[str, Sequence[Mapping[str, Measured]]]) -> dict[str, dict[str, list[Measured]]]:
    """Rounds that measured several cases each, as the runs of each case."""
    cases = {case: None for rounds in results.values() for round_ in rounds for case in round_}
    return {
        case: {name: [round_[case] for round_ in rounds if case in round_] for name, rounds in results.items()}
        for case in cases
    }


def check(right: bool, what: str) -> None:
    """End the run when a result is wrong: its figures would be worth nothing."""
    if not right:
        raise SystemExit(f"wrong result: {what}")
