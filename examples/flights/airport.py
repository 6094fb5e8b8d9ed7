"""The airports, each an actor under its code.

A row is told to its origin, and to its destination when it arrived there. An airport sees up to 120,835 rows of the
year and must know each of them again. A set of their texts would be 3 MB; but a flight number leaves once a day and
comes back on most days, so the exact set is small as a bitmap of the days of the year for each line: 3,013 lines at
Newark, at most 46 bytes each, 187 kB of JSON when the year is full. A command replaces one short `bytes` and costs
12 us with all its checks and encodings, at the end of the year as at its beginning.

The refusal is decided before anything is emitted and is an ordinary answer, False, so there is nothing to undo.
"""

from dataclasses import dataclass, field

from aether import Actor, Rejected, command, event, query
from examples.flights.flight import Flight


@dataclass(frozen=True, slots=True)
class Departed:
    """A flight left from here."""

    line: str
    day: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A flight that should have left from here did not."""

    line: str
    day: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A flight arrived here, so much later than planned (earlier when negative)."""

    line: str
    day: int
    delay_minutes: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """An airport's totals."""

    departures: int
    arrivals: int
    cancellations: int
    delay_minutes: int


class Airport(Actor):
    """One airport; the key is its code.

    Departures and cancellations count at the origin, arrivals at the destination. `delay_minutes` is the arrival delay,
    signed, of the flights that arrived here: a delay belongs to the airport where people wait for it.
    """

    departures: int = 0
    arrivals: int = 0
    cancellations: int = 0
    delay_minutes: int = 0
    rows: dict[str, bytes] = field(default_factory=dict[str, bytes])

    @command
    def record(self, flight: Flight) -> bool:
        """Count a flight once; False for one that is counted already. Refuses a flight that never was here."""
        line, day = flight.line_of_year, flight.day_of_year
        if has_day(self.rows.get(line, b""), day):
            return False
        if self.id.key == flight.origin:
            self.emit(Cancelled(line, day) if flight.departed_at is None else Departed(line, day))
        elif self.id.key == flight.destination and flight.arrival_delay_minutes is not None:
            self.emit(Arrived(line, day, flight.arrival_delay_minutes))
        else:
            raise Rejected("the flight neither was to leave from here nor arrived here", airport=self.id.key)
        return True

    @query
    def traffic(self) -> Traffic:
        """The totals, without the rows behind them."""
        return Traffic(self.departures, self.arrivals, self.cancellations, self.delay_minutes)

    @event
    def departed(self, e: Departed) -> None:
        """Count a departure."""
        self.rows[e.line] = with_day(self.rows.get(e.line, b""), e.day)
        self.departures += 1

    @event
    def cancelled(self, e: Cancelled) -> None:
        """Count what did not happen."""
        self.rows[e.line] = with_day(self.rows.get(e.line, b""), e.day)
        self.cancellations += 1

    @event
    def arrived(self, e: Arrived) -> None:
        """Count an arrival and its delay."""
        self.rows[e.line] = with_day(self.rows.get(e.line, b""), e.day)
        self.arrivals += 1
        self.delay_minutes += e.delay_minutes


def has_day(days: bytes, day: int) -> bool:
    """Whether a bitmap holds a day: bit `day % 8`, lowest first, of byte `day // 8`; bytes that are not there are 0."""
    place = day >> 3
    return place < len(days) and bool(days[place] >> (day & 7) & 1)


def with_day(days: bytes, day: int) -> bytes:
    """The bitmap with a day added, no longer than its last day needs."""
    bits = int.from_bytes(days, "little") | 1 << day
    return bits.to_bytes((bits.bit_length() + 7) >> 3, "little")
