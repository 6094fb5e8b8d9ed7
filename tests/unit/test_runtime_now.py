"""`self.context.now`: one time for each run of a handler, which is the time of its events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from aether import Actor, ActorId, Model, Runtime, command, event, query
from aether.memory.clock import ManualClock
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import FaultPoint, Faults, Lost
from tests.support.nodes import QUIET, history

BOOKING = ActorId("booking", "b")
CLOCK = ManualClock()
BEGAN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
STEP_S = 10.0


@dataclass(frozen=True, slots=True)
class Held:
    """Held until then."""

    until: datetime


SEEN: list[datetime] = []


class Booking(Actor):
    """Its state depends on the time of its commands."""

    until: datetime | None = None

    @command
    def hold(self) -> datetime:
        """A plain handler."""
        self.emit(Held(self.context.now + timedelta(minutes=15)))
        return self.context.now

    @command
    async def hold_slowly(self) -> datetime:
        """An asynchronous one, with a while of waiting between."""
        before = self.context.now
        SEEN.append(before)
        CLOCK.advance(STEP_S)
        await asyncio.sleep(0)
        assert self.context.now == before
        self.emit(Held(before))
        return before

    @command(blocking=True)
    def hold_in_thread(self) -> datetime:
        """One in a thread."""
        CLOCK.advance(STEP_S)
        self.emit(Held(self.context.now))
        return self.context.now

    @command
    def hold_blindly(self) -> None:
        """One that does not look at the time, while time passes."""
        CLOCK.advance(STEP_S)
        self.emit(Held(datetime(2030, 1, 1, tzinfo=UTC)))

    @query
    def asked(self) -> datetime:
        """A query."""
        return self.context.now

    @event
    def held(self, e: Held) -> None:
        """Keep it."""
        self.until = e.until


model = Model("tests", actors=[Booking])


@pytest.fixture(autouse=True)
def _at_the_beginning() -> None:
    SEEN.clear()
    CLOCK.__init__(BEGAN.timestamp())  # type: ignore[misc]  # the handlers know it by its name


@asynccontextmanager
async def booking(faults: Faults | None = None) -> AsyncIterator[Runtime]:
    async with InMemoryConnection(None, "tests", clock=CLOCK, faults=faults) as connection:
        runtime = Runtime(connection, connection.event_store, replace(QUIET, replay_retry_first_s=0.0))
        runtime.load_model(model)
        async with runtime:
            yield runtime


async def test_it_is_utc_and_the_time_of_the_events() -> None:
    async with booking() as runtime:
        now = await runtime.actor(Booking, "b", deadline_s=60).hold()
        assert now == BEGAN
        assert now.tzinfo is UTC
        assert [one.time for one in await history(runtime, BOOKING)] == [BEGAN]
        assert await runtime.actor(Booking, "b").asked() == BEGAN


@pytest.mark.parametrize("name", ["hold_slowly", "hold_in_thread", "hold_blindly"])
async def test_it_was_read_before_the_handler_began(name: str) -> None:
    async with booking() as runtime:
        assert await getattr(runtime.actor(Booking, "b", deadline_s=60), name)() in (BEGAN, None)
        assert CLOCK.wall_s() == BEGAN.timestamp() + STEP_S
        assert [one.time for one in await history(runtime, BOOKING)] == [BEGAN]


async def test_commands_of_one_turn_have_each_their_own() -> None:
    async with booking() as runtime:
        actor = runtime.actor(Booking, "b", deadline_s=60)
        await asyncio.gather(*(actor.hold_blindly() for _ in range(3)))
        steps = [one.time - BEGAN for one in await history(runtime, BOOKING)]
    assert steps == [timedelta(seconds=n * STEP_S) for n in range(3)]


async def test_a_handler_that_runs_again_has_another_one() -> None:
    async with booking(Faults.script([(FaultPoint.APPEND, Lost())])) as runtime:
        now = await runtime.actor(Booking, "b", deadline_s=60).hold_slowly()
        assert [BEGAN, BEGAN + timedelta(seconds=STEP_S)] == SEEN
        assert now == SEEN[1]
        assert [one.time for one in await history(runtime, BOOKING)] == [SEEN[1]]
