"""The model that made the data directories beside it. It stays as it is: their events are of its types."""

from dataclasses import dataclass, field
from decimal import Decimal

from aether import Actor, Model, Rejected, command, event, query


@dataclass(frozen=True)
class Deposited:
    """Money came in."""

    amount: Decimal
    note: str = ""


@dataclass(frozen=True)
class Withdrawn:
    """Money went out."""

    amount: Decimal


class Account(Actor):
    """An account and its notes."""

    balance: Decimal = Decimal(0)
    notes: list[str] = field(default_factory=list)

    @command
    def deposit(self, amount: Decimal, note: str = "") -> Decimal:
        """Add money."""
        self.emit(Deposited(amount, note))
        return self.balance

    @command
    def withdraw(self, amount: Decimal) -> Decimal:
        """Take money, if there is enough."""
        if amount > self.balance:
            raise Rejected("insufficient funds")
        self.emit(Withdrawn(amount))
        return self.balance

    @query
    def statement(self) -> Decimal:
        """The balance."""
        return self.balance

    @event
    def deposited(self, e: Deposited) -> None:
        """Count it."""
        self.balance += e.amount
        if e.note:
            self.notes.append(e.note)

    @event
    def withdrawn(self, e: Withdrawn) -> None:
        """Count it."""
        self.balance -= e.amount


model = Model("stored", actors=[Account])
