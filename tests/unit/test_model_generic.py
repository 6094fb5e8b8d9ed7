"""Generic actors: in a class that gives them, type parameters stand for their arguments."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

import pytest
from msgspec import Meta

from aether.errors import InvalidCommand, ModelError
from aether.ids import ActorId
from aether.model.actor import Actor
from aether.model.handlers import command, event, query
from aether.model.model import Model

T = TypeVar("T")
K = TypeVar("K")


@dataclass(frozen=True)
class Put:
    """An event without parameters."""

    text: str


class Shelf(Actor, Generic[K, T]):
    """Two parameters, in state, arguments and replies."""

    items: dict[K, list[T]] = field(default_factory=dict)
    last: T | None = None

    @command
    def put(self, key: K, item: Annotated[T, Meta(description="any item")], more: list[T] | None = None) -> list[T]:
        """Takes both."""
        return [item, *(more or [])]

    @query
    def newest(self) -> "T | None":
        """An annotation that is a string."""
        return self.last

    @event
    def was_put(self, e: Put) -> None:
        """No parameter."""


class Box(Shelf[str, T]):
    """The first parameter is given, the second is passed on."""


class IntBox(Box[int]):
    """Both are given."""


class Prices(Shelf[str, Decimal]):
    """Others."""


class SmallInts(IntBox):
    """A subclass of what is given."""


MODEL = Model("shop", actors=[IntBox, Prices, SmallInts, Box])


def refused(kind: type[Actor], *args: Any) -> str:
    with pytest.raises(InvalidCommand) as error:
        MODEL.actor_type(kind).commands["put"].encode_args(args, {})
    return error.value.path


@pytest.mark.parametrize("kind", [IntBox, SmallInts])
def test_arguments_are_of_the_types_that_the_class_gives(kind: type[Actor]) -> None:
    put = MODEL.actor_type(kind).commands["put"]
    assert put.encode_args(("a", 1, [2]), {}) == b'{"key":"a","item":1,"more":[2]}'
    assert [refused(kind, 1, 1), refused(kind, "a", "1"), refused(kind, "a", 1, ["2"])] == ["key", "item", "more[0]"]
    assert str(put.signature).endswith("more: list[int] | None = None) -> list[int]")


def test_another_class_gives_others() -> None:
    put = MODEL.actor_type(Prices).commands["put"]
    assert put.encode_args(("a", Decimal("1.50")), {}) == b'{"key":"a","item":"1.50"}'
    assert refused(Prices, "a", "x") == "item"
    assert put.decode_reply(b'["1.50"]') == [Decimal("1.50")]


def test_a_parameter_that_is_not_given_takes_any_value() -> None:
    put = MODEL.actor_type(Box).commands["put"]
    assert put.encode_args(("a", {"x": 1}), {}) == b'{"key":"a","item":{"x":1}}'
    assert refused(Box, 1, 1) == "key"


def test_the_state_is_of_the_types_that_the_class_gives() -> None:
    kind, actor_id = MODEL.actor_type(IntBox), ActorId("int_box", "a")
    state = kind.decode_state(b'{"items":{"a":[1]},"last":2}', actor_id)
    assert kind.state_values(state) == {"items": {"a": [1]}, "last": 2}
    for wrong in (b'{"items":{"a":["1"]},"last":2}', b'{"items":{},"last":"2"}'):
        with pytest.raises(ValueError, match="int"):
            kind.decode_state(wrong, actor_id)


def test_a_default_is_of_the_type_that_the_class_gives() -> None:
    class Pair(Actor, Generic[T]):
        first: T = 0  # type: ignore[assignment]  # right for int only

    class Texts(Pair[str]):
        pass

    with pytest.raises(ModelError, match=r"default of Texts.first"):
        Model("shop", actors=[Texts])
