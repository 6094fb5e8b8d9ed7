"""What a handler knows of the tick that it runs for: `context.scheduled_for`."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aether import Actor, ActorId, Cron, Model, PolicyContext, command, event, policy
from aether.config import RuntimeConfig
from aether.memory.server import InMemoryServer
from aether.testing import given, local_pool
from aether.testing.clock import PoolClock
from aether.testing.pool import LocalPool
from tests.support.alone import runtime_alone

START = datetime(2026, 1, 15, 12, tzinfo=UTC)
CONFIG = RuntimeConfig(tell_attempts_max=2, tell_retry_first_s=0.001)
BERLIN = ZoneInfo("Europe/Berlin")


@dataclass(frozen=True)
class Billed:
    """`how` says which command has emitted it."""

    how: str
    due: datetime | None


@dataclass(frozen=True)
class Broke:
    """It bills no more, or bills again."""

    is_broken: bool


class Ledger(Actor):
    """Bills each month."""

    is_broken: bool = False
    bills: tuple[Billed, ...] = ()

    @command
    def begin(self, catch_up: str = "one", key: str = "") -> None:
        self.schedule("bill", Cron("0 0 0 1 * *", "Europe/Berlin", catch_up), Ledger.bill, key or self.id.key)  # type: ignore[arg-type]

    @command
    def break_down(self, is_broken: bool) -> None:
        self.emit(Broke(is_broken))

    @command
    def bill(self) -> None:
        if self.is_broken:
            raise ZeroDivisionError("a bug")
        self.emit(Billed("bill", self.context.scheduled_for))
        self.tell(Ledger.note, self.id.key, "told")

    @command
    def note(self, how: str, due: datetime | None = None) -> None:
        self.emit(Billed(how, due or self.context.scheduled_for))

    @event
    def broke(self, e: Broke) -> None:
        self.is_broken = e.is_broken

    @event
    def billed(self, e: Billed) -> None:
        self.bills = (*self.bills, e)


@policy
def on_billed(event: Billed, context: PolicyContext[Ledger]) -> None:
    """Tells what it knows of the tick."""
    if event.how == "bill":
        context.tell(Ledger.note, context.id.key, "policy", context.scheduled_for)


model = Model("ledgers", actors=[Ledger], policies=[on_billed])


@pytest.fixture
async def pool() -> AsyncIterator[LocalPool]:
    async with local_pool(model, config=CONFIG, start=START) as pool:
        yield pool


async def bills(pool: LocalPool, key: str, how: str = "bill") -> list[datetime | None]:
    return [one.due for one in (await pool.client.state(Ledger, key)).state.bills if one.how == how]


def first_of(month: int) -> datetime:
    return datetime(2026, month, 1, tzinfo=BERLIN).astimezone(UTC)


@pytest.mark.parametrize("key", ["a", "b"], ids=["its own", "for another"])
async def test_it_is_when_the_tick_was_due_and_none_for_any_other_command(pool: LocalPool, key: str) -> None:
    await pool.client.actor(Ledger, "a").begin(key=key)
    await pool.client.actor(Ledger, key).bill()
    await pool.clock.advance(days=60)
    assert await bills(pool, key) == [None, first_of(2), first_of(3)]
    assert await bills(pool, key, "told") == [None] * 3, "what its handler tells is no tick"
    assert await bills(pool, key, "policy") == [None, first_of(2), first_of(3)]


@pytest.mark.parametrize(("catch_up", "months"), [("all", [2, 3, 4]), ("one", [2])])
async def test_a_late_tick_knows_when_it_was_due(catch_up: Any, months: list[int]) -> None:
    clock = PoolClock(START)
    server = InMemoryServer(clock=clock)
    clock.stored = lambda: server.space("alone", 256).changes
    async with runtime_alone(server, model, CONFIG) as first:
        await first.actor(Ledger, "a").begin(catch_up)
    await clock.advance(days=90)
    async with runtime_alone(server, model, CONFIG) as second:
        await clock.advance(seconds=1)
        async with asyncio.timeout(10):
            while len(server.space("alone", 256).timers.waiting()) != 1:  # noqa: ASYNC110 - the runtime makes progress
                await asyncio.sleep(0.002)
        await clock.advance(seconds=1)
        state = (await second.create_vm(ActorId("ledger", "a"))).state
        assert [one.due for one in state.bills if one.how == "bill"] == [first_of(month) for month in months]


@pytest.mark.parametrize("key", ["a", "b"], ids=["its own", "for another"])
async def test_a_tick_that_was_given_up_and_is_sent_again_has_it_still(pool: LocalPool, key: str) -> None:
    await pool.client.actor(Ledger, "a").begin(key=key)
    await pool.client.actor(Ledger, key).break_down(True)
    await pool.clock.advance(days=20)
    async with asyncio.timeout(10):
        while not (letters := [one async for one in pool.client.untyped.dead_letters()]):  # noqa: ASYNC110 - likewise
            await asyncio.sleep(0.002)
    assert letters[0].scheduled_for == first_of(2)
    await pool.client.actor(Ledger, key).break_down(False)
    await pool.client.untyped.retry_dead_letter(letters[0].id)
    await pool.clock.advance()
    assert await bills(pool, key) == [first_of(2)]


async def test_a_trace_shows_when_a_tick_was_due(pool: LocalPool) -> None:
    await pool.client.using(correlation_id="o-1").actor(Ledger, "a").begin()
    await pool.clock.advance(days=30)
    steps = (await pool.client.trace("o-1", START)).steps
    assert [one.due for one in steps if one.how == "tick"] == [first_of(2)]
    assert {one.due for one in steps if one.how in ("call", "tell")} == {None}


def test_the_test_kit_gives_it() -> None:
    given(Ledger, scheduled_for=first_of(2)).when(Ledger.bill).then(Billed("bill", first_of(2)))
    given(Ledger).when(Ledger.bill).then(Billed("bill", None))
    with pytest.raises(ValueError, match=r"scheduled_for=.* has no time zone"):
        given(Ledger, scheduled_for=datetime(2026, 1, 2))  # noqa: DTZ001 - what is refused
