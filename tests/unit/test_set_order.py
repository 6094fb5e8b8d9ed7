"""Sets are written in one order, whatever order they have in a process; mappings keep theirs."""

import os
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from msgspec import Struct

from aether.codec import Codec, digest

WORDS = [f"w{n}" for n in range(40)]
SORTED = "[" + ",".join(f'"{word}"' for word in sorted(WORDS)) + "]"


class Red(Struct, tag=True):
    """Has a set where `Blue` has a list."""

    words: set[str]


class Blue(Struct, tag=True):
    """Has a list where `Red` has a set."""

    words: list[str]


class Row(Struct, array_like=True, tag=True):
    """Fields by their places."""

    name: str
    words: frozenset[str]


class Pair(NamedTuple):
    """Fields by their places, and a mapping."""

    by_name: dict[str, set[str]]
    words: set[str]


@dataclass(frozen=True)
class Book:
    """A set beside a mapping."""

    words: frozenset[str]
    order: dict[str, Decimal]

    def __hash__(self) -> int:
        return hash(self.words)


S = set(WORDS)
CASES: list[tuple[Any, Any, str]] = [
    (set[str], S, SORTED),
    (frozenset[str] | None, frozenset(S), SORTED),
    (dict[str, set[str]], {"b": S, "a": S}, f'{{"b":{SORTED},"a":{SORTED}}}'),
    (list[dict[str, list[set[str]]]], [{"b": [S]}], f'[{{"b":[{SORTED}]}}]'),
    (Book, Book(frozenset(S), {"b": Decimal("1.50"), "a": Decimal(2)}),
     f'{{"words":{SORTED},"order":{{"b":"1.50","a":"2"}}}}'),
    (frozenset[int | str], frozenset({1, "a", 10}), '["a",1,10]'),
    (set[int], {10, 9, 100}, "[9,10,100]"),
    (dict[str, Red | Blue], {"r": Red(S), "b": Blue(["b", "a"])},
     f'{{"r":{{"type":"Red","words":{SORTED}}},"b":{{"type":"Blue","words":["b","a"]}}}}'),
    (dict[str, Row], {"x": Row("n", frozenset(S))}, f'{{"x":["Row","n",{SORTED}]}}'),
    (Pair, Pair({"b": S}, S), f'[{{"b":{SORTED}}},{SORTED}]'),
    (tuple[dict[str, int], set[str]], ({"b": 1, "a": 2}, S), f'[{{"b":1,"a":2}},{SORTED}]'),
    (dict[str, frozenset[tuple[str, int]]], {"k": frozenset({("b", 1), ("a", 2)})}, '{"k":[["a",2],["b",1]]}'),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "value", "text"), CASES, ids=[str(type_) for type_, _, _ in CASES])
def test_sets_are_sorted_and_mappings_are_not(type_: Any, value: Any, text: str) -> None:
    codec = Codec(type_)
    raw, back = codec.encode_checked(value)
    assert raw.decode() == text == codec.convert(value).decode()
    assert back == value == codec.accept(raw)


def test_every_process_writes_the_same() -> None:
    program = """
from aether.codec import Codec
print(Codec(dict[str, set[str]]).convert({"b": {f"w{n}" for n in range(40)}, "a": set()}).decode())
print(Codec(set[str]).encode_checked({f"w{n}" for n in range(40)})[0].decode())
"""
    said = set()
    for seed in ("1", "2"):
        variables = {**os.environ, "PYTHONHASHSEED": seed}
        said.add(
            subprocess.run(
                [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True
            ).stdout
        )
    assert len(said) == 1


def test_the_digest_of_a_set_of_objects_is_that_of_its_elements() -> None:
    books = [Book(frozenset({word}), {}) for word in WORDS]
    one, same = digest("add", {"books": set(books)}), digest("add", {"books": {*books[20:], *books[:20]}})
    assert one == same
    assert one != digest("add", {"books": set(books[1:])})
    assert one != digest("remove", {"books": set(books)})
