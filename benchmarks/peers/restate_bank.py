"""The account as a virtual object of Restate, served by one hypercorn process."""

import restate  # type: ignore[import-not-found]

account = restate.VirtualObject("Account")


@account.handler()  # type: ignore[untyped-decorator]
async def deposit(context: restate.ObjectContext, amount: int) -> int:
    """Add money; the new balance."""
    balance: int = (await context.get("balance", type_hint=int) or 0) + amount
    context.set("balance", balance)
    return balance


@account.handler(kind="shared")  # type: ignore[untyped-decorator]
async def statement(context: restate.ObjectSharedContext) -> int:
    """The balance."""
    return await context.get("balance", type_hint=int) or 0


app = restate.app(services=[account])
