"""JSON that nests deeply is refused before it is stored: who reads it later may have less room on its stack."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from msgspec import Raw
from msgspec.inspect import type_info

from aether import Actor, ActorFailed, ActorId, InvalidCommand, Model, command, event
from aether.json_checks import NESTED_MAX, can_nest, nests_too_deeply
from aether.runtime.giving_up import dead_letters
from aether.testing import given, local_pool
from aether.wire import Command, encode_error, instant


@dataclass(frozen=True)
class Tree:
    """A part of itself."""

    children: list[Tree] = field(default_factory=list)


@dataclass(frozen=True)
class Flat:
    """As deep as it looks."""

    rows: list[dict[str, list[int]]]
    more: tuple[Flat2, ...] = ()


@dataclass(frozen=True)
class Flat2:
    """Stands in two places."""

    one: list[int]
    two: list[int]


@pytest.mark.parametrize(
    ("type_", "nests"),
    [(Any, True), (dict[str, Any], True), (Tree, True), (list[Tree], True), (Flat, False), (list[list[int]], False)],
)
def test_which_types_may_nest_as_deep_as_they_like(type_: Any, nests: bool) -> None:
    assert can_nest(type_info(type_)) == nests


def nested(levels: int) -> Any:
    """An empty list within lists."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("raw", "too_deep"),
    [
        (b"[" * NESTED_MAX + b"]" * NESTED_MAX, False),
        (b"[" * (NESTED_MAX + 1) + b"]" * (NESTED_MAX + 1), True),
        (b'{"a":[' * (NESTED_MAX // 2) + b"]}" * (NESTED_MAX // 2), False),
        (b'{"a":[' * (NESTED_MAX // 2) + b"{}" + b"]}" * (NESTED_MAX // 2), True),
        (b"[" + b"[[]]," * 10_000 + b"{}]", False),
        (b'["' + b"[" * 1_000 + rb"\"[[[" + b'"]', False),
        (rb'["\\",' + b"[" * NESTED_MAX + b"]" * NESTED_MAX + b"]", True),
    ],
    ids=["deep", "deeper", "mixed", "mixed deeper", "wide", "a text", "behind a text"],
)
def test_levels_are_counted_and_brackets_in_texts_are_not(raw: bytes, too_deep: bool) -> None:
    assert nests_too_deeply(raw) == too_deep


@dataclass(frozen=True)
class Kept:
    """Whatever it is."""

    value: Any


class Shelf(Actor):
    """Keeps and passes on what it is given."""

    @command
    def keep(self, levels: int) -> None:
        self.emit(Kept(nested(levels)))

    @command
    def pass_on(self, levels: int) -> None:
        self.tell(Shelf.take, "b", nested(levels))

    @command
    def take(self, value: Any) -> None:
        """Nothing."""

    @event
    def kept(self, e: Kept) -> None:
        """Nothing."""


MODEL = Model("shelves", actors=[Shelf])


def test_what_is_emitted_and_told_nests_so_deep_at_most() -> None:
    shelf = given(Shelf, model=MODEL)
    shelf.when(Shelf.keep, NESTED_MAX - 1).then(Kept(nested(NESTED_MAX - 1)))
    shelf.when(Shelf.keep, NESTED_MAX).then_failed(ActorFailed)
    shelf.when(Shelf.pass_on, NESTED_MAX - 1).then()
    shelf.when(Shelf.pass_on, NESTED_MAX).then_failed(InvalidCommand)


async def test_so_it_is_for_clients_with_a_model_and_without() -> None:
    async with local_pool(MODEL) as pool:
        await pool.client.tell(Shelf.take, "b", nested(NESTED_MAX - 1))
        with pytest.raises(InvalidCommand, match="nested too deeply: 256 levels"):
            await pool.client.tell(Shelf.take, "b", nested(NESTED_MAX))
        deep = b'{"value":' + b"[" * NESTED_MAX + b"]" * NESTED_MAX + b"}"
        with pytest.raises(InvalidCommand, match="nested too deeply") as refused:
            await pool.client.untyped.tell(ActorId("shelf", "b"), "take", deep)
        assert refused.value.path == "args"


@pytest.mark.parametrize("levels", [NESTED_MAX, NESTED_MAX + 1])
def test_of_a_tell_that_is_given_up_no_arguments_are_stored_that_nest_deeper(levels: int) -> None:
    args = b'{"value":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"
    told = Command(id="a", command="take", args=Raw(args), deadline=instant(0.0))
    first = next(dead_letters(told, encode_error(ActorFailed("no"))))
    assert (args in first) == (levels == NESTED_MAX)
