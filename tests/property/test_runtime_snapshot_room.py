"""Waiting for room to write a snapshot: thousands wait at once when a worker leaves its shards."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aether import ActorId
from aether.core.health import Health
from aether.runtime.counters import Counters
from aether.runtime.fold import Fold
from aether.runtime.snapshots import SnapshotWriter
from tests.support.actors import model as actors


class Slow:
    """A store that takes a turn or two of the event loop for each snapshot."""

    snapshot_bytes_max = 1_000

    def __init__(self, chooser: random.Random) -> None:
        self._chooser = chooser
        self.at_once = 0
        self.at_once_most = 0
        self.saved = 0

    async def load(self, actor_id: ActorId) -> bytes | None:
        """Never asked for."""
        raise AssertionError(actor_id)

    async def save(self, actor_id: ActorId, value: bytes) -> None:
        """Keep nothing, but count."""
        self.at_once += 1
        self.at_once_most = max(self.at_once_most, self.at_once)
        for _ in range(self._chooser.randrange(3)):
            await asyncio.sleep(0)
        self.at_once -= 1
        self.saved += 1

    async def delete(self, actor_id: ActorId) -> None:
        """Never asked for."""
        raise AssertionError(actor_id)

    async def delete_kind(self, kind: str) -> int:
        """Never asked for."""
        raise AssertionError(kind)


class Watched(SnapshotWriter):
    """Counts how often somebody looks for room."""

    looks = 0

    @property
    def room(self) -> bool:
        """Whether another snapshot may be written now."""
        self.looks += 1
        return super().room


def _writer(store: Slow, at_once: int) -> Watched:
    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    return Watched(store, Counters(), at_once, spawn, Health())


async def _run(waiting: int, at_once: int, seed: int, *, writes: float, cancelled: float) -> tuple[Slow, Watched, int]:
    """So many wait at once; a share of them writes when it is its turn, and a share is cancelled at some time."""
    chooser = random.Random(seed)  # noqa: S311 - a scenario, not a secret
    store = Slow(chooser)
    writer = _writer(store, at_once)
    written = 0

    async def one(number: int) -> None:
        nonlocal written
        await writer.until_room()
        if chooser.random() < writes:
            fold = Fold(ActorId("account", f"a{number}"), actors.actor_type("account"))
            assert writer.write(fold) is not None, "there was no room for whose turn it was"
            written += 1

    tasks = [asyncio.ensure_future(one(number)) for number in range(waiting)]
    for task in tasks:
        if chooser.random() < cancelled:
            for _ in range(chooser.randrange(3)):
                await asyncio.sleep(0)
            task.cancel()
    for _ in range(10 * waiting + 10):  # a snapshot takes a few turns of the event loop
        await asyncio.sleep(0)
    forgotten = [task for task in tasks if not task.done()]
    assert not forgotten
    for task in tasks:
        if not task.cancelled():
            task.result()
    await writer.flush()
    return store, writer, written


@given(
    waiting=st.integers(1, 60),
    at_once=st.integers(1, 8),
    seed=st.integers(0, 2**32),
    writes=st.sampled_from((0.0, 0.5, 1.0)),
    cancelled=st.sampled_from((0.0, 0.5)),
)
def test_every_actor_has_a_turn_and_never_too_many_write(
    waiting: int, at_once: int, seed: int, writes: float, cancelled: float
) -> None:
    store, _, written = asyncio.run(_run(waiting, at_once, seed, writes=writes, cancelled=cancelled))
    assert store.saved == written
    assert store.at_once_most <= at_once


def test_looking_for_room_costs_the_same_however_many_wait() -> None:
    looks = {}
    for waiting in (100, 1_000):
        _, writer, written = asyncio.run(_run(waiting, 8, 1, writes=1.0, cancelled=0.0))
        assert written == waiting
        looks[waiting] = writer.looks / waiting
    assert looks[1_000] < 2 * looks[100]
