"""Accounts that pay each other by tells: each transfer has a number that is in the events of both."""

from dataclasses import dataclass

from aether import Actor, Model, Rejected, command, event, query


@dataclass(frozen=True, slots=True)
class Sent:
    """Money is on its way to another account."""

    number: str
    to: str
    amount: int


@dataclass(frozen=True, slots=True)
class Received:
    """Money has come from another account."""

    number: str
    amount: int


@dataclass(frozen=True, slots=True)
class Opened:
    """The account begins with so much."""

    amount: int


class Till(Actor):
    """An account, from which no more is paid than there is."""

    balance: int = 0

    @command
    def open(self, amount: int) -> int:
        """Begin with so much."""
        if self.version == 0:
            self.emit(Opened(amount))
        return self.balance

    @command
    def send(self, number: str, to: str, amount: int) -> int:
        """Pay another account."""
        if amount > self.balance:
            raise Rejected("there is less", balance=self.balance)
        self.emit(Sent(number, to, amount))
        self.tell(Till.take, to, number, amount)
        return self.balance

    @command
    def take(self, number: str, amount: int) -> None:
        """Be paid."""
        self.emit(Received(number, amount))

    @query
    def read(self) -> int:
        """What there is."""
        return self.balance

    @event
    def opened(self, e: Opened) -> None:
        """It begins."""
        self.balance = e.amount

    @event
    def sent(self, e: Sent) -> None:
        """Less."""
        self.balance -= e.amount

    @event
    def received(self, e: Received) -> None:
        """More."""
        self.balance += e.amount


model = Model("transfers", actors=[Till])
