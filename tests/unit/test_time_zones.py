"""Times without a zone are refused wherever a value is checked, and read where they were stored before."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, NamedTuple, TypedDict

import pydantic
import pytest
from msgspec import Meta, Struct

from aether import Actor, Decider, InvalidCommand, Model, ModelError, command, event, query
from aether.codec import Codec
from aether.errors import ActorFailed
from aether.json_checks import ValueMismatch
from aether.testing import given, local_pool

NAIVE = datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001 - what is refused
AWARE = NAIVE.replace(tzinfo=UTC)
OnPurpose = Annotated[datetime, Meta(tz=False)]


class Leg(NamedTuple):
    """One of a NamedTuple's fields."""

    at: datetime


class Row(TypedDict):
    """One of a dict's items."""

    at: datetime


class Stop(Struct):
    """Beside a time that has no zone on purpose."""

    local: OnPurpose
    at: datetime


class Form(pydantic.BaseModel):
    """Of pydantic."""

    local: pydantic.NaiveDatetime | None = None
    at: datetime | None = None


REFUSED: list[tuple[Any, Any, str]] = [
    (datetime, NAIVE, ""),
    (datetime | None, NAIVE, ""),
    (Annotated[datetime, Meta(description="when")], NAIVE, ""),
    (list[datetime], [AWARE, NAIVE], "[1]"),
    (tuple[datetime, ...], (NAIVE,), "[0]"),
    (tuple[OnPurpose, datetime], (NAIVE, NAIVE), "[1]"),
    (dict[str, list[datetime]], {"a": [NAIVE]}, "a[0]"),
    (dict[datetime, int], {NAIVE: 1}, f"[{NAIVE!r}]"),
    (Leg, Leg(NAIVE), "at"),
    (Row, Row(at=NAIVE), "at"),
    (Stop, Stop(NAIVE, NAIVE), "at"),
    (Form, Form(at=NAIVE), "at"),
]


@pytest.mark.parametrize(("type_", "value", "path"), REFUSED, ids=lambda one: str(one)[:30])
def test_a_time_without_a_zone_is_refused_at_its_path(type_: Any, value: Any, path: str) -> None:
    codec, stored = Codec(type_), Codec(type_, zoneless=True)
    raw = stored.encode_checked(value)[0]
    for check in (lambda: codec.encode_checked(value), lambda: codec.convert(value), lambda: codec.accept(raw)):
        with pytest.raises(ValueMismatch, match="has no time zone: give one") as refused:
            check()
        assert refused.value.path == path
    assert codec.decode(raw) == value


TAKEN: list[tuple[Any, Any]] = [
    (datetime, AWARE),
    (OnPurpose, NAIVE),
    (OnPurpose | None, NAIVE),
    (list[OnPurpose], [NAIVE]),
    (tuple[OnPurpose, datetime], (NAIVE, AWARE)),
    (dict[str, OnPurpose], {"a": NAIVE}),
    (Stop, Stop(NAIVE, AWARE)),
    (Form, Form(local=NAIVE, at=AWARE)),
    (time, time(9, 30)),
    (date, date(2026, 1, 2)),
]


@pytest.mark.parametrize(("type_", "value"), TAKEN, ids=lambda one: str(one)[:30])
def test_a_zone_may_be_left_out_on_purpose_and_of_times_of_day(type_: Any, value: Any) -> None:
    codec = Codec(type_)
    raw, back = codec.encode_checked(value)
    assert back == value == codec.accept(raw)
    assert codec.convert(value) == raw


@dataclass(frozen=True)
class Opened:
    """Opened at a time."""

    at: datetime


class Door(Actor):
    """Knows when it was opened."""

    opened_at: datetime | None = None

    @command
    def open(self, at: datetime) -> None:
        """Open it."""
        self.emit(Opened(at))

    @command
    def open_carelessly(self) -> None:
        """Open it at a time without a zone."""
        self.emit(Opened(NAIVE))

    @query
    def since(self) -> datetime | None:
        """When it was opened."""
        return self.opened_at

    @event
    def opened(self, e: Opened) -> None:
        """It is open."""
        self.opened_at = e.at


STORED = [{"type": "Opened", "data": {"at": "2026-01-02T03:04:00"}}]


async def test_arguments_and_events_without_a_zone_never_get_stored() -> None:
    async with local_pool(Model("doors", actors=[Door])) as pool:
        door = pool.client.actor(Door, "front")
        with pytest.raises(InvalidCommand, match="no time zone") as refused:
            await door.open(NAIVE)
        assert refused.value.path == "at"
        with pytest.raises(ActorFailed, match=r"the event Opened of door cannot be stored as it is: at: .*zone"):
            await door.open_carelessly()
        await door.open(AWARE)
        assert [one.event async for one in pool.client.history(Door, "front")] == [Opened(AWARE)]


def test_a_stored_history_without_zones_is_read_and_its_state_can_be_stored() -> None:
    door = given(Door, stored=STORED)
    assert door.state == {"opened_at": NAIVE}
    door.when("open", AWARE).then(Opened(AWARE))
    door.when("since").then_failed(ActorFailed)
    kind = Model("doors", actors=[Door]).actor_type(Door)
    state = kind.evolve(kind.initial(None), Opened(NAIVE))  # type: ignore[arg-type]  # no id is needed
    assert kind.encode_state(state) == b'{"opened_at":"2026-01-02T03:04:00"}'


def test_a_default_and_a_story_have_a_zone() -> None:
    class Late(Actor):
        at: datetime = NAIVE

    with pytest.raises(ModelError, match=r"default of Late.at .*no time zone"):
        Model("late", actors=[Late])
    with pytest.raises(ValueError, match=r"now=.* has no time zone"):
        given(Door, now=NAIVE)


def decide(state: list[datetime], command: Opened) -> list[Opened]:
    """Open it."""
    return [command]


def evolve(state: list[datetime], event: Opened) -> list[datetime]:
    """It is open."""
    return [*state, event.at]


def test_the_state_of_a_decider_may_come_from_stored_times_without_a_zone() -> None:
    decider = Decider(kind="gate", initial=list, decide=decide, evolve=evolve)
    assert given(decider, stored=STORED).state == {"value": [NAIVE]}
    given(decider, stored=STORED).when("opened", AWARE).then(Opened(AWARE))
