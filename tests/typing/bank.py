"""The actors of the other files: each form of a command and a query."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated

from msgspec import Meta, Struct
from pydantic import BaseModel

from aether import Actor, Model, Rejected, command, event, query

Cents = Annotated[int, Meta(gt=0)]


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money came in."""

    amount: int


class Withdrawn(Struct, frozen=True):
    """Money went out."""

    amount: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing more happens."""


class Address(BaseModel):
    """An argument and a reply of pydantic's."""

    street: str
    number: int = 1


class Order(Struct):
    """An argument and a reply of msgspec's."""

    item: str
    price: Decimal = Decimal(0)


@dataclass
class Opening:
    """An argument and a reply that is a dataclass."""

    owner: str
    at: datetime | None = None


class Account(Actor):
    """Each form of a handler."""

    balance: int = 0
    notes: list[str] = field(default_factory=list[str])

    @command
    def deposit(self, amount: Cents) -> int:
        """Put money in; the balance."""
        self.emit(Deposited(amount))
        return self._after()

    @command
    def withdraw(self, amount: Cents, note: str = "", *, force: bool = False) -> int | None:
        """A default, and an argument by name only."""
        if amount > self.balance and not force:
            raise Rejected("insufficient funds")
        self.emit(Withdrawn(amount))
        return None if force else self.balance

    @command
    def by_place(self, first: int, /, second: int) -> tuple[int, int]:
        """An argument by place only."""
        return first, second

    @command
    async def audit(self, auditor: str) -> list[str]:
        """An asynchronous handler."""
        return [*self.notes, auditor]

    @command(blocking=True)
    def print_statement(self, copies: int = 1) -> bytes:
        """A handler in a thread."""
        return b"-" * copies

    @command()
    def touch(self) -> None:
        """A command that answers nothing."""

    @command()
    async def touch_later(self) -> float:
        """The empty form of an asynchronous one."""
        return 1.0

    @command
    def move(self, address: Address) -> Address:
        """A pydantic model."""
        return address

    @command
    def order(self, orders: list[Order]) -> dict[str, Order]:
        """Structs in containers."""
        return {one.item: one for one in orders}

    @command
    def open(self, opening: Opening) -> Opening:
        """A dataclass."""
        return opening

    @query
    def statement(self) -> int:
        """The balance."""
        return self.balance

    @query
    async def statement_at(self, at: datetime) -> Decimal:
        """An asynchronous query with an argument."""
        return Decimal(self.balance)

    @query(blocking=True)
    def report(self) -> str:
        """A query in a thread."""
        return str(self.balance)

    def _after(self) -> int:
        return self.balance

    @property
    def is_empty(self) -> bool:
        """A plain property."""
        return self.balance == 0

    @classmethod
    def highest(cls, *balances: int) -> int:
        """A plain class method."""
        return max(balances)

    @staticmethod
    def lowest(*balances: int) -> int:
        """A plain static method."""
        return min(balances)

    @event
    def deposited(self, e: Deposited) -> None:
        """Add it."""
        self.balance += e.amount

    @event
    def withdrawn(self, e: Withdrawn | Closed) -> None:
        """One method of two events."""
        if isinstance(e, Withdrawn):
            self.balance -= e.amount


model = Model("bank", actors=[Account])
