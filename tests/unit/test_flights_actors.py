"""The flights' actors against the direct pass: any order, any repetition, and a check that finds what is wrong."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether import ActorId
from aether.ids import Version
from aether.model.definition import ActorCommand, ActorType, Context, State
from aether.model.schedules import When
from aether.model.tasks import TaskCall
from examples.flights.airport import has_day, with_day
from examples.flights.check import Verdict, compare, where_recorded
from examples.flights.direct import Totals, add_up
from examples.flights.flight import Flight
from examples.flights.model import model
from examples.flights.play import Report, reports_of
from examples.flights.source import CsvRow, flight_of, read_rows, tail_number

JANUARY = list(read_rows(20_000))
DIVERTED = {tail_number(row) for row in JANUARY if row["dep_time"] != "NA" and row["arr_delay"] == "NA"}
BUSY = sorted({tail for tail in DIVERTED if tail})[:6]
ROWS = [row for row in JANUARY if row["tailnum"] in BUSY] + [row for row in JANUARY if row["tailnum"] == "NA"][:20]
States = dict[tuple[str, str], dict[str, Any]]


class Alone:
    """An actor without runtime or store: what it emits is recorded, read back and applied."""

    def __init__(self, actor_type: ActorType, actor_id: ActorId) -> None:
        self.version = Version(0)
        self._type = actor_type
        self.state: State = actor_type.initial(actor_id, self)

    @property
    def context(self) -> Context:
        """The flights' handlers ask for none."""
        raise RuntimeError("no command's context here")

    @property
    def resources(self) -> Any:
        """Nor for resources."""
        raise RuntimeError("no lifespan here")

    def tell(self, kind: str, command: str, key: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """They tell nothing."""
        raise RuntimeError("nothing can be told here")

    def schedule(
        self, name: str, when: When, to: ActorCommand, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Nothing is scheduled here."""
        raise NotImplementedError

    def cancel_schedule(self, name: str) -> None:
        """None is cancelled."""
        raise NotImplementedError

    def start_task(self, call: TaskCall[Any], then: str, failed: str) -> str:
        """And start nothing."""
        raise RuntimeError("no task can be started here")

    def cancel_task(self, task_id: str) -> None:
        """Nor cancel it."""
        raise RuntimeError("no task can be cancelled here")

    def emit(self, event: object) -> None:
        """Apply what would be stored."""
        _, recorded = self._type.event_type_of(event).encode_checked(event)
        self.state = self._type.evolve(self.state, recorded)
        self.version = Version(self.version + 1)

    def ask(self, kind: Any, key: str) -> Any:
        """Nor for other actors."""
        raise RuntimeError("no other actor here")

    def record(self, flight: Flight) -> bool:
        """The command, its arguments and reply by way of JSON."""
        command = self._type.commands["record"]
        reply = command.invoke(self.state, self, command.decode_args(command.encode_args((flight,), {})))
        counted: bool = command.decode_reply(command.encode_reply(reply))
        return counted


class Fleet:
    """All actors that some rows speak of."""

    def __init__(self) -> None:
        self._actors: dict[tuple[str, str], Alone] = {}

    def report(self, rows: Iterable[CsvRow]) -> list[bool]:
        """Tell everybody; who counted it."""
        return [self._actor(report).record(report.flight) for row in rows for report in reports_of(row)]

    def _actor(self, report: Report) -> Alone:
        name = (report.kind, report.key)
        if name not in self._actors:
            self._actors[name] = Alone(model.actor_type(report.kind), ActorId(*name))
        return self._actors[name]

    @property
    def states(self) -> States:
        """As a client reads them."""
        types = {kind: model.actor_type(kind) for kind in ("aircraft", "airport")}
        return {name: types[name[0]].state_values(actor.state) for name, actor in self._actors.items()}

    @property
    def versions(self) -> dict[tuple[str, str], int]:
        """Events of each."""
        return {name: actor.version for name, actor in self._actors.items()}


def totals_of(rows: Iterable[CsvRow]) -> Totals:
    totals = Totals()
    add_up(rows, totals)
    return totals


def checked(rows: Iterable[CsvRow], fleet: Fleet) -> Verdict:
    return compare(totals_of(rows), fleet.states)


@given(st.permutations(ROWS), st.lists(st.sampled_from(ROWS), max_size=30))
def test_any_order_and_any_repetition_gives_the_totals_of_the_file(order: list[CsvRow], again: list[CsvRow]) -> None:
    fleet = Fleet()
    half = len(order) // 2
    fleet.report([*order[:half], *again, *order[half:]])
    assert checked(ROWS, fleet).differences == ()


@given(st.lists(st.sampled_from(ROWS), unique_by=lambda row: flight_of(row).row))
def test_a_known_row_is_refused_and_changes_nothing(rows: list[CsvRow]) -> None:
    fleet = Fleet()
    assert all(fleet.report(rows))
    versions, states = fleet.versions, fleet.states
    assert not any(fleet.report(rows))
    assert (fleet.versions, fleet.states) == (versions, states)


@given(st.data())
def test_an_earlier_larger_feed_is_counted_where_it_was_recorded(data: st.DataObject) -> None:
    fed, rest = ROWS[:60], ROWS[60:]
    earlier = data.draw(st.lists(st.sampled_from(rest), unique_by=lambda row: flight_of(row).row))
    fleet = Fleet()
    fleet.report([*earlier, *fed])
    totals = totals_of(fed)
    add_up(rest, totals, where_recorded(fleet.states))
    assert compare(totals, fleet.states).differences == ()


@given(st.lists(st.integers(1, 366)))
def test_a_bitmap_of_days_is_a_set_of_days(days: list[int]) -> None:
    bitmap = b""
    for day in days:
        bitmap = with_day(bitmap, day)
    assert [day for day in range(1, 400) if has_day(bitmap, day)] == sorted(set(days))
    assert len(bitmap) <= 46


@pytest.mark.parametrize(
    ("kind", "total"),
    [
        *(("aircraft", total) for total in ("departures", "arrivals", "cancellations", "miles", "minutes_in_air")),
        *(("aircraft", total) for total in ("delay_minutes", "last_airport", "last_departed_at")),
        *(("airport", total) for total in ("departures", "arrivals", "cancellations", "delay_minutes")),
    ],
)
def test_the_check_finds_every_wrong_total(kind: str, total: str) -> None:
    fleet = Fleet()
    fleet.report(ROWS)
    states = fleet.states
    name = next(name for name in states if name[0] == kind)
    states[name][total] = "WRONG" if total == "last_airport" else None if total == "last_departed_at" else -7
    [difference] = compare(totals_of(ROWS), states).differences
    assert (difference.kind, difference.key, difference.total) == (*name, total)


def test_the_check_finds_a_lost_row_a_missing_actor_and_one_too_many() -> None:
    fleet = Fleet()
    fleet.report(ROWS[:-1])
    assert checked(ROWS, fleet).differences
    states = fleet.states
    name, state = states.popitem()
    assert len(compare(totals_of(ROWS[:-1]), states).differences) == 1
    states[name] = state
    states["airport", "XXX"] = state
    assert len(compare(totals_of(ROWS[:-1]), states).differences) == 1


def test_a_row_that_is_claimed_but_not_counted_is_found() -> None:
    fleet = Fleet()
    fleet.report(ROWS[:60])
    states = fleet.states
    late = flight_of(next(row for row in ROWS[60:] if row["tailnum"] in BUSY))
    tail = next(row["tailnum"] for row in ROWS[60:] if row["tailnum"] in BUSY)
    states["aircraft", tail]["rows"].add(late.row)
    totals = totals_of(ROWS[:60])
    add_up(ROWS[60:], totals, where_recorded(states))
    assert {difference.kind for difference in compare(totals, states).differences} == {"aircraft"}


def test_the_totals_of_a_day_by_hand() -> None:
    out = flight_of(ROWS[0])
    plane = Alone(model.actor_type("aircraft"), ActorId("aircraft", "N1"))
    there = replace(out, departed_at=out.departed_at, arrival_delay_minutes=-5, minutes_in_air=60, miles=300)
    assert plane.record(there)
    assert plane.record(replace(there, number=2, departed_at=None, arrival_delay_minutes=None, minutes_in_air=None))
    state = plane.state
    assert (state.departures, state.arrivals, state.cancellations) == (1, 1, 1)
    assert (state.miles, state.minutes_in_air, state.delay_minutes) == (300, 60, -5)
    assert state.last_airport == out.destination
