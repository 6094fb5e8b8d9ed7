"""The orders and the agent, with a worker that dies at each point on the way: one end, one charge, one answer.

As for tells and tasks: every suspension of every task of the pool, and each operation of its server, before it is done
and after.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from aether import Model
from aether.config import RuntimeConfig
from aether.core.backoff import Backoff
from aether.runtime import task_runner, task_store
from aether.testing import local_pool
from aether.testing.pool import LocalPool
from examples.agent import model as agent
from examples.agent.language_model import LanguageModel
from examples.agent.session import ModelSaid, Session, ToolAnswered, ToolsCalled, UserReminded, UserSaid
from examples.orders.bank import Bank
from examples.orders.model import BANK_FILE
from examples.orders.model import model as orders
from examples.orders.order import Order, OrderPaid, OrderPlaced, OrderShipped, StockHeld
from examples.orders.stock import Delivered, Held, Left, Stock
from tests.support.crash_points import Points
from tests.support.nightly import NIGHTLY

POINTS_MIN = 50
EVERY = 1 if NIGHTLY else 50

CONFIG = RuntimeConfig(
    replay_retry_first_s=0.001,
    replay_retry_max_s=0.01,
    tell_retry_first_s=0.001,
    cancel_grace_s=0.05,
    task_drain_s=0.05,
)
KINDS = ["await", "before", "after"]
CONVERSATION = [UserSaid, ToolsCalled, ToolAnswered, ModelSaid, UserReminded]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of the event loop are short, and so are the words of the language model."""
    short = Backoff(first_s=0.001, cap_s=0.005)
    monkeypatch.setattr(task_runner, "AGAIN", short)
    monkeypatch.setattr(task_store, "SEND_AGAIN", short)
    monkeypatch.setattr(agent, "LanguageModel", lambda: LanguageModel(fails=0.2, word_s=0.0))


async def events_of(pool: LocalPool, kind: Any, key: str) -> list[Any]:
    return [one.event async for one in pool.client.history(kind, key, deadline_s=30)]


async def until(pool: LocalPool, kind: Any, key: str, count: int) -> None:
    """So many events are there, after as much time as it takes for the claims of a dead worker to end."""
    async with asyncio.timeout(30):
        while len(await events_of(pool, kind, key)) < count:
            await asyncio.sleep(0.002)
            await pool.clock.advance(seconds=5)


async def run(
    points: Points, model: Model, dies: tuple[Any, str], process: Callable[[LocalPool], Awaitable[None]]
) -> int:
    """A process, and a death at a point of it; how many points there were."""
    async with local_pool(model, config=CONFIG) as pool:
        await pool.client.state(*dies)
        deaths: list[asyncio.Task[object]] = []

        def die() -> None:
            worker = pool.worker_of(*dies)
            worker._connection.disconnect()
            deaths.append(asyncio.get_running_loop().create_task(pool.crash(worker)))

        points.begin(pool, die)
        await asyncio.create_task(_awaited(process(pool)))
        count, points.death = points.count, None
        for death in deaths:
            await death
        return count


async def _awaited(process: Awaitable[None]) -> None:
    await process


async def an_order(pool: LocalPool) -> None:
    client = pool.client.using(deadline_s=30)
    await client.using(command_id="deliver").actor(Stock, "tea").deliver(5)
    await client.using(command_id="place").actor(Order, "1").place("tea", 2, "4111 1111", 700)
    await until(pool, Order, "1", 4)
    await until(pool, Stock, "tea", 3)
    await pool.clock.advance(hours=1)  # the hold was cancelled
    assert [type(one) for one in await events_of(pool, Order, "1")] == [OrderPlaced, StockHeld, OrderPaid, OrderShipped]
    assert [type(one) for one in await events_of(pool, Stock, "tea")] == [Delivered, Held, Left]


@pytest.mark.parametrize("dies", [(Order, "1"), (Stock, "tea")], ids=["order", "stock"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_order_is_paid_and_shipped_once(
    kind: str, dies: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker dies at each point nightly, else at a few."""
    nth = count = 0
    while nth <= count:
        nth += EVERY
        monkeypatch.setenv(BANK_FILE, str(tmp_path / f"{nth}.sqlite"))

        async def one_order(nth: int = nth) -> int:
            return await run(Points(nth, kind), orders, dies, an_order)

        count = asyncio.run(one_order())
        assert Bank(tmp_path / f"{nth}.sqlite").charged() == {"1": [700]}
    assert nth > POINTS_MIN


async def a_question(pool: LocalPool) -> None:
    client = pool.client.using(deadline_s=30)
    await client.using(command_id="say").actor(Session, "a").say("what is the weather in Berlin")
    await until(pool, Session, "a", 4)
    await pool.clock.advance(days=2)
    found = await events_of(pool, Session, "a")
    assert [type(one) for one in found] == CONVERSATION
    assert found[3] == ModelSaid("Berlin: rain")


@pytest.mark.parametrize("kind", KINDS)
def test_a_question_has_one_answer_and_one_reminder(kind: str) -> None:
    """A worker dies at each point nightly, else at a few."""
    nth = count = 0
    while nth <= count:
        nth += EVERY

        async def one_question(nth: int = nth) -> int:
            return await run(Points(nth, kind), agent.model, (Session, "a"), a_question)

        count = asyncio.run(one_question())
    assert nth > POINTS_MIN
