"""What the flights example takes for granted about the file, over the whole year."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from aether import ActorId
from examples.flights.airport import with_day
from examples.flights.flight import Flight
from examples.flights.model import model
from examples.flights.source import ORIGINS, ROWS_OF_JANUARY, ROWS_OF_THE_YEAR, flight_of, read_rows, tail_number
from tests.support.nightly import NIGHTLY

NEWARK_STATE_BYTES_MAX = 250_000


@dataclass
class Year:
    """What is counted while the file is read once; its flights are not kept, they would fill a gigabyte."""

    rows: int = 0
    keys: set[str] = field(default_factory=set)
    lines_by_day: set[tuple[str, int]] = field(default_factory=set)
    departures: Counter[tuple[str, datetime]] = field(default_factory=Counter)
    months: list[int] = field(default_factory=list)
    tails_missing: list[bool] = field(default_factory=list)
    origins: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    newark: dict[str, bytes] = field(default_factory=dict)

    def add(self, tail: str | None, flight: Flight) -> None:
        """One row, in the order of the file."""
        self.rows += 1
        self.keys.add(flight.row)
        self.lines_by_day.add((flight.line_of_year, flight.day_of_year))
        self.months.append(flight.date.month)
        self.tails_missing.append(tail is None)
        self.origins[flight.origin] += 1
        self.counts["circles"] += flight.origin == flight.destination
        self.counts["cancelled"] += flight.departed_at is None
        self.counts["without a delay"] += flight.arrival_delay_minutes is None
        self.counts["arrived only"] += flight.departed_at is None and flight.arrival_delay_minutes is not None
        if tail and flight.departed_at:
            self.departures[tail, flight.departed_at] += 1
        if flight.origin == "EWR":
            line = flight.line_of_year
            self.newark[line] = with_day(self.newark.get(line, b""), flight.day_of_year)


@pytest.mark.skipif(not NIGHTLY, reason="takes ten seconds, and the file does not change")
def test_the_year_is_as_the_example_takes_it() -> None:
    year = Year()
    for row in read_rows():
        year.add(tail_number(row), flight_of(row))
    assert year.rows == ROWS_OF_THE_YEAR
    assert len(year.keys) == ROWS_OF_THE_YEAR, "the natural key is unique"
    assert len(year.lines_by_day) == ROWS_OF_THE_YEAR, "a row is known by line and day at every airport"
    assert year.counts["circles"] == 0
    assert year.departures.most_common(1)[0][1] == 1, "no two flights of an aircraft depart together"
    assert set(year.months[:ROWS_OF_JANUARY]) == {1}
    assert 1 not in year.months[ROWS_OF_JANUARY:]
    assert sum(year.tails_missing[:ROWS_OF_JANUARY]) == 155
    assert set(year.origins) == set(ORIGINS)
    assert year.counts["cancelled"] == 8_255
    assert year.counts["without a delay"] == 9_430
    assert year.counts["arrived only"] == 0
    assert sum(year.tails_missing) == 2_512
    airport = model.actor_type("airport")
    state = airport.initial(ActorId("airport", "EWR"))
    state.rows.update(year.newark)
    assert year.origins["EWR"] == 120_835
    assert len(airport.encode_state(state)) < NEWARK_STATE_BYTES_MAX, "the busiest airport stays small"
