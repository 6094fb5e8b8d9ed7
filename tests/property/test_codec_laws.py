"""Laws of the codec: decode after encode is the identity, and garbage is a typed error."""

import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.json import decode as json_decode
from msgspec.json import encode as json_encode
from msgspec.structs import replace

from aether.codec import Codec, digest
from aether.json_checks import ValueMismatch


class Side(Enum):
    """An enum."""

    BUY = "buy"
    SELL = "sell"


@dataclass(frozen=True)
class Leaf:
    """One field of each scalar type."""

    number: int
    ratio: float
    price: Decimal
    text: str
    blob: bytes
    at: datetime
    day: date
    clock: time
    span: timedelta
    id: UUID
    side: Side | None


@dataclass
class Tree:
    """One field of each kind of container."""

    leaves: list[Leaf]
    by_name: dict[str, Leaf]
    pairs: tuple[tuple[int, str], ...]
    words: frozenset[str]
    either: int | str | None
    anything: Any


offsets = st.builds(timezone, st.integers(-23 * 60, 23 * 60).map(lambda minutes: timedelta(minutes=minutes)))
integers = st.integers(-(2**63), 2**64 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
leaves = st.builds(
    Leaf,
    number=integers,
    ratio=finite,
    price=st.decimals(allow_nan=False, allow_infinity=False),
    text=texts,
    blob=st.binary(max_size=20),
    at=st.datetimes(timezones=st.none() | offsets),
    day=st.dates(),
    clock=st.times(),
    span=st.timedeltas(),
    id=st.uuids(),
    side=st.none() | st.sampled_from(Side),
)
json_values = st.recursive(
    st.none() | st.booleans() | integers | finite | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
trees = st.builds(
    Tree,
    leaves=st.lists(leaves, max_size=2),
    by_name=st.dictionaries(texts, leaves, max_size=2),
    pairs=st.lists(st.tuples(integers, texts), max_size=3).map(tuple),
    words=st.frozensets(texts, max_size=4),
    either=st.none() | integers | texts,
    anything=json_values,
)
CODECS = [Codec(Leaf), Codec(Tree), Codec(Any), Codec(dict[int, list[Decimal]]), Codec(int), Codec(float | None)]


@given(trees)
def test_decode_after_encode_is_the_identity(tree: Tree) -> None:
    codec = Codec(Tree)
    raw, back = codec.encode_checked(tree)
    assert back == tree
    assert codec.decode(raw) == tree
    assert codec.convert(tree) == raw
    for leaf, leaf_back in zip(tree.leaves, back.leaves, strict=True):
        assert leaf.price.as_tuple() == leaf_back.price.as_tuple()
        assert leaf.at.utcoffset() == leaf_back.at.utcoffset()
        assert repr(leaf.ratio) == repr(leaf_back.ratio)


@given(st.sampled_from(CODECS), st.binary(max_size=60) | json_values.map(lambda value: Codec(Any).convert(value)))
def test_any_bytes_are_a_value_that_encodes_again_or_a_misfit(codec: Codec, raw: bytes) -> None:
    try:
        value = codec.decode(raw)
    except ValueMismatch:
        return
    assert codec.encode_checked(value)[1] == value


@given(st.one_of(st.integers(max_value=-(2**63) - 1), st.integers(min_value=2**64)), st.lists(st.integers(0, 1)))
def test_an_integer_over_64_bits_is_refused_both_ways_wherever_it_is(number: int, path: list[int]) -> None:
    value: Any = number
    text = str(number)
    for step in path:
        value = [value] if step else {"a": value}
        text = f"[{text}]" if step else f'{{"a":{text}}}'
    codec = Codec(Any)
    for refused in (
        lambda: codec.encode_checked(value),
        lambda: codec.convert(value),
        lambda: codec.decode(text.encode()),
    ):
        with pytest.raises(ValueMismatch, match="64 bits"):
            refused()


@dataclass(frozen=True)
class Given:
    """Types that may be given in their JSON form."""

    ratio: float
    price: Decimal
    at: datetime | None
    span: timedelta
    sizes: tuple[float, ...]
    words: frozenset[str]
    by_day: dict[date, Leaf]
    side: Side


given_values = st.builds(
    Given,
    ratio=finite,
    price=st.decimals(allow_nan=False, allow_infinity=False),
    at=st.none() | st.datetimes(timezones=offsets),
    span=st.timedeltas(),
    sizes=st.lists(finite, max_size=3).map(tuple),
    words=st.frozensets(texts, max_size=3),
    by_day=st.dictionaries(st.dates(), leaves, max_size=2),
    side=st.sampled_from(Side),
)


@given(given_values)
def test_a_value_and_its_json_form_arrive_as_the_same(value: Given) -> None:
    codec = Codec(Given)
    raw = codec.convert(value)
    assert codec.accept(raw) == value
    in_json = json_decode(raw)
    assert codec.accept(codec.convert(in_json)) == value


numbers = st.integers(-(2**63), 2**64 - 1) | finite | st.decimals(allow_nan=False, allow_infinity=False)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.datetimes() | st.dates() | st.timedeltas() | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=5,
)
MORE = [Codec(float), Codec(Decimal), Codec(list[float]), Codec(dict[str | int, float]), Codec(set[float]), Codec(Any),
        Codec(tuple[float | str | None, ...]), Codec(timedelta), Codec(dict[float, int | bool])]  # fmt: skip


@given(st.sampled_from(MORE), anything)
def test_what_is_taken_says_the_same_when_it_has_arrived_and_the_rest_is_a_misfit(codec: Codec, value: Any) -> None:
    try:
        raw = codec.convert(value)
    except ValueMismatch:
        return
    back = codec.accept(raw)
    assert says_the_same(value, back), (value, back)
    assert codec.accept(codec.encode_checked(back)[0]) == back


whole = st.floats(2.0**53, 2.0**63).map(int)


@given(st.sampled_from([Codec(float), Codec(float | None), Codec(Any)]), whole | whole.map(lambda number: -number))
def test_an_int_that_is_a_float_is_stored_and_read_as_that_float(codec: Codec, number: int) -> None:
    raw, back = codec.encode_checked(number)
    assert codec.decode(raw) == codec.accept(raw) == back == number


def says_the_same(given: Any, back: Any) -> bool:
    """Written apart from the code: equal as numbers, as sequences, as sets; a text as what Python reads it as."""
    if isinstance(given, list | tuple) and isinstance(back, list | tuple):
        return len(given) == len(back) and all(map(says_the_same, given, back))
    if isinstance(given, list | tuple) and isinstance(back, set):
        return len(given) == len(back) and set(given) == back
    if isinstance(given, dict) and isinstance(back, dict):
        keys = all(str(one) == str(other) or float(one) == other for one, other in zip(given, back, strict=True))
        return keys and all(map(says_the_same, given.values(), back.values()))
    if isinstance(given, str) and isinstance(back, Decimal):
        return Decimal(given) == back
    if isinstance(given, str) and not isinstance(back, str):
        return True
    if isinstance(given, bool) or isinstance(back, bool):
        return given is back
    return bool(given == back)


class Written(Struct):
    """What a caller gives; `left_out` has a default."""

    whole: int
    real: float
    exact: Decimal
    text: str
    by_number: dict[int, list[float]]
    words: set[str]
    left_out: int = 7


REALS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        Written,
        whole=st.integers(-(2**63), 2**63 - 1),
        real=REALS,
        exact=st.decimals(allow_nan=False, allow_infinity=False, places=3),
        text=st.text(alphabet=st.characters(exclude_categories=["Cs"])),
        by_number=st.dictionaries(st.integers(0, 99), st.lists(REALS)),
        words=st.sets(st.text("abc")),
        left_out=st.just(7),
    ),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_a_digest_is_of_what_was_given_however_that_was_written(
    value: Written, turned: bool, indent: int | None
) -> None:
    fields = json_decode(json_encode(value))
    written = dict(reversed(fields.items())) if turned else fields
    assert digest("add", value, json.dumps(written, indent=indent).encode()) == digest("add", value)
    shorter = {name: item for name, item in written.items() if name != "left_out"}
    given_digest = digest("add", value, json_encode(shorter))
    assert given_digest == digest("add", value, json.dumps(shorter, indent=indent).encode())
    assert given_digest != digest("add", value)
    other_version = replace(value, left_out=8)
    assert given_digest == digest("add", other_version, json_encode(shorter))
