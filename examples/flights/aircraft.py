"""The aircraft, each an actor under its tail number.

Rows come in any order and may come again. Counts do not care for order; `last_airport` is decided by the time at which
a flight really departed, which no two flights of one aircraft share. A row that an aircraft has is refused by the
aircraft itself: command ids are only remembered until their deadline, the file may be fed again next year. It keeps
its rows as a set of texts: the busiest aircraft of the year has 575 of them, 13 kB.

The refusal is decided before anything is emitted and is an ordinary answer, False, so there is nothing to undo.
"""

from dataclasses import dataclass, field
from datetime import datetime

from aether import Actor, command, event, query
from examples.flights.flight import Flight


@dataclass(frozen=True, slots=True)
class FlightCancelled:
    """It never left; the aircraft stayed where it was."""

    row: str


@dataclass(frozen=True, slots=True)
class FlightDiverted:
    """It left and did not arrive as planned: diverted or turned back, the file does not say where to."""

    row: str
    departed_at: datetime


@dataclass(frozen=True, slots=True)
class FlightCompleted:
    """It left and arrived."""

    row: str
    departed_at: datetime
    destination: str
    miles: int
    minutes_in_air: int
    delay_minutes: int


class Aircraft(Actor):
    """One aircraft; the key is its tail number.

    `departures` are flights that left, `arrivals` those that arrived as planned, and only these count for `miles`,
    `minutes_in_air` and `delay_minutes` (arrival delay, signed). `last_airport` is the destination of the flight that
    departed last, empty when that one was diverted or none is known.
    """

    departures: int = 0
    arrivals: int = 0
    cancellations: int = 0
    miles: int = 0
    minutes_in_air: int = 0
    delay_minutes: int = 0
    last_airport: str = ""
    last_departed_at: datetime | None = None
    rows: set[str] = field(default_factory=set[str])

    @command
    def record(self, flight: Flight) -> bool:
        """Count a flight once; False for one that is counted already."""
        row = flight.row
        if row in self.rows:
            return False
        if flight.departed_at is None:
            self.emit(FlightCancelled(row))
        elif flight.arrival_delay_minutes is None or flight.minutes_in_air is None:
            self.emit(FlightDiverted(row, flight.departed_at))
        else:
            self.emit(
                FlightCompleted(
                    row,
                    flight.departed_at,
                    flight.destination,
                    flight.miles,
                    flight.minutes_in_air,
                    flight.arrival_delay_minutes,
                )
            )
        return True

    @query
    def whereabouts(self) -> str:
        """The airport it flew to last, or that it is not known."""
        return self.last_airport or "unknown"

    @event
    def cancelled(self, e: FlightCancelled) -> None:
        """Count what did not happen."""
        self.rows.add(e.row)
        self.cancellations += 1

    @event
    def diverted(self, e: FlightDiverted) -> None:
        """Count the departure; where it is now is unknown."""
        self.rows.add(e.row)
        self.departures += 1
        if self.last_departed_at is None or e.departed_at > self.last_departed_at:
            self.last_departed_at = e.departed_at
            self.last_airport = ""

    @event
    def completed(self, e: FlightCompleted) -> None:
        """Count the flight; it is at the destination unless a later one is known."""
        self.rows.add(e.row)
        self.departures += 1
        self.arrivals += 1
        self.miles += e.miles
        self.minutes_in_air += e.minutes_in_air
        self.delay_minutes += e.delay_minutes
        if self.last_departed_at is None or e.departed_at > self.last_departed_at:
            self.last_departed_at = e.departed_at
            self.last_airport = e.destination
