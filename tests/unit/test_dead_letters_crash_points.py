"""A worker dies at each point between a tell that fails and the end of the dead letter that it becomes: one effect.

An actor tells three things to another one, of which the second fails until it is given up; a caller sends the dead
letter again when the cause is mended. Beside it a tell is given up to a kind that no worker has.
"""

import asyncio

import pytest

from aether.config import RuntimeConfig
from aether.ids import ActorId
from aether.testing import local_pool
from aether.testing.pool import LocalPool
from aether.wire import DEAD_LETTERED_EVENT
from tests.support.crash_points import Points
from tests.support.desks import BROKEN, Desk, Shelf, Tray, model
from tests.support.nightly import NIGHTLY

POINTS_MIN = 30
EVERY = 1 if NIGHTLY else 4

CONFIG = RuntimeConfig(
    replay_retry_first_s=0.001,
    replay_retry_max_s=0.01,
    tell_attempts_max=2,
    tell_retry_first_s=0.001,
    tell_retry_max_s=0.002,
)
KEY = "desk"
LINES = ["first", "second", "third"]
GONE = ActorId("cupboard", "a")


def of_another_worker(pool: LocalPool, kind: type[Shelf]) -> str:
    mine = pool.worker_of(Desk, KEY)
    return next(key for n in range(100) if pool.worker_of(kind, key := f"shelf {n}") is not mine)


async def letters(pool: LocalPool, wanted: set[str]) -> dict[str, int]:
    """The dead letters by their kinds, once they are these."""
    async with asyncio.timeout(20):
        while True:
            found = {one.actor_id.kind: one.id async for one in pool.client.dead_letters()}
            if set(found) == wanted:
                return found
            await asyncio.sleep(0.002)


async def lines(pool: LocalPool, kind: type[Shelf], key: str, wanted: list[str]) -> None:
    """Wait for these lines."""
    async with asyncio.timeout(20):
        while (found := await pool.client.actor(kind, key, deadline_s=30).lines()) != wanted:
            assert len(found) <= len(wanted), found
            await asyncio.sleep(0.002)


async def given_up(pool: LocalPool, actor_id: ActorId) -> int:
    found = [one async for one, _ in pool.client.untyped.history(actor_id)]
    return sum(one.type == DEAD_LETTERED_EVENT for one in found)


async def run(nth: int, kind: str, to: type[Shelf], dies: str) -> int:
    """One dead letter from its beginning to its end, and a death at the nth point; how many points there were."""
    points = Points(nth, kind)
    BROKEN.add("second")
    async with local_pool(model, config=CONFIG) as pool:
        key = of_another_worker(pool, to)
        await lines(pool, to, key, [])
        deaths: list[asyncio.Task[object]] = []

        def die() -> None:
            worker = pool.worker_of(*((Desk, KEY) if dies == "sender" else (to, key)))
            worker._connection.disconnect()
            deaths.append(asyncio.get_running_loop().create_task(pool.crash(worker)))

        points.begin(pool, die)

        async def go() -> None:
            desk = pool.client.actor(Desk, KEY, deadline_s=30, command_id="pass on")
            await desk.pass_on(key, LINES, to is Shelf)
            await pool.client.untyped.tell(GONE, "open")
            kind_ = "shelf" if to is Shelf else "tray"
            letter = (await letters(pool, {kind_, GONE.kind}))[kind_]
            await lines(pool, to, key, ["first", "third"])
            BROKEN.clear()
            await pool.client.retry_dead_letter(letter, deadline_s=30)
            await lines(pool, to, key, ["first", "third", "second"])

        await asyncio.create_task(go())
        count, points.death = points.count, None
        for death in deaths:
            await death
        await pool.client.tell(to.note, key, "last")  # what is late has its chance to come twice
        await lines(pool, to, key, ["first", "third", "second", "last"])
        assert set(await letters(pool, {GONE.kind})) == {GONE.kind}
        assert await given_up(pool, ActorId("shelf" if to is Shelf else "tray", key)) == 1
        assert await given_up(pool, GONE) == 1
        return count


@pytest.mark.parametrize("dies", ["sender", "target"])
@pytest.mark.parametrize("to", [Shelf, Tray], ids=["in order", "not in order"])
@pytest.mark.parametrize("kind", ["await", "before", "after"])
def test_a_worker_dies_at_each_point(kind: str, to: type[Shelf], dies: str) -> None:
    """At each point nightly, else at a few."""
    nth = count = 0
    while nth <= count:
        nth += EVERY
        count = asyncio.run(run(nth, kind, to, dies))
    assert nth > POINTS_MIN
