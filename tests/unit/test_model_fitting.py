"""What never fits is refused before there is a value; whatever the codec takes for some value is not."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from itertools import product
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import pytest
from msgspec import Meta, Struct

from aether.codec import Codec
from aether.json_checks import ValueMismatch
from aether.model.fitting import can_fit

T = TypeVar("T")


@dataclass(frozen=True)
class Receipt:
    """An object."""

    number: int = 1


@dataclass(frozen=True)
class Ticket:
    """Another one with the same fields."""

    number: int = 1


@dataclass(frozen=True)
class Box(Generic[T]):
    """A generic one."""

    number: T


class Row(Struct, frozen=True):
    """A Struct."""

    number: int = 1


class Line(Struct, frozen=True, array_like=True):
    """One that is an array in JSON."""

    number: int = 1


class Pair(NamedTuple):
    """Two."""

    number: int = 1
    more: int = 1


class Fields(TypedDict):
    """A dict."""

    number: int


class Color(Enum):
    """By texts."""

    RED = "1"


class Level(IntEnum):
    """By numbers."""

    LOW = 1


VALUES: list[tuple[Any, Any]] = [
    (str, "1"), (int, 1), (float, 1.0), (bool, True), (None, None), (bytes, b"1"), (date, date(2026, 1, 1)),
    (datetime, datetime(2026, 1, 1, tzinfo=UTC)), (time, time(1)), (timedelta, timedelta(1)), (Decimal, Decimal(1)),
    (UUID, UUID(int=1)), (Color, Color.RED), (Level, Level.LOW), (Literal["1"], "1"), (Literal[1], 1),
    (list[int], [1]), (set[int], {1}), (frozenset[int], frozenset({1})), (tuple[int, ...], (1,)),
    (tuple[int, int], (1, 1)), (Pair, Pair()), (dict[str, int], {"number": 1}), (Fields, {"number": 1}),
    (Receipt, Receipt()), (Ticket, Ticket()), (Row, Row()), (Line, Line()), (Box[int], Box(1)), (Any, 1), (Any, "1"),
    (Any, [1]), (int | None, None), (int | None, 1), (str | Receipt, Receipt()), (Annotated[int, Meta(gt=0)], 1),
    (str | list[int] | Row, Row()),
]  # fmt: skip
TYPES = {str(one): one for one, _ in VALUES}


@pytest.mark.parametrize("declared", TYPES.values(), ids=TYPES)
def test_what_the_codec_takes_is_not_refused(declared: Any) -> None:
    takes = Codec(declared)
    for given, value in VALUES:
        try:
            takes.convert(value)
        except ValueMismatch:
            continue
        assert can_fit(Codec(given).info, takes.info), (given, value)


@pytest.mark.parametrize(
    ("given", "declared"),
    [
        (str, int), (int, str), (int, bool), (str, None), (None, str), (str, Receipt), (Receipt, str),
        (Receipt, Ticket), (Receipt, Row), (Receipt, dict[str, int]), (Receipt, Fields), (Row, list[int]),
        (Line, list[int]), (list[int], dict[str, int]), (list[int], str), (float, Color), (str, Level),
        (Literal["1"], int), (str, Literal[1]), (int | None, str | Receipt), (Annotated[int, Meta(gt=0)], str),
        (str, Annotated[int, Meta(gt=0)]), (datetime, int), (dict[str, int], list[int]),
    ],
)  # fmt: skip
def test_what_never_fits_is_refused(given: Any, declared: Any) -> None:
    assert not can_fit(Codec(given).info, Codec(declared).info)


def test_types_of_which_nothing_is_known_fit() -> None:
    for one, other in product([Any], TYPES.values()):
        assert can_fit(Codec(one).info, Codec(other).info)
        assert can_fit(Codec(other).info, Codec(one).info)
