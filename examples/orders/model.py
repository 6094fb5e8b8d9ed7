"""The board: whenever this event, then those commands. `aether run examples.orders.model:model`."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aether import Model, PolicyContext, policy
from examples.orders.bank import Bank
from examples.orders.order import Order, OrderCancelled, OrderPaid, OrderPlaced
from examples.orders.payment import charge, void
from examples.orders.shipment import Shipment
from examples.orders.stock import Stock

BANK_FILE = "ORDERS_BANK"
"""The environment variable that names the file of the bank's books."""


@dataclass(frozen=True)
class Resources:
    """What tasks use."""

    bank: Bank


@policy(tells=(Stock.hold,))
def whenever_placed_hold(event: OrderPlaced, context: PolicyContext[Order]) -> None:
    """Whenever an order is placed, then lay its goods aside."""
    context.tell(Stock.hold, event.sku, context.id.key, event.quantity)


@policy(tells=(Stock.leave, Shipment.pack))
def whenever_paid_ship(event: OrderPaid, context: PolicyContext[Order]) -> None:
    """Whenever an order is paid, then its goods leave the stock and are packed."""
    order = context.state
    context.tell(Stock.leave, order.sku, context.id.key)
    context.tell(Shipment.pack, context.id.key, order.sku, order.quantity)


@policy(tells=(Stock.release,))
def whenever_cancelled_release(event: OrderCancelled, context: PolicyContext[Order]) -> None:
    """Whenever an order is cancelled, then its goods are free again."""
    context.tell(Stock.release, context.state.sku, context.id.key)


@asynccontextmanager
async def lifespan() -> AsyncGenerator[Resources]:
    """Each worker has a way to the one bank."""
    yield Resources(Bank(Path(os.environ.get(BANK_FILE, "bank.sqlite"))))


model = Model(
    "orders",
    actors=[Order, Stock, Shipment],
    policies=[whenever_placed_hold, whenever_paid_ship, whenever_cancelled_release],
    tasks=[charge, void],
    lifespan=lifespan,
)
