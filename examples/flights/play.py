"""The play itself: rows become commands, many are in flight in no order, and the states are read back.

It takes a way to reach an actor, a client's `actor` or a runtime's, and knows neither files nor terminals.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from aether import Client, Runtime
from examples.flights.aircraft import Aircraft
from examples.flights.airport import Airport
from examples.flights.flight import Flight
from examples.flights.source import CsvRow, flight_of, tail_number

AIRCRAFT, AIRPORT = "aircraft", "airport"
TYPES: Mapping[str, type[Aircraft] | type[Airport]] = {AIRCRAFT: Aircraft, AIRPORT: Airport}

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Report:
    """One command: a flight for an actor to record."""

    kind: str
    key: str
    flight: Flight

    @property
    def command_id(self) -> str:
        """The same for the same row at the same actor, in every run."""
        return f"{self.kind}/{self.key} {self.flight.row}"


def reports_of(row: CsvRow) -> Iterator[Report]:
    """Who has to hear of a row: its origin, its destination when it arrived, its aircraft when that is known."""
    flight = flight_of(row)
    yield Report(AIRPORT, flight.origin, flight)
    if flight.arrival_delay_minutes is not None:
        yield Report(AIRPORT, flight.destination, flight)
    tail = tail_number(row)
    if tail is not None:
        yield Report(AIRCRAFT, tail, flight)


async def send(pool: Client | Runtime, report: Report, deadline_s: float) -> bool:
    """Have the actor record the flight; False when it had it."""
    actor = pool.actor(TYPES[report.kind], report.key, deadline_s=deadline_s, command_id=report.command_id)
    return await actor.record(report.flight)


async def for_each(items: Iterable[Item], in_flight: int, act: Callable[[Item], Awaitable[object]]) -> None:
    """`act` on every item, at most `in_flight` at a time; the first error ends it all, in an `ExceptionGroup`."""
    waiting = iter(items)

    async def work() -> None:
        for item in waiting:
            await act(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(work())
