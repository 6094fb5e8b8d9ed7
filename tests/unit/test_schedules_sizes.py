"""Schedules as large as a commit: what is set is run, and what cannot go on ends and holds up nothing."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import pytest

from aether import Actor, Every, InvalidCommand, Model, command, event, query
from aether.config import RuntimeConfig
from aether.ids import ActorId
from aether.memory.server import PAYLOAD_BYTES_MAX
from aether.runtime import sent_schedule
from aether.testing import local_pool
from aether.testing.pool import LocalPool
from aether.wire import DEAD_LETTERED_EVENT

QUICK = RuntimeConfig(tell_attempts_max=2, tell_retry_first_s=0.01, tell_retry_max_s=0.02)
SENT_TWICE = PAYLOAD_BYTES_MAX // 2 - 8_192


@dataclass(frozen=True, slots=True)
class Heard:
    """How much was heard."""

    size: int


class Bell(Actor):
    """Sets schedules, and hears their ticks."""

    heard: int = 0

    @command
    def begin(self, key: str, size: int, letter: str = "x") -> None:
        self.schedule("ring", Every(seconds=1), Bell.hear, key, letter * size)

    @command
    def hear(self, text: str) -> None:
        self.emit(Heard(len(text)))

    @event
    def was_heard(self, e: Heard) -> None:
        self.heard += e.size

    @query
    def count(self) -> int:
        return self.heard


MODEL = Model("bells", actors=[Bell])


async def until_heard(pool: LocalPool, key: str, size: int) -> None:
    async with asyncio.timeout(10):
        while await pool.client.actor(Bell, key).count() < size:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(("key", "size"), [("b", SENT_TWICE), ("a", 2 * SENT_TWICE)])
async def test_the_largest_schedule_that_is_set_goes_on(key: str, size: int) -> None:
    async with local_pool(MODEL, config=QUICK) as pool:
        with pytest.raises(InvalidCommand, match=r"\(bell\.hear, which begin schedules\)"):
            await pool.client.actor(Bell, "a").begin(key, size + 16_384)
        await pool.client.actor(Bell, "a").begin(key, size)
        for ticks in (1, 2):
            await pool.clock.advance(seconds=1)
            await until_heard(pool, key, ticks * size)


@pytest.mark.parametrize("key", ["a", "b"])
async def test_one_without_room_for_its_next_tick_ends(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of an earlier version has set it, or the server takes smaller messages now."""
    monkeypatch.setattr(sent_schedule, "_check_ticks_fit", lambda *_: None)
    async with local_pool(MODEL, config=QUICK) as pool:
        for size in range(PAYLOAD_BYTES_MAX // 4, 0, -1):  # a quotation mark within JSON within JSON takes four bytes
            with suppress(InvalidCommand):
                await pool.client.actor(Bell, "a").begin(key, size, '"')
                break
        await pool.clock.advance(seconds=1)
        async with asyncio.timeout(10):
            while DEAD_LETTERED_EVENT not in [  # noqa: ASYNC110 - the pool makes progress
                one.type async for one, _ in pool.client.untyped.history(ActorId("bell", "a"))
            ]:
                await asyncio.sleep(0.005)
        await pool.client.actor(Bell, "a").hear("x")
        await until_heard(pool, "a", 1)
        assert await pool.client.actor(Bell, "b").count() == 0
