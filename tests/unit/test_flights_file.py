"""What the flights example takes for granted about the file, over the whole year."""

from collections import Counter

import pytest

from aether import ActorId
from examples.flights.airport import with_day
from examples.flights.flight import Flight
from examples.flights.model import model
from examples.flights.source import ORIGINS, ROWS_OF_JANUARY, ROWS_OF_THE_YEAR, flight_of, read_rows, tail_number

NEWARK_STATE_BYTES_MAX = 250_000


@pytest.fixture(scope="module")
def year() -> list[tuple[str | None, Flight]]:
    """Every row: its aircraft and its flight."""
    return [(tail_number(row), flight_of(row)) for row in read_rows()]


def test_the_natural_key_is_unique_over_the_year(year: list[tuple[str | None, Flight]]) -> None:
    assert len(year) == ROWS_OF_THE_YEAR
    assert len({flight.row for _, flight in year}) == ROWS_OF_THE_YEAR


def test_the_rows_are_known_by_line_and_day_at_every_airport(year: list[tuple[str | None, Flight]]) -> None:
    assert len({(flight.line_of_year, flight.day_of_year) for _, flight in year}) == ROWS_OF_THE_YEAR
    assert not [flight for _, flight in year if flight.origin == flight.destination]


def test_no_two_flights_of_an_aircraft_depart_together(year: list[tuple[str | None, Flight]]) -> None:
    departed = Counter((tail, flight.departed_at) for tail, flight in year if tail and flight.departed_at)
    assert departed.most_common(1)[0][1] == 1


def test_january_is_the_beginning_of_the_file(year: list[tuple[str | None, Flight]]) -> None:
    months = [flight.date.month for _, flight in year]
    assert set(months[:ROWS_OF_JANUARY]) == {1}
    assert 1 not in months[ROWS_OF_JANUARY:]
    assert [tail for tail, _ in year[:ROWS_OF_JANUARY]].count(None) == 155


def test_the_counts_of_the_year(year: list[tuple[str | None, Flight]]) -> None:
    flights = [flight for _, flight in year]
    assert {flight.origin for flight in flights} == set(ORIGINS)
    assert sum(flight.departed_at is None for flight in flights) == 8_255
    assert sum(flight.arrival_delay_minutes is None for flight in flights) == 9_430
    assert not [one for one in flights if one.departed_at is None and one.arrival_delay_minutes is not None]
    assert sum(tail is None for tail, _ in year) == 2_512


def test_the_busiest_airport_stays_small(year: list[tuple[str | None, Flight]]) -> None:
    airport = model.actor_type("airport")
    days: dict[str, bytes] = {}
    newark = [flight for _, flight in year if flight.origin == "EWR"]
    for flight in newark:
        days[flight.line_of_year] = with_day(days.get(flight.line_of_year, b""), flight.day_of_year)
    state = airport.initial(ActorId("airport", "EWR"))
    state.rows.update(days)
    assert len(newark) == 120_835
    assert len(airport.encode_state(state)) < NEWARK_STATE_BYTES_MAX
