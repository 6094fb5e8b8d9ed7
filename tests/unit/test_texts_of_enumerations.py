"""A member of `class Room(str, Enum)` is the text that it is equal to, wherever it becomes part of a name."""

import asyncio
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any

import pytest

from aether import Actor, ActorId, After, Decider, Model, command, event, query
from aether.model.schedules import checked_name
from aether.names import Names, check_namespace, shard_of
from aether.testing import local_pool


class Old(str, Enum):  # noqa: UP042 - what is tested: its f-string is "Old.RED"
    """As texts were enumerated before there was `StrEnum`."""

    KIND = "room"
    RED = "red"


class New(StrEnum):
    """As they are now."""

    KIND = "room"
    RED = "red"


class Own(str):
    """A class of texts."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return "another"


RED = pytest.mark.parametrize("red", [Old.RED, New.RED, Own("red")], ids=["Enum", "StrEnum", "a class"])


@RED
def test_an_actor_is_named_by_the_text(red: str) -> None:
    names, plain = Names("shop"), ActorId("room", "red")
    for actor_id in (ActorId("room", red), ActorId(Old.KIND, red), ActorId(New.KIND, "red")):
        assert [type(one) for one in (actor_id.kind, actor_id.key)] == [str, str]
        assert actor_id == plain
        assert (str(actor_id), shard_of(actor_id, 256)) == (str(plain), shard_of(plain, 256))
        assert names.event(actor_id) == names.event(plain)


@RED
def test_so_are_a_schedule_and_a_namespace(red: str) -> None:
    assert type(checked_name(red)) is type(check_namespace(red)) is str
    assert Names(red).stream == "AETHER_red"
    assert Names("shop").timer(ActorId("room", "a"), checked_name(red)).endswith(".red")


@dataclass(frozen=True, slots=True)
class Noted:
    """Something was noted."""

    what: str


class Room(Actor):
    """Is told and scheduled under a key that is a member."""

    notes: tuple[str, ...] = ()

    @command
    def note(self, what: str) -> None:
        self.emit(Noted(what))

    @command
    def pass_on(self) -> None:
        self.tell(Room.note, Old.RED, "told")
        self.schedule(Old.RED, After(seconds=1), Room.note, Old.RED, "a tick")

    @command
    async def ask_for(self) -> list[str]:
        found: list[str] = await self.ask(Room, Old.RED).read()
        return found

    @command
    def call_off(self) -> None:
        self.cancel_schedule(Old.RED)

    @event
    def noted(self, e: Noted) -> None:
        self.notes = (*self.notes, e.what)

    @query
    def read(self) -> list[str]:
        return list(self.notes)


async def test_what_is_told_scheduled_and_asked_under_it_comes_to_the_actor_of_the_text() -> None:
    async with local_pool(Model("rooms", actors=[Room])) as pool:
        room: Any = pool.client.actor(Room, "a")
        await room.pass_on()
        await pool.client.tell(Room.note, Old.RED, "by a client")
        await pool.client.actor(Room, Old.RED).note("called")
        async with asyncio.timeout(10):
            while len(await pool.client.actor(Room, "red").read()) < 3:  # noqa: ASYNC110 - the pool makes progress
                await asyncio.sleep(0.005)
            await pool.clock.advance(seconds=2)
            while len(found := await room.ask_for()) < 4:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert sorted(found) == ["a tick", "by a client", "called", "told"]
        await room.pass_on()
        await room.call_off()
        await pool.clock.advance(seconds=2)
        assert [one.name for one in await pool.client.untyped.schedules()] == []


class Kinds(str, Enum):  # noqa: UP042 - what is tested
    """Names of kinds and of a namespace."""

    HALL = "hall"
    ROOF = "roof"
    YARD = "yard"
    HOUSE = "house"


class Hall(Room, kind=Kinds.HALL):
    """Named where it is declared."""

    @command
    def shout(self) -> None:
        self.tell(Hall.note, "b", "shouted")


class Roof(Room):
    """Named in its class."""

    kind = Kinds.ROOF


@dataclass(frozen=True, slots=True)
class Say:
    """Something is to be noted."""

    what: str


def decide(state: int, said: Say) -> list[Noted]:
    return [Noted(said.what)]


def evolve(state: int, said: Noted) -> int:
    return state + 1


YARD = Decider(0, decide, evolve, kind=Kinds.YARD)


async def test_kinds_and_models_are_named_by_it() -> None:
    model = Model(Kinds.HOUSE, actors=[Hall, Roof, YARD])
    assert [type(kind) for kind in (*model.actor_types, *model.schema()["actors"], model.name)] == [str] * 7
    assert (Hall.note.kind, Roof.note.kind) == ("hall", "roof")
    async with local_pool(model) as pool:
        await pool.client.actor(Kinds.YARD, "a").say("said")
        await pool.client.actor(Hall, "a").shout()
        async with asyncio.timeout(10):
            while not (notes := await pool.client.actor("hall", "b").read()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert notes == ["shouted"]
        assert {key async for key in pool.client.keys(Kinds.HALL)} == {"a", "b"}
        assert await pool.client.untyped.schedules(Kinds.HALL) == []
