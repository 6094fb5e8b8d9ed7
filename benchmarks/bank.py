"""The accounts that the benchmarks deposit on."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from aether import Actor, Model, command, event


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money came in."""

    amount: int


class Account(Actor):
    """A bank account."""

    balance: int = 0

    @command
    def deposit(self, amount: Annotated[int, Meta(gt=0)]) -> int:
        """Add money; the new balance."""
        self.emit(Deposited(amount))
        return self.balance

    @event
    def deposited(self, e: Deposited) -> None:
        """Count it."""
        self.balance += e.amount


model = Model("bench", actors=[Account])
