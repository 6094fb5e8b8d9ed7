"""Accounts that pay each other by a policy: whenever money has left one, another one is told to take it."""

from aether import Model, PolicyContext, Rejected, command, policy
from tests.support.transfers import Sent, Till


class Purse(Till, kind="till"):
    """An account that only says that it has sent money."""

    @command
    def send(self, number: str, to: str, amount: int) -> int:
        """Pay another account."""
        if amount > self.balance:
            raise Rejected("there is less", balance=self.balance)
        self.emit(Sent(number, to, amount))
        return self.balance


@policy(tells=(Purse.take,))
def on_sent(event: Sent, context: PolicyContext[Purse]) -> None:
    """Have the other account take it."""
    context.tell(Purse.take, event.to, event.number, event.amount)


model = Model("transfers", actors=[Purse], policies=[on_sent])
