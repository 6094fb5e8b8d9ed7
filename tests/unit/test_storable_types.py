"""Every kind of type either carries values through argument, event, state, snapshot and reply, or does not load."""

import collections
import collections.abc
import enum
import pathlib
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pytest
from msgspec import UNSET, Raw, Struct, UnsetType

from aether import Actor, ActorId, Model, ModelError, command, event, query
from aether.codec import Codec
from aether.comparison import difference
from aether.ids import Position
from aether.json_checks import Unsupported
from aether.memory.server import InMemoryServer
from aether.runtime.state_query import decode_state_reply
from tests.support.nodes import command as made
from tests.support.nodes import node, send

Item = TypeVar("Item")
Number = NewType("Number", int)


class Side(enum.Enum):
    """Texts with names."""

    BUY = "buy"


class Level(enum.IntEnum):
    """Numbers with names."""

    LOW = 1


class Bits(enum.Flag):
    """Flags."""

    A = 1
    B = 2


class Halves(enum.Enum):
    """Members that are neither texts nor whole numbers."""

    ONE = 0.5


@dataclass(frozen=True)
class Point:
    """May be in a set."""

    x: int


@dataclass
class Loose:
    """May not be in a set."""

    x: int = 0
    made: int = field(init=False, default=7)


@dataclass(kw_only=True)
class Tree:
    """Holds itself."""

    name: str
    below: list["Tree"] = field(default_factory=list)


@dataclass
class Initialised:
    """Takes what it does not keep."""

    x: int
    seed: InitVar[int]


@dataclass
class Box(Generic[Item]):
    """A generic class."""

    item: Item


class Cat(Struct, tag=True):
    """Told apart by its tag."""

    lives: int = 9


class Dog(Struct, tag=True, rename="camel", omit_defaults=True):
    """Told apart by its tag, with other names, and fields that may be absent."""

    good_boy: bool = True
    age: int | UnsetType = UNSET


class Row(Struct, array_like=True, frozen=True):
    """An array in JSON."""

    x: int
    y: float = 0.0


class Pair(NamedTuple):
    """A tuple with names."""

    x: int
    y: str = ""


class Options(TypedDict):
    """A dict with names."""

    loud: bool
    size: NotRequired[int]


class Person(pydantic.BaseModel):
    """With an alias and extra fields."""

    model_config = pydantic.ConfigDict(extra="allow")
    name: str = pydantic.Field("", alias="fullName")


class Frozen(pydantic.BaseModel, frozen=True):
    """May be in a set."""

    name: str = ""


class Numbers(pydantic.RootModel[list[int]]):
    """A list in JSON."""


class Excluded(pydantic.BaseModel):
    """Never comes back."""

    name: str = pydantic.Field(exclude=True)


class WrittenOtherwise(pydantic.BaseModel):
    """Never comes back."""

    name: str = pydantic.Field(serialization_alias="other")


class Plain:
    """Not a type that JSON can carry."""


class Arbitrary(pydantic.BaseModel, arbitrary_types_allowed=True):
    """Holds what has no JSON."""

    what: Plain


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)

STORED: list[tuple[Any, list[Any]]] = [
    (None, [None]),
    (bool, [True, False]),
    (int, [0, -(2**63), 2**64 - 1]),
    (float, [0.0, -0.0, 1e300, 0.1]),
    (str, ["", "né\x00"]),
    (bytes, [b"", b"\xff"]),
    (bytearray, [bytearray(b"a")]),
    (Decimal, [Decimal("1.10"), Decimal("-0"), Decimal("1E+9")]),
    (UUID, [UUID(int=1)]),
    (datetime, [NOON, datetime(2030, 1, 1)]),  # noqa: DTZ001 - naive on purpose
    (date, [date(1, 1, 1)]),
    (time, [time(1, 2, 3, 4), time(1, tzinfo=UTC)]),
    (timedelta, [timedelta(days=-1, microseconds=1)]),
    (Side, [Side.BUY]),
    (Level, [Level.LOW]),
    (Bits, [Bits.A, Bits.A | Bits.B, Bits(0)]),
    (Number, [Number(1)]),
    (Literal["a", 1, None], ["a", 1, None]),
    (int | float | str | bool | None, [1, 1.0, "1", True, None]),
    (Decimal | float, [Decimal(1), 1.0]),
    (list[int] | dict[str, int] | int, [[1], {"a": 1}, 1]),
    (list[list[int]], [[], [[1], []]]),
    (list, [[1, "a", None]]),
    (dict, [{"a": [1]}]),
    (tuple, [(1, "a")]),
    (set[str], [set(), {"a", "b"}]),
    (frozenset[int], [frozenset({1})]),
    (tuple[int, ...], [(), (1, 2)]),
    (tuple[int, str], [(1, "a")]),
    (tuple[()], [()]),
    (set[tuple[int, int]], [{(1, 2)}]),
    (set[Point], [{Point(1)}]),
    (set[Row], [{Row(1)}]),
    (set[Frozen], [{Frozen(name="a")}]),
    (collections.abc.Sequence[int], [[1]]),
    (collections.abc.Mapping[str, int], [{"a": 1}]),
    (Any, [None, 1, 1.5, "a", [1], {"a": {}}]),
    (Point, [Point(1)]),
    (Loose, [Loose(1)]),
    (Tree, [Tree(name="a", below=[Tree(name="b")])]),
    (Box[int], [Box(1)]),
    (Box[list[Point]], [Box([Point(1)])]),
    (Cat | Dog, [Cat(), Dog(good_boy=False, age=1), Dog()]),
    (Row, [Row(1, 2.0)]),
    (Pair, [Pair(1, "a")]),
    (Options, [{"loud": True}, {"loud": False, "size": 1}]),
    (Person, [Person.model_validate({"fullName": "a", "more": [1]})]),
    (Person | None, [None, Person.model_validate({})]),
    (Numbers, [Numbers([1, 2])]),
    (dict[str, int], [{"": 1, "a b": 2}]),
    (dict[int, str], [{-1: "a", 2**64 - 1: "b"}]),
    (dict[float, int], [{0.1: 1, -0.0: 2}]),
    (dict[bytes, int], [{b"a": 1}]),
    (dict[Decimal, int], [{Decimal("1.10"): 1}]),
    (dict[UUID, int], [{UUID(int=1): 1}]),
    (dict[date, int], [{date(2030, 1, 1): 1}]),
    (dict[datetime, int], [{NOON: 1}]),
    (dict[time, int], [{time(1): 1}]),
    (dict[timedelta, int], [{timedelta(1): 1}]),
    (dict[Side, int], [{Side.BUY: 1}]),
    (dict[Level, int], [{Level.LOW: 1}]),
    (dict[Bits, int], [{Bits.A | Bits.B: 1}]),
    (dict[Literal["a", "b"], int], [{"a": 1}]),
    (dict[Number, int], [{Number(1): 1}]),
    (dict[int | float, int], [{1: 1, 1.5: 2}]),
    (dict[str | int, int], [{"a": 1}]),
    (dict[Any, int], [{"a": 1}]),
    (dict[str, dict[int, list[Point]]], [{"a": {1: [Point(1)]}}]),
]

NOT_STORED: list[tuple[Any, str]] = [
    (dict[tuple[int, int], int], "list of pairs"),
    (dict[tuple[int, ...], int], "list of pairs"),
    (dict[None, int], "a text that stands for it"),
    (dict[int | None, int], "a text that stands for it"),
    (dict[Literal["a", None], int], "texts or whole numbers"),
    (dict[bool, int], "a field for each"),
    (dict[Literal[True], int], "texts or whole numbers"),
    (dict[Point, int], "Point as a key"),
    (dict[Row, int], "Row as a key"),
    (dict[Pair, int], "Pair as a key"),
    (dict[Frozen, int], "Frozen as a key"),
    (dict[frozenset[int], int], "as a key"),
    (list[dict[str, dict[bool, int]]], "a field for each"),
    (set[list[int]], "use a list"),
    (set[dict[str, int]], "use a list"),
    (set[bytearray], "use a list"),
    (set[Loose], "Loose"),
    (set[Cat], "not frozen"),
    (set[Person], "Person"),
    (frozenset[tuple[list[int], int]], "use a list"),
    (set[int | list[int]], "use a list"),
    (memoryview, "use bytes"),
    (Point | Loose, "tags"),
    (Person | Frozen, "tags"),
    (Row | list[int], "tags"),
    (date | datetime, "tags"),
    (str | UUID, "tags"),
    (str | Side, "tags"),
    (int | Level, "tags"),
    (list[int] | set[int], "tags"),
    (dict[str, int] | Point, "tags"),
    (Box[int] | Box[str], "tags"),
    (Initialised, "ordinary field"),
    (Halves, "texts or whole numbers"),
    (Excluded, "excluded|exclude"),
    (WrittenOtherwise, "alias"),
    (Arbitrary, "Arbitrary"),
    (complex, "complex"),
    (object, "object"),
    (pathlib.Path, "Path"),
    (Callable[[], int], "Callable"),
    (collections.OrderedDict[str, int], "OrderedDict"),
    (collections.deque[int], "deque"),
    (collections.defaultdict[str, int], "defaultdict"),
    (pydantic.SecretStr, "SecretStr"),
    (msgspec.Raw, "raw"),
    (UnsetType, "Unset"),
]


class Login(pydantic.BaseModel):
    """Holds secrets."""

    password: pydantic.SecretStr
    old: list[pydantic.SecretStr] = []


class Shown(pydantic.BaseModel):
    """Writes its secret itself."""

    password: pydantic.SecretStr | None = None

    @pydantic.field_serializer("password", when_used="json")
    def show(self, password: pydantic.SecretStr | None) -> str | None:
        return None if password is None else password.get_secret_value()


STORED.append((Shown, [Shown(password=pydantic.SecretStr("a")), Shown()]))


def test_a_secret_may_be_an_argument_and_is_neither_event_nor_state() -> None:
    class Door(Actor):
        @command
        def open(self, login: Login) -> None: ...

    Model("doors", actors=[Door])

    @dataclass
    class Opened:
        login: Login | None

    class Logged(Actor):
        @event
        def opened(self, e: Opened) -> None: ...

    class Keeping(Actor):
        login: dict[str, list[Login]] = field(default_factory=dict)

    for declared in (Logged, Keeping):
        with pytest.raises(ModelError, match="secret") as refused:
            Model("doors", actors=[declared])
        assert refused.value.file == __file__


def named(one: Any) -> str:
    """A part of a test's name, the same in every process: the order of texts in a set is not."""
    shown = [sorted(value) if isinstance(value, set) else value for value in one] if isinstance(one, list) else one
    return str(shown)[:60]


@pytest.mark.parametrize(("type_", "values"), STORED, ids=named)
async def test_a_type_that_loads_carries_its_values_everywhere(type_: Any, values: list[Any]) -> None:
    first = values[0]

    @dataclass(frozen=True)
    class Put:
        value: type_

    class Keeper(Actor):
        value: type_ = field(default_factory=lambda: first)
        values: list[type_] = field(default_factory=list)

        @command
        def put(self, value: type_) -> type_:
            self.emit(Put(value))
            return self.value

        @query
        def get(self) -> list[type_]:
            return self.values

        @event
        def happened(self, e: Put) -> None:
            self.value = e.value
            self.values.append(e.value)

    model, server = Model("keepers", actors=[Keeper]), InMemoryServer()
    async with node(server, model=model) as runtime:
        keeper = runtime.actor(Keeper, "a")
        for value in values:
            assert difference(value, await keeper.put(value)) is None
        live = (await send(runtime, ActorId("keeper", "a"), made("aether.state"))).value
        assert difference(values, await keeper.get()) is None
    async with node(server, model=model) as runtime:
        replayed = (await send(runtime, ActorId("keeper", "a"), made("aether.state"))).value
        assert runtime.counters.events_replayed == 0
        assert runtime.counters.snapshots_ignored == 0
        assert difference(_state(live, model), _state(replayed, model)) is None
        assert difference(values, await runtime.actor(Keeper, "a").get()) is None


def _state(reply: Raw, model: Model) -> dict[str, Any]:
    return decode_state_reply(bytes(reply), Position(0), model.actor_type("keeper")).as_dict()


@pytest.mark.parametrize(("type_", "advice"), NOT_STORED, ids=named)
def test_a_type_that_cannot_be_stored_does_not_load(type_: Any, advice: str) -> None:
    with pytest.raises(Unsupported, match=advice):
        Codec(type_)

    def of_state() -> type[Actor]:
        class Keeper(Actor):
            value: type_ = None

        return Keeper

    def of_argument() -> type[Actor]:
        class Keeper(Actor):
            @command
            def put(self, value: list[type_]) -> None: ...

        return Keeper

    def of_reply() -> type[Actor]:
        class Keeper(Actor):
            @query
            def get(self) -> type_: ...

        return Keeper

    def of_event() -> type[Actor]:
        @dataclass
        class Put:
            value: type_

        class Keeper(Actor):
            @event
            def happened(self, e: Put) -> None: ...

        return Keeper

    for declared in (of_state, of_argument, of_reply, of_event):
        with pytest.raises(ModelError, match=advice) as refused:
            Model("keepers", actors=[declared()])
        assert refused.value.file == __file__
        first = declared.__code__.co_firstlineno
        assert first < refused.value.line < first + 12
