"""Accounts for the pages of the dashboard: with them go schedules, tasks, and commands that fail."""

from dataclasses import dataclass

from aether import Actor, After, Model, Retry, command, event, task


@dataclass(frozen=True, slots=True)
class Deposited:
    """Money came in."""

    amount: int


@task(retry=Retry(first_s=60, cap_s=60, attempts=3))
def send_letter(key: str) -> None:
    """A call to the outside world that does not succeed."""
    raise RuntimeError(f"no letter can be sent to {key}")


class Account(Actor):
    """A bank account."""

    balance: int = 0

    @command
    def deposit(self, amount: int) -> int:
        """Add money; the new balance."""
        self.emit(Deposited(amount))
        return self.balance

    @command
    def fail(self, amount: int) -> None:
        """A bug."""
        raise ValueError(f"{amount} is wrong")

    @command
    def begin(self, to: str) -> None:
        """Set a schedule, start a task that fails, and leave a tell that fails with another account."""
        self.emit(Deposited(1))
        self.schedule("interest", After(hours=1), Account.deposit, self.id.key, 1)
        self.start_task(send_letter(self.id.key))
        self.tell(Account.fail, to, 1)

    @event
    def deposited(self, e: Deposited) -> None:
        """Count it."""
        self.balance += e.amount


model = Model("bench", actors=[Account], tasks=[send_letter])
