"""A worker dies at each point between a command and the end of the task that it starts: one result, and no task lost.

As for tells: every suspension of every task of the pool, and each operation of its server, before it is done and after.
The worker that dies is the actor's, or the other one, which may run the task: one run for each.
"""

import asyncio

import pytest

from aether.config import RuntimeConfig
from aether.core.backoff import Backoff
from aether.runtime import task_runner, task_store
from aether.testing import local_pool
from aether.testing.pool import LocalPool
from tests.support.crash_points import Points
from tests.support.errands import Errand, model, renew
from tests.support.nightly import NIGHTLY

POINTS_MIN = 15
CONFIG = RuntimeConfig(
    replay_retry_first_s=0.001,
    replay_retry_max_s=0.01,
    tell_retry_first_s=0.001,
    cancel_grace_s=0.05,
    task_drain_s=0.05,
)
KEY = "a"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of the event loop are short."""
    short = Backoff(first_s=0.001, cap_s=0.005)
    monkeypatch.setattr(task_runner, "AGAIN", short)
    monkeypatch.setattr(task_store, "SEND_AGAIN", short)


async def back(pool: LocalPool, wanted: list[str]) -> None:
    """The results that are wanted, after as much time as it takes for a claim to end."""
    errand = pool.client.actor(Errand, KEY, deadline_s=30)
    async with asyncio.timeout(20):
        while sorted(found := await errand.results()) != wanted:
            assert len(found) <= len(wanted), f"{found} came back"
            await asyncio.sleep(0.002)
            await pool.clock.advance(seconds=5)


async def run(nth: int, kind: str, dies: int) -> int:
    """One task, and a death at the nth point; how many points there were."""
    world, points = renew(), Points(nth, kind)
    async with local_pool(model, config=CONFIG) as pool:
        await pool.client.actor(Errand, KEY).results()
        deaths: list[asyncio.Task[object]] = []
        slot = (pool.worker_of(Errand, KEY).slot + dies) % 2

        def die() -> None:
            worker = pool.workers[slot]
            worker._connection.disconnect()
            deaths.append(asyncio.get_running_loop().create_task(pool.crash(worker)))

        points.begin(pool, die)
        errand = pool.client.actor(Errand, KEY, deadline_s=30, command_id="one")
        task_id = await asyncio.create_task(errand.echo("one"))
        await back(pool, ["one"])
        count, points.death = points.count, None
        for death in deaths:
            await death
        await pool.client.actor(Errand, KEY, deadline_s=30).echo("two")  # what is late has its chance to come twice
        await pool.clock.advance(seconds=20)
        await back(pool, ["one", "two"])
        attempts = [one.attempt for one in world.calls if one.task_id == task_id]
        assert attempts == sorted(set(attempts)), f"called as attempts {attempts}"
        return count


@pytest.mark.parametrize("dies", [0, 1], ids=["owner", "other"])
@pytest.mark.parametrize("kind", ["await", "before", "after"])
def test_a_worker_dies_at_each_point(kind: str, dies: int) -> None:
    """At each point nightly, else at every fifth."""
    every = 1 if NIGHTLY else 5
    nth = count = 0
    while nth <= count:
        nth += every
        count = asyncio.run(run(nth, kind, dies))
    assert nth > POINTS_MIN
