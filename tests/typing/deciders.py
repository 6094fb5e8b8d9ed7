"""Deciders: state, commands and events are the functions'; what calls them is Any."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, assert_type

from aether import Client, Decider, HistoryEvent, Model
from aether.model.decider import Decision


@dataclass(frozen=True)
class Add:
    """A command."""

    amount: int


@dataclass(frozen=True)
class Reset:
    """Another one."""


@dataclass(frozen=True)
class Added:
    """An event."""

    amount: int


@dataclass(frozen=True)
class WasReset:
    """Another one."""


def evolve(state: int, event: Added | WasReset) -> int:
    """The next state."""
    return state + event.amount if isinstance(event, Added) else 0


def decide(state: int, command: Add | Reset) -> list[Added | WasReset]:
    """A list of events."""
    return [Added(command.amount)] if isinstance(command, Add) else [WasReset()]


def decide_one_by_one(state: int, command: Add) -> Iterator[Added | WasReset]:
    """Events one by one."""
    yield Added(command.amount)


async def decide_with_reply(state: int, command: Add) -> Decision[Added | WasReset]:
    """Asynchronously, with a reply."""
    return Decision([Added(command.amount)], reply=state + command.amount)


def doubled(state: int, times: int = 1) -> int:
    """A query."""
    return state * 2 * times


counter = Decider(0, decide, evolve, kind="counter", queries=[doubled])
one_by_one = Decider(int, decide_one_by_one, evolve, kind="one_by_one")
with_reply = Decider(lambda: 0, decide_with_reply, evolve, kind="with_reply", replies={Add: int})

assert_type(counter, Decider[int, Add | Reset, Added | WasReset])
assert_type(one_by_one, Decider[int, Add, Added | WasReset])
assert_type(with_reply, Decider[int, Add, Added | WasReset])


def evolve_names(state: list[str], event: Added) -> list[str]:
    """A state in a container."""
    return [*state, str(event.amount)]


def decide_names(state: list[str], command: Add) -> list[Added]:
    """Its decision."""
    return [Added(command.amount)]


names = Decider([], decide_names, evolve_names, kind="names")

model = Model("deciders", actors=[counter, one_by_one, with_reply, names])


async def calls(client: Client) -> None:
    """Commands are classes here, and a proxy's methods are made of their names: no checker knows them."""
    assert_type(client.actor(counter, "a"), Any)
    assert_type(await client.history(counter, "a"), list[HistoryEvent[Added | WasReset]])


def decide_wrongly(state: str, command: Add) -> list[Added]:
    """Of another state."""
    return []


def refused() -> None:
    """Functions that do not fit each other."""
    Decider(0, decide_wrongly, evolve, kind="wrong")  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
    Decider(0, decide, evolve)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    Decider(0, decide, evolve, kind="wrong", queries=[len])  # type: ignore[misc]  # pyright: ignore[reportArgumentType, reportCallIssue]
