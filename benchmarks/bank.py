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

    @command
    def deposit_and_tell(self, to: str, amount: Annotated[int, Meta(gt=0)]) -> int:
        """Add money, and have it added to another account later; the new balance."""
        self.emit(Deposited(amount))
        self.tell(Account.deposit, to, amount)
        return self.balance

    @command
    async def deposit_and_ask(self, to: str, amount: Annotated[int, Meta(gt=0)]) -> int:
        """Add money, and to another account, and wait for that; the new balance."""
        self.emit(Deposited(amount))
        await self.ask(Account, to).deposit(amount)
        return self.balance

    @event
    def deposited(self, e: Deposited) -> None:
        """Count it."""
        self.balance += e.amount


model = Model("bench", actors=[Account])
