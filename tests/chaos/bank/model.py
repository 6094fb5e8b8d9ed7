"""Accounts that pay each other by tells, hold money until a schedule ends it, repeat payments, and charge by tasks.

Each thing that is done has a number, the id of the command that began it, which stands in every event of it. What must
not come (a tick after the schedule was cancelled, a result of a task that is closed) is no error here: it leaves a
`Stray`, so that the history tells of it.
"""

import os
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from aether import Actor, After, Every, Model, Rejected, Retry, TaskContext, TaskFailed, command, event, query, task
from tests.chaos.bank.outside import Request, ask, ask_in_thread

RESULT = "task:"
"""Begins the command id of a task's result."""

ATTEMPTS = 4
RETRY = Retry(first_s=0.1, cap_s=1.0, attempts=ATTEMPTS)
CHARGES_RUNNING_MAX = 3
MAILS_RUNNING_MAX = 2

CatchUp: TypeAlias = Literal["one", "skip", "all"]


@dataclass(frozen=True, slots=True)
class Opened:
    """It begins with so much."""

    amount: int


@dataclass(frozen=True, slots=True)
class Paid:
    """Money is on its way to another account: at once, or after so many seconds."""

    number: str
    to: str
    amount: int
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Taken:
    """Money has come."""

    number: str
    amount: int


@dataclass(frozen=True, slots=True)
class Held:
    """Money is kept for another account, for so many seconds."""

    number: str
    to: str
    amount: int
    for_s: float


@dataclass(frozen=True, slots=True)
class Captured:
    """What was held is on its way."""

    number: str


@dataclass(frozen=True, slots=True)
class Released:
    """What was held is back."""

    number: str


@dataclass(frozen=True, slots=True)
class Ordered:
    """So much is paid again and again, `times` in all."""

    number: str
    to: str
    amount: int
    every_s: float
    times: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """It was paid for the `count`th time."""

    number: str
    count: int


@dataclass(frozen=True, slots=True)
class Charged:
    """A task was started that spends so much outside; `key` is its id."""

    number: str
    key: str
    amount: int


@dataclass(frozen=True, slots=True)
class Settled:
    """It is spent: the server outside gave that receipt."""

    number: str
    receipt: str


@dataclass(frozen=True, slots=True)
class Refunded:
    """It was given up, and the money is back."""

    number: str
    error_type: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """It was cancelled, and the money is back."""

    number: str


@dataclass(frozen=True, slots=True)
class Stray:
    """Something has come that must not."""

    number: str
    what: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Money that is neither here nor there. `times` and `done` are of a repeated payment."""

    number: str
    to: str
    amount: int
    times: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """What an answer tells."""

    version: int
    balance: int


@task(retry=RETRY, timeout_s=30, max_running=CHARGES_RUNNING_MAX)
async def charge(context: TaskContext, number: str, seconds: float, fails: int) -> str:
    """Ask the server outside, from the event loop."""
    return await ask(_request(context, "charge", number, seconds, fails))


@task(retry=RETRY, timeout_s=30, max_running=MAILS_RUNNING_MAX)
def mail(context: TaskContext, number: str, seconds: float, fails: int) -> str:
    """The same from a thread."""
    return ask_in_thread(_request(context, "mail", number, seconds, fails))


def _request(context: TaskContext, task: str, number: str, seconds: float, fails: int) -> Request:
    return Request(
        key=context.task_id, number=number, task=task, attempt=context.attempt, worker=os.getpid(), seconds=seconds,
        fails=fails,
    )  # fmt: skip


class Account(Actor):
    """An account. Its commands answer with what is left."""

    balance: int = 0
    holds: dict[str, Kept] = field(default_factory=dict[str, Kept])
    orders: dict[str, Kept] = field(default_factory=dict[str, Kept])
    charges: dict[str, Kept] = field(default_factory=dict[str, Kept])

    @command
    def open(self, amount: int) -> Balance:
        """Begin with so much."""
        if self.version == 0:
            self.emit(Opened(amount))
        return self._told()

    @command
    def pay(self, number: str, to: str, amount: int, after_s: float = 0.0) -> Balance:
        """Pay another account: by a tell, or by a schedule that does it later."""
        self._check_has(amount)
        self.emit(Paid(number, to, amount, after_s))
        if after_s > 0:
            self.schedule(f"pay {number}", After(seconds=after_s), Account.take, to, number, amount)
        else:
            self.tell(Account.take, to, number, amount)
        return self._told()

    @command
    def take(self, number: str, amount: int) -> None:
        """Be paid."""
        self.emit(Taken(number, amount))

    @command
    def hold(self, number: str, to: str, amount: int, for_s: float) -> Balance:
        """Keep money for another account; it comes back if it is not captured in time."""
        self._check_has(amount)
        self.emit(Held(number, to, amount, for_s))
        self.schedule(f"hold {number}", After(seconds=for_s), Account.expire, self.id.key, number)
        return self._told()

    @command
    def capture(self, number: str) -> Balance:
        """Pay what is held."""
        held = self.holds.get(number)
        if held is None:
            raise Rejected("nothing is held", version=self.version, balance=self.balance)
        self.emit(Captured(number))
        self.cancel_schedule(f"hold {number}")
        self.tell(Account.take, held.to, number, held.amount)
        return self._told()

    @command
    def expire(self, number: str) -> None:
        """The time of a hold is over."""
        self.emit(Released(number) if number in self.holds else Stray(number, "the end of a hold"))

    @command
    def order(self, number: str, to: str, amount: int, every_s: float, times: int, catch_up: CatchUp) -> Balance:
        """Pay another account again and again."""
        self._check_has(amount * times)
        self.emit(Ordered(number, to, amount, every_s, times))
        when = Every(seconds=every_s, catch_up=catch_up)
        self.schedule(f"order {number}", when, Account.repeat, self.id.key, number)
        return self._told()

    @command
    def repeat(self, number: str) -> None:
        """A repeated payment is due."""
        order = self.orders.get(number)
        if order is None:
            self.emit(Stray(number, "a repeated payment"))
            return
        count = order.done + 1
        self.emit(Repeated(number, count))
        self.tell(Account.take, order.to, f"{number}#{count}", order.amount)
        if count == order.times:
            self.cancel_schedule(f"order {number}")

    @command
    def spend(self, number: str, amount: int, seconds: float, fails: int, blocking: bool) -> Balance:
        """Start a task."""
        self._check_has(amount)
        call = (mail if blocking else charge)(number, seconds, fails)
        key = self.start_task(call, then=Account.settle, failed=Account.refund)
        self.emit(Charged(number, key, amount))
        return self._told()

    @command
    def stop(self, number: str) -> Balance:
        """Cancel a task."""
        key = next((key for key, one in self.charges.items() if one.number == number), None)
        if key is None:
            raise Rejected("it is over", version=self.version, balance=self.balance)
        self.emit(Stopped(number))
        self.cancel_task(key)
        return self._told()

    @command
    def settle(self, receipt: str) -> None:
        """A task's result."""
        charged = self._charged()
        self.emit(Settled(charged.number, receipt) if charged else self._stray("a result"))

    @command
    def refund(self, failed: TaskFailed) -> None:
        """A task was given up."""
        charged = self._charged()
        self.emit(
            Refunded(charged.number, failed.error_type, failed.attempts) if charged else self._stray("a failed task")
        )

    @query
    def read(self) -> Balance:
        """What there is."""
        return self._told()

    def _check_has(self, amount: int) -> None:
        if amount > self.balance:
            raise Rejected("there is less", version=self.version, balance=self.balance)

    def _told(self) -> Balance:
        return Balance(self.version, self.balance)

    def _charged(self) -> Kept | None:
        return self.charges.get(self.context.command_id.removeprefix(RESULT))

    def _stray(self, what: str) -> Stray:
        return Stray(self.context.command_id, what)

    @event
    def opened(self, e: Opened) -> None:
        self.balance = e.amount

    @event
    def paid(self, e: Paid) -> None:
        self.balance -= e.amount

    @event
    def taken(self, e: Taken) -> None:
        self.balance += e.amount

    @event
    def held(self, e: Held) -> None:
        self.balance -= e.amount
        self.holds = {**self.holds, e.number: Kept(e.number, e.to, e.amount)}

    @event
    def captured(self, e: Captured) -> None:
        self.holds = _without(self.holds, e.number)

    @event
    def released(self, e: Released) -> None:
        self.balance += self.holds[e.number].amount
        self.holds = _without(self.holds, e.number)

    @event
    def ordered(self, e: Ordered) -> None:
        self.balance -= e.amount * e.times
        self.orders = {**self.orders, e.number: Kept(e.number, e.to, e.amount, e.times)}

    @event
    def repeated(self, e: Repeated) -> None:
        order = self.orders[e.number]
        left = _without(self.orders, e.number)
        again = Kept(order.number, order.to, order.amount, order.times, e.count)
        self.orders = left if e.count == order.times else {**left, e.number: again}

    @event
    def charged(self, e: Charged) -> None:
        self.balance -= e.amount
        self.charges = {**self.charges, e.key: Kept(e.number, "", e.amount)}

    @event
    def settled(self, e: Settled) -> None:
        self._closed(e.number)

    @event
    def refunded(self, e: Refunded) -> None:
        self.balance += self._closed(e.number)

    @event
    def stopped(self, e: Stopped) -> None:
        self.balance += self._closed(e.number)

    @event
    def strayed(self, e: Stray) -> None:
        """Nothing."""

    def _closed(self, number: str) -> int:
        """Forget a task; what it would have spent."""
        amount = sum(one.amount for one in self.charges.values() if one.number == number)
        self.charges = {key: one for key, one in self.charges.items() if one.number != number}
        return amount


def _without(kept: dict[str, Kept], number: str) -> dict[str, Kept]:
    return {key: one for key, one in kept.items() if key != number}


model = Model("bank", actors=[Account], tasks=[charge, mail])
