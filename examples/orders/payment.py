"""What is asked of the bank: tasks, which run outside of any turn, at least once.

A bank that cannot be reached is asked again, so that is an error. A card that is declined stays so: that is a result.
"""

from dataclasses import dataclass

from aether import Retry, TaskContext, task
from examples.orders.bank import CardDeclined


@dataclass(frozen=True, slots=True)
class Payment:
    """The bank's answer: the number of the charge, or why there is none."""

    charge: str = ""
    declined: str = ""


@task(retry=Retry(first_s=0.5, cap_s=10, attempts=5), timeout_s=30)
def charge(context: TaskContext, order: str, card: str, cents: int) -> Payment:
    """Have the bank charge a card, once however often it is tried: the task's id is the idempotency key."""
    try:
        return Payment(charge=context.resources.bank.charge(context.task_id, order, card, cents))
    except CardDeclined as no:
        return Payment(declined=str(no))


@task(retry=Retry(first_s=0.5, cap_s=60, attempts=100), timeout_s=30)
def void(context: TaskContext, order: str) -> None:
    """Have the bank give back what it took for an order, and take nothing more."""
    context.resources.bank.void(order)
