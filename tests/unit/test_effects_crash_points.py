"""A worker dies at each point of a turn that does everything, and of all that comes of it: each effect is there once.

As for tells and tasks alone: every suspension of every task of the pool, and each operation of its server, before it is
done and after. One command asks, emits, tells, tells by a policy, sets schedules and starts tasks; a second one cancels
some of that. Tasks fail and are given up, and there is room for one at a time. With `shortened` the inbox is purged
meanwhile, down to what is needed.
"""

import asyncio

import pytest

from aether.config import RuntimeConfig
from aether.core.backoff import Backoff
from aether.runtime import inbox_purge, relaying, shard_inbox, task_runner, task_store, telling
from aether.testing import local_pool
from aether.testing.pool import SHARDS, LocalPool
from tests.support.crash_points import Points
from tests.support.desks import CALLS, Desk, Shelf, model
from tests.support.nightly import NIGHTLY

POINTS_MIN = 60
EVERY = 1 if NIGHTLY else 6

CONFIG = RuntimeConfig(
    replay_retry_first_s=0.001,
    replay_retry_max_s=0.01,
    tell_retry_first_s=0.001,
    cancel_grace_s=0.05,
    task_drain_s=0.05,
    tasks_running_max=1,
)
KEY = "desk"
AT_DESK = ["again", "again", "fetched paper", "given up after 2", "soon"]
AT_SHELF = ["asked for paper", "by policy", "there", "told"]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of the event loop are short."""
    short = Backoff(first_s=0.001, cap_s=0.005)
    monkeypatch.setattr(task_runner, "AGAIN", short)
    monkeypatch.setattr(task_store, "SEND_AGAIN", short)


@pytest.fixture
def shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The inbox is purged all the time."""
    monkeypatch.setattr(relaying, "RENEW_TELLS", 1)
    monkeypatch.setattr(inbox_purge, "LOOK_TELLS", 1)
    monkeypatch.setattr(inbox_purge, "KEPT_S", 0.0)
    monkeypatch.setattr(telling, "PURGE_EVERY_S", 0.002)
    monkeypatch.setattr(shard_inbox, "MARK_TELLS", 1)


def of_another_worker(pool: LocalPool) -> str:
    mine = pool.worker_of(Desk, KEY)
    return next(key for n in range(100) if pool.worker_of(Shelf, key := f"shelf {n}") is not mine)


async def logs(pool: LocalPool, shelf: str) -> tuple[list[str], list[str]]:
    client = pool.client.using(deadline_s=30)
    return await client.actor(Desk, KEY).lines(), await client.actor(Shelf, shelf).lines()


async def done(pool: LocalPool, shelf: str) -> None:
    """All has come, after as much time as it takes for the claims of a dead worker to end."""
    async with asyncio.timeout(30):
        while True:
            desk, at_shelf = await logs(pool, shelf)
            assert not set(desk) - set(AT_DESK), desk
            if (sorted(desk), sorted(at_shelf)) == (AT_DESK, AT_SHELF):
                return
            assert len(desk) <= len(AT_DESK), desk
            assert len(at_shelf) <= len(AT_SHELF), at_shelf
            await asyncio.sleep(0.002)
            await pool.clock.advance(seconds=2)


async def run(nth: int, kind: str, dies: str) -> int:
    """One turn of everything, and a death at the nth point; how many points there were."""
    points = Points(nth, kind)
    CALLS.clear()
    async with local_pool(model, config=CONFIG) as pool:
        shelf = of_another_worker(pool)
        await logs(pool, shelf)
        deaths: list[asyncio.Task[object]] = []

        def die() -> None:
            worker = pool.worker_of(*((Desk, KEY) if dies == "desk" else (Shelf, shelf)))
            worker._connection.disconnect()
            deaths.append(asyncio.get_running_loop().create_task(pool.crash(worker)))

        points.begin(pool, die)

        async def work_and_stop() -> None:
            await pool.client.actor(Desk, KEY, deadline_s=30, command_id="work").work(shelf)
            await pool.client.actor(Desk, KEY, deadline_s=30, command_id="stop").stop()

        await asyncio.create_task(work_and_stop())
        await done(pool, shelf)
        count, points.death = points.count, None
        for death in deaths:
            await death
        await pool.clock.advance(seconds=60)  # what is late has its chance to come twice
        desk, at_shelf = await logs(pool, shelf)
        assert (sorted(desk), sorted(at_shelf)) == (AT_DESK, AT_SHELF)
        assert at_shelf[0] == "asked for paper"
        assert at_shelf.index("by policy") < at_shelf.index("told")
        assert len(CALLS) == len(set(CALLS)), f"an attempt was called twice: {CALLS}"
        assert [one async for one in pool.client.dead_letters()] == []
        assert pool.server.space(pool.namespace, SHARDS).timers.waiting() == []
        return count


def at_each_point(kind: str, dies: str, every: int) -> None:
    nth = count = 0
    while nth <= count:
        nth += every
        count = asyncio.run(run(nth, kind, dies))
    assert nth > POINTS_MIN


@pytest.mark.parametrize("dies", ["desk", "shelf"])
@pytest.mark.parametrize("kind", ["await", "before", "after"])
def test_a_worker_dies_at_each_point(kind: str, dies: str) -> None:
    """At each point nightly, else at a few."""
    at_each_point(kind, dies, EVERY)


@pytest.mark.usefixtures("shortened")
@pytest.mark.parametrize("dies", ["desk", "shelf"])
@pytest.mark.parametrize("kind", ["await", "before", "after"])
def test_a_worker_dies_at_each_point_while_the_inbox_is_shortened(kind: str, dies: str) -> None:
    """To shorten it makes a thousand points more: every tenth nightly, else some of them."""
    at_each_point(kind, dies, 10 * EVERY)
