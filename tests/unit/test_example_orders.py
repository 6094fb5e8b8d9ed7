"""The orders: each ends once, the stock and the bank's books add up, whatever crashes on the way."""

import asyncio
import random
from pathlib import Path

import pytest

from aether import Rejected
from aether.config import RuntimeConfig
from aether.testing import local_pool
from aether.testing.pool import LocalPool
from examples.orders.bank import Bank
from examples.orders.model import BANK_FILE, model
from examples.orders.order import Order, OrderCancelled, OrderShipped, Step
from examples.orders.stock import Stock

QUICK = RuntimeConfig(tell_retry_first_s=0.01, replay_retry_first_s=0.001, replay_retry_max_s=0.01)
GOOD, BAD = "4111 1111", "4111 0000"
ENDS = {Step.SHIPPED, Step.CANCELLED}


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """The bank of this test."""
    monkeypatch.setenv(BANK_FILE, str(tmp_path / "bank.sqlite"))
    return Bank(tmp_path / "bank.sqlite")


async def until(pool: LocalPool, order: str, steps: set[Step]) -> Step:
    """The order's step, once it is one of these."""
    async with asyncio.timeout(30):
        while (step := await pool.client.actor(Order, order).status()) not in steps:  # noqa: ASYNC110 - the pool works
            await asyncio.sleep(0.01)
    return step


async def stock_is(pool: LocalPool, free: int, left: int) -> None:
    """Wait until so many are free, so many have left, and none is laid aside."""
    wanted = {"free": free, "left": left, "held": {}}
    async with asyncio.timeout(30):
        while (await pool.client.state(Stock, "tea")).as_dict() != wanted:  # noqa: ASYNC110 - the pool works
            await asyncio.sleep(0.01)


async def test_an_order_is_paid_and_shipped(bank: Bank) -> None:
    async with local_pool(model, config=QUICK) as pool:
        await pool.client.actor(Stock, "tea").deliver(5)
        await pool.client.actor(Order, "1").place("tea", 2, GOOD, 700)
        assert await until(pool, "1", ENDS) is Step.SHIPPED
        await stock_is(pool, 3, 2)
        assert bank.charged() == {"1": [700]}
        with pytest.raises(Rejected, match="placed before"):
            await pool.client.actor(Order, "1").place("tea", 2, GOOD, 700)
        await pool.clock.advance(hours=1)  # the hold was cancelled
        assert await pool.client.actor(Order, "1").status() is Step.SHIPPED


async def test_an_order_that_the_bank_does_not_pay_gives_its_goods_back(bank: Bank) -> None:
    async with local_pool(model, config=QUICK) as pool:
        await pool.client.actor(Stock, "tea").deliver(5)
        await pool.client.actor(Order, "1").place("tea", 2, BAD, 700)
        await pool.clock.advance()  # a card that is declined is asked for once
        assert await pool.client.actor(Order, "1").status() is Step.CANCELLED
        await stock_is(pool, 5, 0)
        assert bank.charged() == {}
        state = await pool.client.state(Order, "1")
        assert "declined" in state.state.why


async def test_an_order_of_more_than_there_is_ends(bank: Bank) -> None:
    async with local_pool(model, config=QUICK) as pool:
        await pool.client.actor(Stock, "tea").deliver(5)
        await pool.client.actor(Order, "1").place("tea", 6, GOOD, 700)
        assert await until(pool, "1", ENDS) is Step.CANCELLED
        await stock_is(pool, 5, 0)


async def test_a_hold_expires_and_its_charge_is_voided(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object) -> str:
        raise ConnectionError("the bank's network is down")

    async with local_pool(model, config=QUICK) as pool:
        monkeypatch.setattr(Bank, "charge", unreachable)
        await pool.client.actor(Stock, "tea").deliver(5)
        await pool.client.actor(Order, "1").place("tea", 2, GOOD, 700)
        await until(pool, "1", {Step.HELD})
        await pool.clock.advance(minutes=16)
        assert await until(pool, "1", ENDS) is Step.CANCELLED
        await stock_is(pool, 5, 0)
        monkeypatch.undo()
        assert bank.charged() == {}


@pytest.mark.parametrize("seed", range(3))
async def test_orders_end_once_though_workers_crash_all_the_time(bank: Bank, seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret
    wanted = {str(n): (rng.randint(1, 3), BAD if rng.random() < 0.2 else GOOD) for n in range(12)}
    async with local_pool(model, workers=3, config=QUICK) as pool:
        await pool.client.actor(Stock, "tea").deliver(20)
        done = asyncio.Event()

        async def crash_now_and_then() -> None:
            while not done.is_set():
                await asyncio.sleep(rng.uniform(0.005, 0.05))
                await pool.crash(rng.randrange(3))
                await pool.clock.advance(seconds=1)

        crashing = asyncio.ensure_future(crash_now_and_then())
        await asyncio.gather(
            *(pool.client.actor(Order, key).place("tea", count, card, 100) for key, (count, card) in wanted.items())
        )
        await asyncio.sleep(0.5)
        done.set()
        await crashing
        await pool.clock.advance(minutes=20)
        steps = {key: await until(pool, key, ENDS) for key in wanted}
        shipped = {key for key, step in steps.items() if step is Step.SHIPPED}
        left = sum(wanted[key][0] for key in shipped)
        await stock_is(pool, 20 - left, left)
        assert bank.charged() == {key: [100] for key in shipped}
        for key in wanted:
            ends = [
                one
                async for one in pool.client.history(Order, key)
                if isinstance(one.event, OrderCancelled | OrderShipped)
            ]
            assert len(ends) == 1
        assert all(wanted[key][1] == GOOD for key in shipped)
