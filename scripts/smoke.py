"""Try an installed Aether: `python scripts/smoke.py compiled`, or `plain`, which says what build it has to be.

Imports nothing of the checkout, so that it tests what was installed. Ends with 1 and a line that says what is wrong.
"""

import asyncio
import sys
from dataclasses import dataclass

from aether import Actor, Model, Rejected, command, event
from aether.system.environment import is_compiled
from aether.testing import local_runtime


@dataclass(frozen=True)
class Deposited:
    """Money came in."""

    amount: int


class Account(Actor):
    """An account."""

    balance: int = 0

    @command
    def deposit(self, amount: int) -> int:
        """Add money; the new balance."""
        if amount <= 0:
            raise Rejected("a deposit is more than nothing", amount=amount)
        self.emit(Deposited(amount))
        return self.balance

    @event
    def deposited(self, e: Deposited) -> None:
        """Add it."""
        self.balance += e.amount


async def failure(wanted: str) -> str:
    """What is wrong, or nothing."""
    found = "compiled" if is_compiled() else "plain"
    if found != wanted:
        return f"the build is {found}, not {wanted}"
    async with local_runtime(Model("smoke", actors=[Account])) as runtime:
        alice = runtime.actor(Account, "alice")
        balances = [await alice.deposit(10), await alice.deposit(5)]
        if balances != [10, 15]:
            return f"the balances are {balances}"
        try:
            await alice.deposit(0)
        except Rejected as no:
            return "" if no.details == {"amount": 0} else f"the details are {no.details}"
    return "nothing was rejected"


if __name__ == "__main__":
    if sys.argv[1:] not in (["compiled"], ["plain"]):
        sys.exit("usage: smoke.py compiled|plain")
    sys.exit(asyncio.run(failure(sys.argv[1])) or 0)
