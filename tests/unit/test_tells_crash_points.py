"""A worker dies at each point between a command and the end of what it told: nothing is lost, nothing happens twice.

Every suspension of every task of the pool is a point, and each operation of the server, before it is done and after, at
which the sender's or the target's worker is cut off from the server and replaced: one run for each.
"""

import asyncio

import pytest

from aether.config import RuntimeConfig
from aether.testing import local_pool
from aether.testing.pool import LocalPool
from tests.support.crash_points import Points
from tests.support.transfers import Till, model

POINTS_MIN = 15
"""Fewer points than this would mean that the run does not do what it is to test."""

CONFIG = RuntimeConfig(replay_retry_first_s=0.001, replay_retry_max_s=0.01, tell_retry_first_s=0.001)
PAYER = "payer"


def of_another_worker(pool: LocalPool) -> str:
    mine = pool.worker_of(Till, PAYER)
    return next(key for n in range(100) if pool.worker_of(Till, key := f"payee {n}") is not mine)


async def received(pool: LocalPool, payee: str) -> list[str]:
    events = await pool.client.history(Till, payee)
    return [one.event.number for one in events if hasattr(one.event, "number")]


async def transferred(pool: LocalPool, payee: str, wanted: list[str]) -> None:
    async with asyncio.timeout(20):
        while sorted(await received(pool, payee)) != wanted:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.002)


async def run(nth: int, kind: str, dies: str) -> int:
    """One transfer and one tell of a client, and a death at the nth point; how many points there were."""
    points = Points(nth, kind)
    async with local_pool(model, config=CONFIG) as pool:
        payee = of_another_worker(pool)
        await pool.client.actor(Till, PAYER).open(100)
        deaths: list[asyncio.Task[object]] = []

        def die() -> None:
            worker = pool.worker_of(Till, PAYER if dies == "sender" else payee)
            worker._connection.disconnect()
            deaths.append(asyncio.get_running_loop().create_task(pool.crash(worker)))

        points.begin(pool, die)
        sending = pool.client.actor(Till, PAYER, deadline_s=30, command_id="one").send("one", payee, 5)
        telling = pool.client.tell(Till.take, payee, "two", 2)
        await asyncio.gather(asyncio.create_task(sending), asyncio.create_task(telling))
        await transferred(pool, payee, ["one", "two"])
        count, points.death = points.count, None
        for death in deaths:
            await death
        await pool.client.tell(Till.take, payee, "three", 1)  # what is late has its chance to come twice
        await transferred(pool, payee, ["one", "three", "two"])
        assert (await pool.client.state(Till, PAYER)).state.balance == 95
        return count


@pytest.mark.parametrize("dies", ["sender", "target"])
@pytest.mark.parametrize("kind", ["await", "before", "after"])
def test_a_worker_dies_at_each_point(kind: str, dies: str) -> None:
    nth = count = 0
    while nth <= count:
        nth += 1
        count = asyncio.run(run(nth, kind, dies))
    assert nth > POINTS_MIN
