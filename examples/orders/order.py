"""An order: from its placing to its shipping, or to its end on the way.

It is the process. It waits for the stock, then for the bank, and at most `HOLD_MINUTES` for both; whatever comes after
its end is ignored, so no step needs to know how far another one has come.
"""

from dataclasses import dataclass
from enum import StrEnum

from aether import Actor, After, Rejected, TaskFailed, command, event, query
from examples.orders.payment import Payment, charge, void

HOLD_MINUTES = 15


class Step(StrEnum):
    """How far an order has come."""

    NEW = "new"
    PLACED = "placed"
    HELD = "held"
    PAID = "paid"
    SHIPPED = "shipped"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    """A customer wants so many of something."""

    sku: str
    quantity: int
    card: str
    cents: int


@dataclass(frozen=True, slots=True)
class StockHeld:
    """The goods are laid aside; the bank is asked."""

    task: str


@dataclass(frozen=True, slots=True)
class OrderPaid:
    """The bank has paid."""

    charge: str


@dataclass(frozen=True, slots=True)
class OrderShipped:
    """The parcel is on its way."""

    parcel: str


@dataclass(frozen=True, slots=True)
class OrderCancelled:
    """Nothing comes of it."""

    why: str


class Order(Actor):
    """One order; the key is its number."""

    step: Step = Step.NEW
    sku: str = ""
    quantity: int = 0
    card: str = ""
    cents: int = 0
    task: str = ""
    why: str = ""

    @command
    def place(self, sku: str, quantity: int, card: str, cents: int) -> None:
        """Order something. Raises `Rejected` for a number that is taken."""
        if self.step is not Step.NEW:
            raise Rejected("this order was placed before", step=self.step)
        self.emit(OrderPlaced(sku, quantity, card, cents))
        self.schedule("hold", After(minutes=HOLD_MINUTES), Order.expire, self.id.key)

    @command
    def stock_held(self) -> None:
        """The stock has laid the goods aside."""
        if self.step is Step.PLACED:
            task = self.start_task(
                charge(self.id.key, self.card, self.cents), then=Order.paid, failed=Order.payment_failed
            )
            self.emit(StockHeld(task))

    @command
    def stock_refused(self) -> None:
        """There is not enough in stock."""
        if self.step is Step.PLACED:
            self._cancel("out of stock")

    @command
    def paid(self, payment: Payment) -> None:
        """The bank has paid, or it says no."""
        if self.step is not Step.HELD:
            return
        if payment.declined:
            self._cancel(payment.declined)
        else:
            self.cancel_schedule("hold")
            self.emit(OrderPaid(payment.charge))

    @command
    def payment_failed(self, failure: TaskFailed) -> None:
        """The bank could not be asked."""
        if self.step is Step.HELD:
            self._cancel(failure.message)

    @command
    def expire(self) -> None:
        """The hold is over, and it is not paid."""
        if self.step in (Step.PLACED, Step.HELD):
            self._cancel("not paid in time")

    @command
    def shipped(self, parcel: str) -> None:
        """The parcel is on its way."""
        if self.step is Step.PAID:
            self.emit(OrderShipped(parcel))

    @query
    def status(self) -> Step:
        """How far it has come."""
        return self.step

    def _cancel(self, why: str) -> None:
        if self.step is Step.HELD:  # a charge may be on its way, or done without our knowing
            self.cancel_task(self.task)
            self.start_task(void(self.id.key))
        self.cancel_schedule("hold")
        self.emit(OrderCancelled(why))

    @event
    def _placed(self, e: OrderPlaced) -> None:
        self.step = Step.PLACED
        self.sku, self.quantity, self.card, self.cents = e.sku, e.quantity, e.card, e.cents

    @event
    def _held(self, e: StockHeld) -> None:
        self.step, self.task = Step.HELD, e.task

    @event
    def _paid(self, e: OrderPaid) -> None:
        self.step = Step.PAID

    @event
    def _shipped(self, e: OrderShipped) -> None:
        self.step = Step.SHIPPED

    @event
    def _cancelled(self, e: OrderCancelled) -> None:
        self.step, self.why = Step.CANCELLED, e.why
