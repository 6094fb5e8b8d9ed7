"""What is declared: subclasses, generic actors, decorated handlers, and what both checkers refuse in them."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar, assert_type

from typing_extensions import override

from aether import Actor, Client, Command, Model, command, event, query
from tests.typing.bank import Account, Deposited

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


class Savings(Account):
    """Inherits commands, declares one anew, and adds one."""

    rate: float = 0.0

    @command
    async def deposit(self, amount: int) -> int:
        """The same parameters and reply, asynchronous."""
        self.emit(Deposited(amount))
        return self.balance

    @override
    @query
    def report(self) -> str:
        """Says that it overrides one."""
        return "savings"

    @command
    def add_interest(self) -> float:
        """A command of its own."""
        return self.balance * self.rate


class Closable(Actor, ABC):
    """Leaves a command to its subclasses."""

    @command
    @abstractmethod
    def close(self, reason: str) -> bool:
        """Each in its way."""


class Shop(Closable):
    """Has it."""

    @command
    def close(self, reason: str) -> bool:
        """In this way."""
        return bool(reason)


class Box(Actor, Generic[T]):
    """A generic actor."""

    @command
    def put(self, item: T) -> list[T]:
        """Of any type."""
        return [item]

    @query
    def last(self) -> T | None:
        """Of the same type."""
        return None


class IntBox(Box[int]):
    """A kind of it."""


class Mixin:
    """Commands for several actors."""

    @command
    def ping(self, text: str) -> str:
        """Say it again."""
        return text


class Pinged(Mixin, Actor):
    """Has them."""


def logged(handler: Callable[P, R]) -> Callable[P, R]:
    """A decorator that keeps the signature."""

    @functools.wraps(handler)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return handler(*args, **kwargs)

    return wrapper


class Decorated(Actor):
    """Decorators go below `@command`."""

    @command
    @logged
    def plain(self, amount: int, note: str = "") -> int:
        """Plain."""
        return amount

    @command
    @logged
    async def asynchronous(self, amount: int) -> int:
        """Asynchronous."""
        return amount


model = Model("declared", actors=[Account, Savings, Shop, IntBox, Pinged, Decorated])


async def calls(client: Client) -> None:
    """Inherited and decorated commands are typed as others."""
    savings = client.actor(Savings, "alice")
    assert_type(savings, Savings)
    assert_type(await savings.deposit(1), int)
    assert_type(await savings.withdraw(1), int | None)
    assert_type(await savings.add_interest(), float)
    assert_type(await savings.report(), str)
    assert_type(await client.actor(Shop, "a").close("late"), bool)
    assert_type(await client.actor(IntBox, "a").put(1), list[int])
    assert_type(await client.actor(IntBox, "a").last(), int | None)
    await client.actor(IntBox, "a").put("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(await client.actor(Pinged, "a").ping("x"), str)
    decorated = client.actor(Decorated, "a")
    assert_type(await decorated.plain(1, note="x"), int)
    assert_type(await decorated.asynchronous(1), int)


def inherited_on_the_class() -> None:
    """A command is of the class that it is read from."""
    assert_type(Savings.touch, Command[Savings, [], None])
    assert_type(Account.touch, Command[Account, [], None])


class Wrong(Account):
    """What cannot be declared anew."""

    @command
    def deposit(self, amount: str) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """Other parameters."""
        return 1

    @command
    def touch(self) -> int:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """Another reply."""
        return 1

    @query
    def add_interest(self) -> None:
        """A query that calls a command of its own actor."""
        self.touch()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]

    @event  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
    async def happened(self, e: Deposited) -> None:
        """An event is applied at once."""

    @event  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
    def happened_twice(self, e: Deposited, f: Deposited) -> None:
        """An event method takes one event."""


def refused() -> None:
    """What is no actor, no method and no option."""
    Model("wrong", actors=[Account()])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    Model("wrong", actors=[object])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    command(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    command(blocked=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
