"""What the codec carries, what it refuses, and that the error names the place."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest
from msgspec import Meta, Struct

from aether.codec import Codec
from aether.json_checks import Unsupported, ValueMismatch, is_immutable, split_path


class Color(Enum):
    """An enum of texts."""

    RED = "red"


class Level(IntEnum):
    """An enum of numbers."""

    LOW = 1


class Word(StrEnum):
    """An enum whose members are texts."""

    YES = "yes"


@dataclass(frozen=True)
class Line:
    """Immutable, with a Decimal and a constraint."""

    price: Decimal
    count: Annotated[int, Meta(gt=0)] = 1


@dataclass
class Order:
    """Containers of another class."""

    lines: list[Line]
    by_name: dict[str, Line]


class Frozen(Struct, frozen=True):
    """A Struct."""

    at: datetime


class Point(NamedTuple):
    """A tuple with names."""

    x: int
    y: int


class Options(TypedDict):
    """A dict with names."""

    loud: bool


class Person(pydantic.BaseModel):
    """A pydantic model that holds a dataclass."""

    name: str
    lines: list[Line] = []
    paid: Decimal = Decimal("1.10")


class Secretive(pydantic.BaseModel):
    """A pydantic model with a private part."""

    shown: int = 0
    _hidden: int = 0


class ById:
    """Not a type that JSON can carry."""


@dataclass(eq=False)
class Compared:
    """Equal only to itself, as `==` has it."""

    amount: int


ROME = ZoneInfo("Europe/Rome")

VALUES: list[tuple[Any, Any, bytes]] = [
    (int, 2**64 - 1, b"18446744073709551615"),
    (int, -(2**63), b"-9223372036854775808"),
    (float, 1e22, b"1e22"),
    (float, -0.0, b"-0.0"),
    (bool, True, b"true"),
    (None, None, b"null"),
    (str, "né\x00🙂", '"né\\u0000🙂"'.encode()),
    (bytes, b"\x00\xff", b'"AP8="'),
    (Decimal, Decimal("1.00"), b'"1.00"'),
    (Decimal, Decimal("0.1234567890123456789012345"), b'"0.1234567890123456789012345"'),
    (datetime, datetime(2030, 1, 2, 3, 4, 5, 6), b'"2030-01-02T03:04:05.000006"'),  # noqa: DTZ001 - naive on purpose
    (datetime, datetime(2030, 1, 2, tzinfo=timezone(timedelta(hours=-3))), b'"2030-01-02T00:00:00-03:00"'),
    (date, date(2030, 1, 2), b'"2030-01-02"'),
    (time, time(1, 2, 3, 4, tzinfo=UTC), b'"01:02:03.000004Z"'),
    (timedelta, timedelta(days=-1, microseconds=1), b'"-PT86399.999999S"'),
    (UUID, UUID(int=7), b'"00000000-0000-0000-0000-000000000007"'),
    (Color, Color.RED, b'"red"'),
    (Level, Level.LOW, b"1"),
    (Literal["a", 3], 3, b"3"),
    (Line, Line(Decimal(2)), b'{"price":"2","count":1}'),
    (Order, Order([Line(Decimal(2))], {"a b": Line(Decimal(3), 4)}),
     b'{"lines":[{"price":"2","count":1}],"by_name":{"a b":{"price":"3","count":4}}}'),
    (Frozen, Frozen(datetime(2030, 1, 1, tzinfo=UTC)), b'{"at":"2030-01-01T00:00:00Z"}'),
    (Point, Point(1, 2), b"[1,2]"),
    (Options, {"loud": True}, b'{"loud":true}'),
    (Person, Person(name="Ann"), b'{"name":"Ann","lines":[],"paid":"1.10"}'),
    (Person | None, None, b"null"),
    (list[Person], [Person(name="Ann", lines=[Line(Decimal(1))])],
     b'[{"name":"Ann","lines":[{"price":"1","count":1}],"paid":"1.10"}]'),
    (dict[int, str], {1: "a"}, b'{"1":"a"}'),
    (tuple[int, ...], (1, 2), b"[1,2]"),
    (tuple[int, str], (1, "a"), b'[1,"a"]'),
    (frozenset[int], frozenset({1}), b"[1]"),
    (int | str | None, "1", b'"1"'),
    (Any, {"a": [1, 1.5, None, "x"]}, b'{"a":[1,1.5,null,"x"]}'),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "value", "raw"), VALUES, ids=lambda one: getattr(one, "__name__", None))
def test_a_value_comes_back_equal_and_of_the_same_type(type_: Any, value: Any, raw: bytes) -> None:
    codec = Codec(type_)
    encoded, back = codec.encode_checked(value)
    assert encoded == raw
    assert type(back) is type(value)
    assert back == value
    assert codec.convert(value) == raw
    assert codec.decode(raw) == value


@pytest.mark.parametrize(
    ("type_", "value", "path"),
    [
        (int, 2**64, ""),
        (int, -(2**63) - 1, ""),
        (Any, {"a": {"b": [0, 2**70]}}, "a.b[1]"),
        (float, float("nan"), ""),
        (float | None, float("nan"), ""),
        (list[float | None], [0.0, float("inf")], "[1]"),
        (Decimal, Decimal("NaN"), ""),
        (Decimal, Decimal("-Infinity"), ""),
        (Line, Line(Decimal("sNaN")), "price"),
        (Decimal, 1.5, ""),
        (Decimal, 1, ""),
        (Line, Line("1.5"), "price"),  # type: ignore[arg-type]  # the wrong type is the point
        (int, True, ""),
        (int, 1.0, ""),
        (bool, 1, ""),
        (float, True, ""),
        (str, b"x", ""),
        (str, "\ud800", ""),
        (Order, Order([Line(Decimal(1)), Line(Decimal(1), 0)], {}), "lines[1].count"),
        (Order, Order([], {"\udfff": Line(Decimal(1))}), "by_name['\\udfff']"),
        (list[int], (1, 2), ""),
        (Any, {"a": (1, 2)}, "a"),
        (Any, {1: 2}, ""),
        (dict[str, Any], {"when": datetime(2030, 1, 1, tzinfo=UTC)}, "when"),
        (datetime, datetime(1900, 1, 1, tzinfo=timezone(timedelta(minutes=19, seconds=32))), ""),
        (dict[str, Any], {"x": ById()}, "x"),
        (Secretive, Secretive.model_construct(shown="x"), "shown"),
    ],
)
def test_what_would_not_come_back_equal_is_refused_with_its_path(type_: Any, value: Any, path: str) -> None:
    with pytest.raises(ValueMismatch) as refused:
        Codec(type_).encode_checked(value)
    assert refused.value.path == path
    assert refused.value.message


def test_private_parts_of_a_pydantic_model_are_refused() -> None:
    value = Secretive(shown=1)
    value._hidden = 2
    with pytest.raises(ValueMismatch, match="private"):
        Codec(list[Secretive]).encode_checked([value])


def test_values_too_deep_for_json_are_refused() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueMismatch, match="deep"):
        Codec(Any).encode_checked(value)
    with pytest.raises(ValueMismatch, match="deep"):
        Codec(Any).decode(b"[" * 100_000 + b"]" * 100_000)


def test_an_int_may_stand_for_the_same_float_and_becomes_it() -> None:
    raw, back = Codec(list[float]).encode_checked([2])
    assert (raw, repr(back)) == (b"[2]", "[2.0]")


def test_sets_and_classes_without_equality_compare_by_what_they_hold() -> None:
    values = {"a", "b", "c", "d", "e", "f"}
    assert Codec(set[str]).encode_checked(values)[1] == values
    back = Codec(Compared).encode_checked(Compared(3))[1]
    assert isinstance(back, Compared)
    assert back.amount == 3


def test_the_repeated_hour_of_a_time_zone_is_the_same_instant() -> None:
    for fold in (0, 1):
        given = datetime(2030, 10, 27, 2, 30, fold=fold, tzinfo=ROME)
        back = Codec(datetime).encode_checked(given)[1]
        assert back.replace(tzinfo=None) == given.replace(tzinfo=None)
        assert back.utcoffset() == given.utcoffset() == timedelta(hours=2 - fold)


def test_converting_takes_what_fits_and_still_refuses_what_would_be_bent() -> None:
    assert Codec(list[int]).convert((1, 2)) == b"[1,2]"
    assert Codec(datetime).convert("2030-01-01T00:00:00Z") == b'"2030-01-01T00:00:00Z"'
    for type_, value in [(float | None, float("nan")), (Any, [float("inf")]), (int, 2**64), (str, Word.YES)]:
        with pytest.raises(ValueMismatch):
            Codec(type_).convert(value)


@pytest.mark.parametrize(
    ("type_", "raw", "path"),
    [
        (int, b"18446744073709551616", ""),
        (int, b"-9223372036854775809", ""),
        (Any, b'{"a":123456789012345678901234567890}', ""),
        (float, b"1e999", ""),
        (float, b"NaN", ""),
        (Line, b'{"price":"NaN"}', "price"),
        (Line, b"{}", "price"),
        (Order, b'{"lines":[{"price":"1"},{"price":[]}],"by_name":{}}', "lines[1].price"),
        (Order, b'{"lines":[{}],"by_name":{}}', "lines[0].price"),
        (list[Person], b'[{"name":"a"},{"name":"b","lines":[{"price":"1"},{"price":"x"}]}]', "[1].lines[1].price"),
        (dict[int, int], b'{"x":1}', ""),
        (str, b'"\\ud800"', ""),
        (str, b'"\xff"', ""),
        (int, b"", ""),
        (int, b"1 2", ""),
    ],
)
def test_json_of_another_type_is_a_misfit_with_its_path(type_: Any, raw: bytes, path: str) -> None:
    with pytest.raises(ValueMismatch) as refused:
        Codec(type_).decode(raw)
    assert refused.value.path == path


def test_long_digits_within_texts_and_fractions_are_no_integers() -> None:
    assert Codec(Any).decode(b'{"n":"123456789012345678901234567890 \\" 1"}') == {
        "n": '123456789012345678901234567890 " 1'
    }
    assert Codec(float).decode(b"0.1234567890123456789012345") == 0.12345678901234568


def test_a_decimal_is_read_from_the_digits_never_through_float() -> None:
    assert Codec(Decimal).decode(b"0.1234567890123456789") == Decimal("0.1234567890123456789")


@pytest.mark.parametrize("type_", [ById, list[ById], complex, Line | Order, "Nowhere"])
def test_types_that_json_cannot_carry_are_unsupported(type_: Any) -> None:
    with pytest.raises(Unsupported):
        Codec(type_)


@pytest.mark.parametrize(
    ("type_", "immutable"),
    [
        (int | str | None, True),
        (tuple[Line, ...], True),
        (Frozen, True),
        (Annotated[int, Meta(gt=0)], True),
        (frozenset[UUID], True),
        (Point, True),
        (list[int], False),
        (Order, False),
        (tuple[list[int], ...], False),
        (Any, False),
        (Person, False),
    ],
)
def test_immutable_types_are_known(type_: Any, immutable: bool) -> None:
    assert is_immutable(Codec(type_).info) is immutable


def test_a_path_is_read_from_the_outer_place_to_the_inner_one() -> None:
    assert split_path("no - at `$.x[1]` - at `$.lines[0]`") == ("no", "lines[0].x[1]")
    assert split_path("Expected `int`") == ("Expected 'int'", "")
    assert split_path("Expected `int`, got `str` - at `key` in `$.a`") == ("Expected 'int', got 'str'", "a")
