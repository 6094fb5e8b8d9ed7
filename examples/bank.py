"""Money between accounts, on a pool.

    aether run examples.bank:model        # in one terminal
    python examples/bank.py               # in another

Amounts are whole cents. A transfer leaves one account, then enters another, under one transfer id that both accounts
keep: a process that died between the two steps runs the same transfer again and nothing is paid twice. Money can be on
its way, but it is never made and never lost.
"""

import asyncio
import random
import sys
from dataclasses import dataclass, field
from typing import Annotated
from uuid import uuid4

from msgspec import Meta

from aether import Actor, AetherError, Client, Model, Rejected, command, connect, event, query

Cents = Annotated[int, Meta(gt=0, description="an amount of money in cents")]

ACCOUNTS = 10
OPENING_CENTS = 100_00
TRANSFERS = 300
IN_FLIGHT = 30


@dataclass(frozen=True, slots=True)
class MoneyIn:
    """Money came in with a transfer."""

    transfer: str
    cents: int


@dataclass(frozen=True, slots=True)
class MoneyOut:
    """Money left with a transfer."""

    transfer: str
    cents: int


class Account(Actor):
    """A bank account that takes part in each transfer once and never goes below zero."""

    balance: int = 0
    transfers: set[str] = field(default_factory=set[str])

    @command
    def receive(self, transfer: str, cents: Cents) -> int:
        """Take in the money of a transfer; the balance."""
        if transfer not in self.transfers:
            self.emit(MoneyIn(transfer, cents))
        return self.balance

    @command
    def pay(self, transfer: str, cents: Cents) -> int:
        """Give the money of a transfer; the balance. Rejected when there is not enough."""
        if transfer in self.transfers:
            return self.balance
        if cents > self.balance:
            raise Rejected("insufficient funds", balance=self.balance, asked=cents)
        self.emit(MoneyOut(transfer, cents))
        return self.balance

    @query
    def statement(self) -> int:
        """The balance in cents."""
        return self.balance

    @event
    def money_in(self, e: MoneyIn) -> None:
        """Add it."""
        self.transfers.add(e.transfer)
        self.balance += e.cents

    @event
    def money_out(self, e: MoneyOut) -> None:
        """Subtract it."""
        self.transfers.add(e.transfer)
        self.balance -= e.cents


model = Model("bank", actors=[Account])


async def transfer(client: Client, transfer_id: str, payer: str, payee: str, cents: int) -> bool:
    """Move money; False when the payer has not enough. Safe to run again with the same id."""
    try:
        await client.actor(Account, payer).pay(transfer_id, cents)
    except Rejected:
        return False
    await client.actor(Account, payee).receive(transfer_id, cents)
    return True


async def main() -> int:
    """Open the accounts, run transfers among them in parallel, and count the money."""
    names = [f"customer-{number}" for number in range(ACCOUNTS)]
    async with connect(model=model) as client:
        for name in names:
            await client.actor(Account, name).receive("opening", OPENING_CENTS)
        room = asyncio.Semaphore(IN_FLIGHT)

        async def one_transfer() -> bool:
            payer, payee = random.sample(names, 2)
            async with room:
                return await transfer(client, uuid4().hex, payer, payee, random.randint(1, 90_00))  # noqa: S311 - play

        moved = await asyncio.gather(*(one_transfer() for _ in range(TRANSFERS)))
        balances = {name: await client.actor(Account, name).statement() for name in names}
    for name, cents in balances.items():
        print(f"{name:>12} {cents / 100:>10.2f}")
    print(f"{sum(moved)} transfers, {len(moved) - sum(moved)} rejected for insufficient funds")
    total = sum(balances.values())
    print(f"{total / 100:.2f} in all, {ACCOUNTS * OPENING_CENTS / 100:.2f} were paid in")
    return 0 if total == ACCOUNTS * OPENING_CENTS else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except AetherError as error:
        sys.exit(f"bank: {error}")
