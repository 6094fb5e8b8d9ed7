"""What a step of the test kit's clock begins in threads is over when the step is."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from aether import Actor, After, Model, Retry, TaskContext, TaskFailed, command, event, query, task
from aether.testing import LocalPool, clock, local_pool
from tests.support.nodes import until

TURNS = 500
"""More turns of the event loop than a step takes for what goes on there."""

GUARD_S = 60


class World:
    """What code in threads does."""

    work: Callable[[], object] = staticmethod(lambda: None)


def many_turns() -> Callable[[], None]:
    """Work of a thread that is not over before the event loop has turned so often."""
    loop = asyncio.get_running_loop()

    def work() -> None:
        for _ in range(TURNS):
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(GUARD_S)

    return work


@task(retry=Retry(first_s=60, cap_s=60, attempts=2))
def charge(context: TaskContext) -> int:
    World.work()
    if context.attempt == 1:
        raise ConnectionError("no")
    return context.attempt


@dataclass(frozen=True)
class Noted:
    """Something came."""

    what: str


class Booking(Actor):
    """Starts a plain task, and has a blocking command run later."""

    notes: list[str] = field(default_factory=list[str])

    @command
    def book(self) -> None:
        self.start_task(charge(), then=Booking.paid, failed=Booking.not_paid)

    @command
    def hold(self) -> None:
        self.schedule("expiry", After(minutes=15), Booking.expire, self.id.key)

    @command
    def paid(self, attempt: int) -> None:
        self.emit(Noted(f"paid at {attempt}"))

    @command
    def not_paid(self, failed: TaskFailed) -> None:
        self.emit(Noted(failed.message))

    @command(blocking=True)
    def expire(self) -> None:
        World.work()
        self.emit(Noted("expired"))

    @query
    def read(self) -> list[str]:
        return self.notes

    @event
    def noted(self, e: Noted) -> None:
        self.notes = [*self.notes, e.what]


model = Model("bookings", actors=[Booking], tasks=[charge])


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "THREAD_S", GUARD_S)
    monkeypatch.setattr(World, "work", staticmethod(lambda: None))


def running(pool: LocalPool) -> bool:
    return any(worker.runtime.running_tasks() for worker in pool.workers)


async def test_a_plain_task_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "work", staticmethod(many_turns()))
    async with local_pool(model) as pool:
        booking = pool.client.actor(Booking, "a")
        await booking.book()
        await pool.clock.advance(seconds=1)
        await pool.clock.advance(minutes=1)
        assert await booking.read() == ["paid at 2"]


async def test_a_blocking_handler_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "work", staticmethod(many_turns()))
    async with local_pool(model) as pool:
        booking = pool.client.actor(Booking, "a")
        await booking.hold()
        await pool.clock.advance(minutes=15)
        [noted] = await pool.client.history(Booking, "a")
        assert noted.event == Noted("expired")


async def test_one_that_does_not_end_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()
    monkeypatch.setattr(World, "work", staticmethod(lambda: opened.wait(GUARD_S)))
    async with local_pool(model) as pool, asyncio.timeout(GUARD_S / 2):
        booking = pool.client.actor(Booking, "a")
        try:
            await booking.book()
            await until(lambda: running(pool))
            monkeypatch.setattr(clock, "THREAD_S", 0.001)
            await pool.clock.advance(seconds=1)
            monkeypatch.setattr(clock, "THREAD_S", GUARD_S)
            await pool.clock.advance(seconds=1)
            assert await booking.read() == []
        finally:
            opened.set()
        await until(lambda: not running(pool))
        await pool.clock.advance(minutes=1)
        assert await booking.read() == ["paid at 2"]
