"""Asks between actors: typed as a client's calls are, in both checkers."""

import asyncio
from decimal import Decimal
from typing import Any, assert_type

from aether import Actor, Decider, Model, command, query
from tests.typing.bank import Account, Address, Closed


def decide(state: int, command: Closed) -> list[Closed]:
    """A decider's."""
    return [command]


def evolve(state: int, event: Closed) -> int:
    """A decider's."""
    return state


shop = Decider(0, decide, evolve, kind="shop")


class Teller(Actor):
    """Asks accounts."""

    @command
    async def move(self, payer: str, payee: str, amount: int) -> int:
        """Every form of an ask."""
        account = self.ask(Account, payer)
        assert_type(account, Account)
        assert_type(await account.withdraw(amount, "rent", force=True), int | None)
        assert_type(await account.print_statement(), bytes)
        assert_type(await account.move(Address(street="High Street")), Address)
        assert_type(await self.ask(type(self), "other").total([payer]), Decimal)
        balance, lines = await asyncio.gather(self.ask(Account, payee).deposit(amount), account.audit("eve"))
        assert_type(lines, list[str])
        return balance

    @query
    async def total(self, keys: list[str]) -> Decimal:
        """A query asks queries."""
        balances = await asyncio.gather(*(self.ask(Account, key).statement() for key in keys))
        assert_type(balances, list[int])
        return Decimal(sum(balances))

    @command
    async def untyped(self) -> None:
        """A kind that is only named is Any, and so is a Decider."""
        assert_type(self.ask("account", "alice"), Any)
        assert_type(self.ask(shop, "main"), Any)

    @command
    async def refused(self) -> None:
        """What both checkers refuse."""
        await self.ask(Account, "alice").deposit("10")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await self.ask(Account, "alice").pay(1)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        self.ask(Account, 3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
        self.ask(int, "alice")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportCallIssue]
        self.ask(Account, "alice").deposit(1)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
        text: str = await self.ask(Account, "alice").deposit(1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
        print(text)


model = Model("tellers", actors=[Account, Teller, shop])
