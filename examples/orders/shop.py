"""A day in the shop: `python -m examples.orders.shop`, while `aether run examples.orders.model:model` runs.

It delivers tea, places orders of which some cannot be paid and some are too large, waits for the end of each, and
compares the stock with the orders and with the bank's books.
"""

import asyncio
import os
import random
import sys
from pathlib import Path
from uuid import uuid4

from aether import AetherError, Client, connect
from examples.orders.bank import Bank
from examples.orders.model import BANK_FILE, model
from examples.orders.order import Order, OrderCancelled, OrderPlaced, OrderShipped, Step
from examples.orders.stock import Stock

ORDERS = 30
DELIVERED = 40
CARDS = ("4111 1111", "4111 2222", "4111 0000")


async def order(client: Client, key: str, article: str) -> None:
    """Place an order of a few packets."""
    card = random.choice(CARDS)  # noqa: S311 - play
    await client.actor(Order, key).place(article, random.randint(1, 4), card, 450)  # noqa: S311 - play


async def main() -> int:
    """Run the day; 0 when all adds up."""
    day = uuid4().hex[:6]
    article, keys = f"tea-{day}", [f"{day}-{number}" for number in range(ORDERS)]
    async with (
        connect(model=model) as client,
        client.subscribe(OrderPlaced, OrderShipped, OrderCancelled) as events,
    ):
        await client.actor(Stock, article).deliver(DELIVERED)
        await asyncio.gather(*(order(client, key, article) for key in keys))
        open_orders = set(keys)
        async for one in events:
            if one.actor_id.key in open_orders and not isinstance(one.event, OrderPlaced):
                open_orders.discard(one.actor_id.key)
                print(f"{one.actor_id.key:>10}  {one.event}")
            if not open_orders:
                break
        states = [(await client.state(Order, key)).state for key in keys]
        shipped = [state for state in states if state.step is Step.SHIPPED]
        left = sum(state.quantity for state in shipped)
        total = await client.actor(Stock, article).total()
    charged = Bank(Path(os.environ.get(BANK_FILE, "bank.sqlite"))).charged()
    paid = sum(len(charged.get(key, [])) for key in keys)
    print(
        f"{len(shipped)} of {ORDERS} orders shipped with {left} packets; {total} of {DELIVERED} packets accounted for"
    )
    print(f"{paid} charges in the bank's books")
    return 0 if total == DELIVERED and paid == len(shipped) else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except AetherError as error:
        sys.exit(f"shop: {error}")
