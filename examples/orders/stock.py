"""The stock of one article: what is free, what is laid aside for orders, what has left."""

from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from aether import Actor, command, event, query
from examples.orders.order import Order


@dataclass(frozen=True, slots=True)
class Delivered:
    """So many more are in stock."""

    quantity: int


@dataclass(frozen=True, slots=True)
class Held:
    """So many are laid aside for an order."""

    order: str
    quantity: int


@dataclass(frozen=True, slots=True)
class RanShort:
    """An order wanted more than there was."""

    order: str
    quantity: int


@dataclass(frozen=True, slots=True)
class Released:
    """What was laid aside for an order is free again."""

    order: str


@dataclass(frozen=True, slots=True)
class Left:
    """What was laid aside for an order has left the house."""

    order: str


class Stock(Actor):
    """One article; the key is its number (SKU)."""

    free: int = 0
    left: int = 0
    held: dict[str, int] = field(default_factory=dict[str, int])

    @command
    def deliver(self, quantity: Annotated[int, Meta(gt=0)]) -> int:
        """New goods arrive; how many are free."""
        self.emit(Delivered(quantity))
        return self.free

    @command
    def hold(self, order: str, quantity: int) -> None:
        """Lay goods aside for an order, or tell it that there are not enough."""
        if quantity > self.free:
            self.emit(RanShort(order, quantity))
            self.tell(Order.stock_refused, order)
        else:
            self.emit(Held(order, quantity))
            self.tell(Order.stock_held, order)

    @command
    def release(self, order: str) -> None:
        """An order was cancelled."""
        if order in self.held:
            self.emit(Released(order))

    @command
    def leave(self, order: str) -> None:
        """An order was paid: its goods go."""
        if order in self.held:
            self.emit(Left(order))

    @query
    def total(self) -> int:
        """All that was ever delivered, wherever it is now."""
        return self.free + sum(self.held.values()) + self.left

    @event
    def _delivered(self, e: Delivered) -> None:
        self.free += e.quantity

    @event
    def _held(self, e: Held) -> None:
        self.free -= e.quantity
        self.held[e.order] = e.quantity

    @event
    def _short(self, e: RanShort) -> None:
        pass

    @event
    def _released(self, e: Released) -> None:
        self.free += self.held.pop(e.order)

    @event
    def _left(self, e: Left) -> None:
        self.left += self.held.pop(e.order)
