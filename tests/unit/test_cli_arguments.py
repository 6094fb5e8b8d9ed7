"""`name=value` and `--json` as typed JSON: what msgspec reads back is what was meant, and errors name the argument."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from aether.cli.arguments import read_arguments
from aether.errors import InvalidCommand
from aether.model.schema_arguments import convert, encode_arguments
from aether.model.schema_reading import type_text

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
SURROGATE = "\udcff"


class Color(Enum):
    """Some colours."""

    RED = "red"
    BLUE = "blue"


class Size(Enum):
    """Some numbers."""

    SMALL = 1
    LARGE = 2


class Line(Struct):
    """A line of an order."""

    item: str
    price: Decimal = Decimal(0)


def converted(text: str, kind: Any) -> Any:
    schema = msgspec.json.schema(kind)
    return msgspec.json.decode(convert("x", text, schema, schema), type=kind)


MEANT = [
    ("007", str, "007"),
    ("", str, ""),
    ("null", str, "null"),
    ('"quoted"', str, '"quoted"'),
    ("a=b", str, "a=b"),
    ("12", int, 12),
    ("-12", int, -12),
    (" 12 ", int, 12),
    ("9223372036854775807", int, 2**63 - 1),
    ("1", float, 1.0),
    ("1.5e3", float, 1500.0),
    ("true", bool, True),
    ("null", type(None), None),
    ("10.50", Decimal, Decimal("10.50")),
    ("5", Decimal, Decimal(5)),
    ("6f1e36ef-8d2a-44a5-9c34-1c7b43b8b3a1", UUID, UUID("6f1e36ef-8d2a-44a5-9c34-1c7b43b8b3a1")),
    ("2013-01-01T05:17:00Z", datetime, datetime(2013, 1, 1, 5, 17, tzinfo=UTC)),
    ("2013-01-01", date, date(2013, 1, 1)),
    ("aGVsbG8=", bytes, b"hello"),
    ("red", Color, Color.RED),
    ("2", Size, Size.LARGE),
    ("fast", Literal["fast", "slow"], "fast"),
    ("[1, 2]", list[int], [1, 2]),
    ('[1, "a"]', tuple[int, str], (1, "a")),
    ('{"item": "tea", "price": "2.10"}', Line, Line("tea", Decimal("2.10"))),
    ('{"a": 1}', dict[str, int], {"a": 1}),
    ("null", str | None, None),
    ("anna", str | None, "anna"),
    ("7", int | str, 7),
    ("007", int | str, "007"),
    ("7.5", int | str, "7.5"),
    ("7.5", int | float | None, 7.5),
    ("null", Line | None, None),
    ("red", Color | None, Color.RED),
    ("1", Literal[1, "1", None], "1"),
    ("anything", Any, "anything"),
    ("007", Any, "007"),
    ('["a"]', Any, ["a"]),
    ('"a"', Any, "a"),
]


@pytest.mark.parametrize(("text", "kind", "meant"), MEANT)
def test_a_text_becomes_what_its_type_means_by_it(text: str, kind: Any, meant: Any) -> None:
    found = converted(text, kind)

    assert found == meant
    assert type(found) is type(meant)


REFUSED = [
    ("ten", int, "expected integer, got 'ten'"),
    ("1.5", int, "expected integer, got '1.5'"),
    ("007", int, "expected integer, got '007'"),
    ("", int, "expected integer, got ''"),
    ('"12"', int, "expected integer"),
    ("true", int, "expected integer, got 'true'"),
    ("1", bool, "expected boolean, got '1'"),
    ("True", bool, "expected boolean, got 'True'"),
    ("NaN", float, "expected number, got 'NaN'"),
    ("Infinity", float, "expected number"),
    ("abc", Annotated[int, Meta(gt=0)], "expected integer > 0, got 'abc'"),
    ("green", Color, 'expected "blue" or "red", got \'green\''),
    ("3", Size, "expected 1 or 2, got '3'"),
    ("a,b", list[str], "expected array of string, got 'a,b'"),
    ("[1,", list[int], "which is not JSON"),
    ('{"a": 1, "a": 2}', dict[str, int], "the name 'a' is there twice"),
    ("[" * 100_000, list[Any], "nested too deeply"),
    ("9" * 5_000, int, "expected integer"),
    (f"a{SURROGATE}", str, "is not UTF-8"),
    ("tea", Line, "expected Line, got 'tea'"),
]


@pytest.mark.parametrize(("text", "kind", "words"), REFUSED)
def test_a_text_of_another_type_is_refused_naming_the_argument(text: str, kind: Any, words: str) -> None:
    with pytest.raises(InvalidCommand) as raised:
        converted(text, kind)

    assert raised.value.path == "x"
    assert words in raised.value.message
    assert len(raised.value.message) < 300


@given(st.text())
def test_every_string_arrives_as_it_was_typed(text: str) -> None:
    assert converted(text, str) == text


@given(JSON_VALUES)
def test_every_json_value_arrives_where_anything_is_taken(value: Any) -> None:
    assert converted(msgspec.json.encode(value).decode(), Any) == value


@given(st.integers(-(2**63), 2**63 - 1), st.decimals(allow_nan=False, allow_infinity=False), st.uuids(), st.dates())
def test_typed_values_arrive_as_their_own_text(number: int, amount: Decimal, name: UUID, day: date) -> None:
    assert converted(str(number), int | None) == number
    assert converted(str(amount), Decimal | None) == amount
    assert converted(str(name), UUID | None) == name
    assert converted(str(day), date | None) == day


@given(st.text(), st.sampled_from([int, str, bool, Decimal, list[int], Color | None, Line, Any]))
def test_any_text_is_json_or_an_invalid_command(text: str, kind: Any) -> None:
    schema = msgspec.json.schema(kind)
    try:
        raw = convert("x", text, schema, schema)
    except InvalidCommand:
        return
    msgspec.json.decode(raw)


ARGS = {
    "type": "object",
    "properties": {"amount": {"type": "integer", "exclusiveMinimum": 0}, "note": {"type": "string", "default": ""}},
    "required": ["amount"],
    "additionalProperties": False,
}


def encoded(*pairs: str, json_text: str | None = None) -> Any:
    return msgspec.json.decode(encode_arguments(read_arguments(pairs, json_text), "deposit", ARGS, ARGS))


def test_pairs_and_json_together_make_the_arguments() -> None:
    assert encoded("amount=10") == {"amount": 10}
    assert encoded("amount=10", "note=for tea=2") == {"amount": 10, "note": "for tea=2"}
    assert encoded("note=x", json_text='{"amount": 3}') == {"amount": 3, "note": "x"}


def test_json_numbers_are_passed_on_digit_by_digit() -> None:
    given_arguments = read_arguments((), '{"amount": 1.10000000000000000001}')

    assert encode_arguments(given_arguments, "deposit", ARGS, ARGS) == b'{"amount":1.10000000000000000001}'


MISUSED: list[tuple[tuple[str, ...], str | None, str, str]] = [
    (("10",), None, "", "an argument is name=value, not '10'"),
    (("=10",), None, "", "an argument is name=value"),
    (("amount=1", "amount=2"), None, "amount", "given twice"),
    (("amount=1",), '{"amount": 1}', "amount", "as name=value and in --json"),
    ((), None, "amount", "missing; deposit needs integer > 0"),
    (("amount=1", "tip=2"), None, "tip", 'it takes amount: integer > 0, note: string = ""'),
    ((), '{"amount": 1, "tip": 2}', "tip", "deposit has no such argument"),
    ((), "[1]", "", "takes an object"),
    ((), "{", "", "--json is not JSON"),
    ((), '{"amount": NaN}', "", "NaN is no JSON number"),
    ((), '{"amount": 1, "amount": 2}', "", "'amount' is there twice"),
    ((), f'{{"note": "{SURROGATE}"}}', "", "--json cannot be sent"),
]


@pytest.mark.parametrize(("pairs", "json_text", "path", "words"), MISUSED)
def test_misused_arguments_are_named(pairs: tuple[str, ...], json_text: str | None, path: str, words: str) -> None:
    with pytest.raises(InvalidCommand) as raised:
        encoded(*pairs, json_text=json_text)

    assert raised.value.path == path
    assert words in raised.value.message


SAID = [
    (int, "integer"),
    (Annotated[int, Meta(gt=0, le=9)], "integer > 0 and <= 9"),
    (Decimal, "decimal"),
    (bytes, "bytes in base64"),
    (str | None, "string or null"),
    (list[Line], "array of Line"),
    (Line | None, "Line or null"),
    (tuple[int, str], "array [integer, string]"),
    (dict[str, int], "object of integer"),
    (dict[str, Any], "object"),
    (Color, '"blue" or "red"'),
    (Any, "anything"),
]


@pytest.mark.parametrize(("kind", "words"), SAID)
def test_a_schema_is_said_in_a_few_words(kind: Any, words: str) -> None:
    schema = msgspec.json.schema(kind)

    assert type_text(schema, schema) == words


def test_pydantic_schemas_are_understood() -> None:
    pydantic = pytest.importorskip("pydantic")

    class Order(pydantic.BaseModel):  # type: ignore[misc, name-defined]  # the class is only known at run time
        color: Color
        note: str | None = None
        count: int = pydantic.Field(gt=0)

    document = Order.model_json_schema()
    raw = encode_arguments(read_arguments(["color=red", "note=null", "count=2"], None), "place", document, document)

    assert Order.model_validate_json(raw) == Order(color=Color.RED, note=None, count=2)
