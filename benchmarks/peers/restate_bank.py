"""The account as a virtual object of Restate, served by one hypercorn process."""

from typing import TypedDict

import restate  # type: ignore[import-not-found]

account = restate.VirtualObject("Account")


class Transfer(TypedDict):
    """What is sent on, and to which account."""

    to: str
    amount: int


async def same(amount: int) -> int:
    """The amount itself."""
    return amount


@account.handler()  # type: ignore[untyped-decorator]
async def deposit(context: restate.ObjectContext, amount: int) -> int:
    """Add money; the new balance."""
    balance: int = (await context.get("balance", type_hint=int) or 0) + amount
    context.set("balance", balance)
    return balance


@account.handler()  # type: ignore[untyped-decorator]
async def transfer(context: restate.ObjectContext, wanted: Transfer) -> int:
    """Add money, and send the same to another account; the new balance."""
    balance: int = (await context.get("balance", type_hint=int) or 0) + wanted["amount"]
    context.set("balance", balance)
    context.object_send(deposit, key=wanted["to"], arg=wanted["amount"])
    return balance


@account.handler()  # type: ignore[untyped-decorator]
async def deposit_by_step(context: restate.ObjectContext, amount: int) -> int:
    """Have a step tell how much to add; the new balance."""
    found: int = await context.run_typed("same", same, amount=amount)
    balance: int = (await context.get("balance", type_hint=int) or 0) + found
    context.set("balance", balance)
    return balance


@account.handler(kind="shared")  # type: ignore[untyped-decorator]
async def statement(context: restate.ObjectSharedContext) -> int:
    """The balance."""
    return await context.get("balance", type_hint=int) or 0


app = restate.app(services=[account])
