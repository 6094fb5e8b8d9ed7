"""One durable actor, alone in one process over the memory adapters: `python examples/quickstart.py`.

No server and no pool. What is written here runs unchanged on a pool: see `examples/bank.py`.
"""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from aether import (
    Actor,
    ActorId,
    InMemoryConnection,
    InvalidCommand,
    Model,
    Rejected,
    Runtime,
    command,
    event,
    query,
)


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money came in."""

    amount: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Money went out."""

    amount: int


class Account(Actor):
    """A bank account: its state is what its events add up to."""

    balance: int = 0

    @command
    def deposit(self, amount: Annotated[int, Meta(gt=0)]) -> int:
        """Add money; the new balance."""
        self.emit(Deposited(amount))
        return self.balance

    @command
    def withdraw(self, amount: Annotated[int, Meta(gt=0)]) -> int:
        """Take money if there is enough; the new balance."""
        if amount > self.balance:
            raise Rejected("insufficient funds", balance=self.balance)
        self.emit(Withdrawn(amount))
        return self.balance

    @query
    def statement(self) -> int:
        """The balance."""
        return self.balance

    @event
    def deposited(self, e: Deposited) -> None:
        """Add it."""
        self.balance += e.amount

    @event
    def withdrawn(self, e: Withdrawn) -> None:
        """Subtract it."""
        self.balance -= e.amount


model = Model("quickstart", actors=[Account])


async def main() -> None:
    """Deposit, be refused twice, leave memory and come back from the events."""
    connection = InMemoryConnection()
    runtime = Runtime(connection, connection.event_store)
    runtime.load_model(model)
    async with connection, runtime:
        alice = runtime.actor(Account, "alice")
        print("deposit 10:", await alice.deposit(10))
        print("withdraw 4:", await alice.withdraw(4))
        try:
            await alice.withdraw(100)
        except Rejected as no:
            print("withdraw 100:", no, no.details)
        try:
            await alice.deposit(-1)
        except InvalidCommand as bad:
            print("deposit -1:", bad, f"(at {bad.path})")
        await runtime.stop_vm(ActorId("account", "alice"))
        print("back from its history:", await alice.statement())


if __name__ == "__main__":
    asyncio.run(main())
