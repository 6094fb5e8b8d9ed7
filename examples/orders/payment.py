"""What is asked of the bank: tasks, which run outside of any turn, at least once."""

from dataclasses import dataclass

from aether import Retry, TaskContext, task


@dataclass(frozen=True, slots=True)
class Paid:
    """The bank's answer to a charge."""

    charge: str


@task(retry=Retry(first_s=0.5, cap_s=10, attempts=5), timeout_s=30)
def charge(context: TaskContext, order: str, card: str, cents: int) -> Paid:
    """Have the bank charge a card, once however often it is tried: the task's id is the idempotency key."""
    return Paid(context.resources.bank.charge(context.task_id, order, card, cents))


@task(retry=Retry(first_s=0.5, cap_s=60, attempts=100), timeout_s=30)
def void(context: TaskContext, order: str) -> None:
    """Have the bank give back what it took for an order, and take nothing more."""
    context.resources.bank.void(order)
