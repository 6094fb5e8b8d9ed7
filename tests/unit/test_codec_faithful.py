"""What an argument or a reply may be given as, and that whatever would arrive as something else is refused."""

import enum
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NotRequired, TypedDict, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic
import pytest
from msgspec import UNSET, Meta, Struct, UnsetType

from aether.codec import Codec
from aether.json_checks import ValueMismatch


class Whole(int):
    """A class derived from int."""


class Text(str):
    """A class derived from str."""

    __slots__ = ()


class Level(enum.IntEnum):
    """Numbers with names."""

    LOW = 1


class Side(enum.Enum):
    """Texts with names."""

    BUY = "buy"


class Bits(enum.Flag):
    """Flags."""

    A = 1
    B = 2


@dataclass(frozen=True)
class Base:
    """A class with a container and a default."""

    at: datetime | None = None
    sizes: tuple[int, ...] = ()
    weight: float = 0.0


@dataclass(frozen=True)
class Derived(Base):
    """The same fields."""


@dataclass
class Outer:
    """Parts within parts."""

    inner: Base
    by_day: dict[date, Base] = field(default_factory=dict)


@dataclass
class Doubled:
    """Changes when it is made again."""

    amount: int

    def __post_init__(self) -> None:
        self.amount *= 2


class Renamed(Struct, rename="camel", omit_defaults=True, tag="r"):
    """Other names in JSON, a tag, and what is left out."""

    my_size: int = 0
    my_ratio: float = 1.0
    maybe: int | UnsetType = UNSET


class Placed(Struct, array_like=True):
    """An array in JSON."""

    x: int
    ratio: float = 0.5


class Point(NamedTuple):
    """A tuple with names."""

    x: int
    y: float


class Options(TypedDict):
    """A dict with names."""

    loud: bool
    ratio: NotRequired[float]


class Login(pydantic.BaseModel):
    """Holds a secret."""

    name: str
    password: pydantic.SecretStr


class Kept(pydantic.BaseModel):
    """Leaves a field out of its JSON, has a private one, an alias, and a validator."""

    hidden: int = pydantic.Field(0, exclude=True)
    size: float = pydantic.Field(0.0, alias="theSize")
    price: Decimal = Decimal(0)
    label: str = ""
    _private: int = 0

    @pydantic.field_validator("label")
    @classmethod
    def strip(cls, label: str) -> str:
        return label.strip()


class Dated(pydantic.BaseModel):
    """What pydantic itself would convert."""

    at: datetime | None = None
    count: int = 0


class Counting(pydantic.BaseModel):
    """Changes each time that it is validated."""

    count: int

    @pydantic.field_validator("count")
    @classmethod
    def more(cls, count: int) -> int:
        return count + 1


Item = TypeVar("Item")


@dataclass
class Box(Generic[Item]):
    """A generic class."""

    item: Item


ODD = timezone(timedelta(minutes=19, seconds=32))
BIG = 2**53 + 1

FAITHFUL: list[tuple[Any, Any]] = [
    (int, 3),
    (float, 3),
    (float, 2**53),
    (float, -0.0),
    (Decimal, 3),
    (Decimal, "1.50"),
    (Decimal, Decimal("1E+3")),
    (datetime, "2030-01-01T00:00:00.123456000Z"),
    (datetime, datetime(2030, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Rome"))),
    (date, "2030-01-01"),
    (time, "01:02:03"),
    (timedelta, "PT0.5H"),
    (UUID, "00000000000000000000000000000007"),
    (bytes, "AP8="),
    (Side, "buy"),
    (Level, 1),
    (Bits, Bits.A | Bits.B),
    (tuple[int, ...], [1, 2]),
    (list[float], (1, 2.5)),
    (tuple[int, str], [1, "a"]),
    (set[int], [1, 2]),
    (set[date], ["2030-01-01", date(2030, 1, 2)]),
    (frozenset[Base], [{"sizes": [1]}, Base(weight=1.0)]),
    (set[float], {1, 2}),
    (Base, {"at": "2030-01-01T00:00:00Z", "sizes": [1]}),
    (Base, Base(sizes=(1,))),
    (Outer, {"inner": Base(), "by_day": {"2030-01-01": {"weight": 1}}}),
    (Renamed, {"mySize": 1, "type": "r"}),
    (Renamed, Renamed(1, 1.0)),
    (Placed, [1]),
    (Point, [1, 2]),
    (Options, {"loud": True}),
    (dict[int, int], {"1": 2}),
    (dict[str | int, int], {"2": 2}),
    (Any, {"a": [1, 1.5, None, True]}),
    (Box[float], Box(1)),
    (Kept, Kept.model_validate({"theSize": 1, "label": "x"})),
    (Kept, {"theSize": 1, "price": "1.10", "label": "x"}),
    (Literal["a", 1], 1),
    (Annotated[int, Meta(gt=0)] | None, None),
    (int | float, 1.0),
]


@pytest.mark.parametrize(("type_", "value"), FAITHFUL)
def test_a_value_may_be_given_in_the_json_form_of_its_type(type_: Any, value: Any) -> None:
    codec = Codec(type_)
    raw = codec.convert(value)
    back = codec.accept(raw)
    assert codec.decode(raw) == back
    assert codec.encode_checked(back)[1] == back
    assert codec.convert(back)


BENT: list[tuple[Any, Any, str]] = [
    (float, BIG, ""),
    (float, -BIG, ""),
    (float | None, BIG, ""),
    (list[float], [1, BIG], "[1]"),
    (float, Decimal("1.5"), ""),
    (Decimal, 1.5, ""),
    (int, True, ""),
    (int, Whole(3), ""),
    (int, Level.LOW, ""),
    (list[int], [1, Whole(3)], "[1]"),
    (str, Text("a"), ""),
    (str, Side.BUY, ""),
    (dict[str, int], {Text("a"): 1}, ""),
    (dict[str | int, int], {2: 2}, ""),
    (dict[str | float, int], {2.0: 2}, ""),
    (dict[str, int], OrderedDict(a=1), ""),
    (dict[str, int], defaultdict(int, a=1), ""),
    (datetime, datetime(1900, 1, 1, tzinfo=ODD), ""),
    (datetime, datetime(1900, 1, 1, tzinfo=ZoneInfo("Europe/Amsterdam")), ""),
    (time, time(1, tzinfo=ODD), ""),
    (time, time(1, tzinfo=ZoneInfo("Europe/Rome")), ""),
    (datetime, "2030-01-01T00:00:00.1234567Z", ""),
    (time, "00:00:00.1234567", ""),
    (timedelta, "PT0.1234567S", ""),
    (timedelta, "PT0.000000001H", ""),
    (bytes, bytearray(b"a"), ""),
    (bytearray, b"a", ""),
    (list[int], {1, 2}, ""),
    (set[int], [1, 1], ""),
    (set[float], [1, 1.0], ""),
    (tuple[int, ...], Point(1, 2), ""),
    (Any, (1, 2), ""),
    (Any, [1, (2,)], "[1]"),
    (Any, {"a": [{"b": (2,)}]}, "a[0].b"),
    (Any, {"a": {1: 2}}, "a"),
    (list[Any], [(1,)], "[0]"),
    (dict[str, Any], {"a": (1,)}, "a"),
    (list, [(1,)], "[0]"),
    (dict, {1: 2}, ""),
    (Any, {"when": date(2030, 1, 1)}, "when"),
    (Any, {1: 2}, ""),
    (dict[str, Any], {"a": {1}}, "a"),
    (Base, Derived(), ""),
    (list[Base], [Base(), Derived()], "[1]"),
    (Base, {"weigth": 1}, "weigth"),
    (Outer, {"inner": {"sizes": [1], "more": 1}}, "inner.more"),
    (Outer, {"inner": {"weight": BIG}}, "inner.weight"),
    (Outer, {"inner": {}, "by_day": {"2030-01-01": {"weight": BIG}}}, "by_day['2030-01-01'].weight"),
    (Doubled, Doubled(1), "amount"),
    (Doubled, {"amount": 1}, "amount"),
    (Renamed, {"my_size": 1, "type": "r"}, "my_size"),
    (Placed, [1, BIG], "[1]"),
    (Point, [1, BIG], "[1]"),
    (Options, {"loud": True, "more": 1}, ""),
    (Options, {"loud": True, "ratio": BIG}, "ratio"),
    (Box[float], Box(BIG), "item"),
    (Login, Login(name="a", password=pydantic.SecretStr("secret")), "password"),
    (list[Login], [Login(name="a", password=pydantic.SecretStr("secret"))], "[0].password"),
    (Kept, Kept.model_validate({"hidden": 1}), "hidden"),
    (Kept, {"theSize": BIG}, "theSize"),
    (Kept, {"price": 0.1234567890123456789012}, "price"),
    (Kept, {"label": " x "}, "label"),
    (Kept, {"more": 1}, "more"),
    (Dated, {"at": "2030-01-01"}, "at"),
    (Dated, {"at": 0}, "at"),
    (Dated, {"at": "1735689600"}, "at"),
    (Dated, {"count": "5"}, "count"),
    (Dated, {"count": 5.0}, "count"),
    (Counting, Counting(count=1), "count"),
    (Counting, {"count": 1}, "count"),
]


@pytest.mark.parametrize(("type_", "value", "path"), BENT)
def test_what_would_arrive_as_something_else_is_refused_with_its_path(type_: Any, value: Any, path: str) -> None:
    with pytest.raises(ValueMismatch) as refused:
        Codec(type_).convert(value)
    assert refused.value.path == path
    assert refused.value.message


def test_a_secret_given_as_a_text_arrives() -> None:
    raw = Codec(Login).convert({"name": "a", "password": "secret"})
    assert Codec(Login).accept(raw).password.get_secret_value() == "secret"


def test_private_parts_of_an_argument_are_refused() -> None:
    value = Kept.model_validate({})
    value._private = 2
    with pytest.raises(ValueMismatch, match="private"):
        Codec(Kept).convert(value)


def test_a_refusal_says_what_to_do() -> None:
    for type_, value, advice in [
        (Login, Login(name="a", password=pydantic.SecretStr("secret")), "asterisks"),
        (datetime, datetime(1900, 1, 1, tzinfo=ODD), "UTC"),
        (float, BIG, "declare an int"),
        (str, Side.BUY, "value"),
        (Base, Derived(), "derived"),
        (dict[str | int, int], {2: 2}, "keys"),
        (Base, {"weigth": 1}, "leave it out"),
        (set[int], [1, 1], "leave"),
    ]:
        with pytest.raises(ValueMismatch, match=advice):
            Codec(type_).convert(value)
    with pytest.raises(ValueMismatch) as refused:
        Codec(Login).convert(Login(name="a", password=pydantic.SecretStr("secret")))
    assert "secret'" not in str(refused.value)


@pytest.mark.parametrize(
    ("type_", "raw", "path"),
    [
        (float, b"9007199254740993", ""),
        (list[float | None], b"[null,-9007199254740993]", "[1]"),
        (set[float], b"[1.5,9007199254740993]", ""),
        (dict[float, int], b'{"9007199254740993":1}', ""),
        (dict[float, int], b'{"1":1,"1.0":2}', ""),
        (datetime, b'"2030-01-01T00:00:00.1234567Z"', ""),
        (timedelta, b'"PT0.000000001H"', ""),
        (set[int], b"[1,1]", ""),
        (Base, b'{"more":1}', "more"),
        (Outer, b'{"inner":{"weight":9007199254740993}}', "inner.weight"),
        (Kept, b'{"theSize":9007199254740993}', "theSize"),
        (Kept, b'{"price":0.1234567890123456789}', "price"),
        (Kept, b'{"label":" x "}', "label"),
        (Placed, b"[1,0.5,2]", ""),
        (Options, b'{"loud":true,"more":1}', ""),
    ],
)
def test_json_from_anywhere_is_not_bent_either(type_: Any, raw: bytes, path: str) -> None:
    with pytest.raises(ValueMismatch) as refused:
        Codec(type_).accept(raw)
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("type_", "raw", "value"),
    [
        (float, b"1e2", 100.0),
        (float, b"0.1234567890123456789012345", 0.12345678901234568),
        (float, b"9007199254740992", 2.0**53),
        (float, b"9223372036854775808", 2.0**63),
        (Any, b"[1.50,1E2]", [1.5, 100.0]),
        (Decimal, b"1.50", Decimal("1.50")),
        (set[float], b"[9007199254740992,1e300,3]", {2.0**53, 1e300, 3.0}),
        (Base, b'{ "weight": 1, "at": "2030-01-01 00:00:00+00:00" }', Base(datetime(2030, 1, 1, tzinfo=UTC), (), 1.0)),
        (Renamed, b'{"type":"r","mySize":0,"myRatio":2}', Renamed(0, 2.0)),
        (dict[UUID, float], b'{"00000000000000000000000000000007":1}', {UUID(int=7): 1.0}),
        (Kept, b'{"theSize":1,"price":1.5}', Kept.model_validate({"theSize": 1, "price": Decimal("1.5")})),
    ],
)
def test_json_in_another_spelling_is_the_same_value(type_: Any, raw: bytes, value: Any) -> None:
    assert Codec(type_).accept(raw) == value
    assert Codec(type_).decode(raw) == value


@pytest.mark.parametrize(
    ("type_", "raw"),
    [
        (float, b"9007199254740993"),
        (Outer, b'{"inner":{"weight":9007199254740993,"more":1}}'),
        (Base, b'{"at":"2030-01-01T00:00:00.1234567Z"}'),
        (timedelta, b'"PT0.000000001H"'),
    ],
)
def test_what_is_stored_is_not_rounded_when_it_is_read(type_: Any, raw: bytes) -> None:
    with pytest.raises(ValueMismatch):
        Codec(type_).decode(raw)


def test_stored_fields_that_are_no_longer_declared_are_left_out() -> None:
    raw = b'{"sizes":[1],"gone":9007199254740993,"weight":9007199254740992}'
    assert Codec(Base).decode(raw) == Base(sizes=(1,), weight=2.0**53)


def test_elements_that_cannot_be_in_a_set_are_a_misfit() -> None:
    with pytest.raises(ValueMismatch):
        Codec(set[Any]).decode(b"[[1]]")


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (int, Whole(3)),
        (list[str], [Text("a")]),
        (str, Side.BUY),
        (dict[str, int], OrderedDict(a=1)),
        (tuple[int, ...], Point(1, 2)),
        (Point, (1, 2.0)),
        (Base, Derived()),
        (Outer, Outer(Derived())),
        (float, BIG),
        (bytes, bytearray(b"a")),
        (time, time(1, tzinfo=ZoneInfo("Europe/Rome"))),
        (frozenset[int], frozenset({Whole(1)})),
        (Any, {"a": Text("b")}),
    ],
)
def test_what_is_stored_is_of_exactly_its_type(type_: Any, value: Any) -> None:
    with pytest.raises(ValueMismatch):
        Codec(type_).encode_checked(value)
