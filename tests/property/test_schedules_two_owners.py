"""Schedules from end to end in memory, with two runtimes that both serve every shard, faults everywhere, and crashes.

The histories are the judge. Each tick of a schedule is run once and not before its time, none is lost, and none of a
setting is run after the commit that replaced or cancelled it.
"""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from aether.config import RuntimeConfig
from aether.core.actor.agenda import Agenda
from aether.errors import AetherError
from aether.ids import ActorId
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import (
    Disconnected,
    Dropped,
    Fault,
    FaultPoint,
    Faults,
    Late,
    Lost,
    StoredLater,
    StoredUnknown,
)
from aether.memory.server import InMemoryServer
from aether.names import shard_of
from aether.runtime.local import local_delivery
from aether.runtime.pending_command import PendingCommand
from aether.runtime.runtime import Runtime
from aether.runtime.turn import Turn
from aether.runtime.unschedule import Unschedule
from aether.sends import CancelSchedule, decode_sends
from aether.system.environment import is_compiled
from aether.testing.clock import PoolClock
from aether.wire import TOLD_EVENT, UNSCHEDULE_COMMAND, Command, decode_answer, decode_commit, encode_command
from tests.support.alarms import Alarm, model

SHARDS = 4
ALARMS = 3
NAMES = ("a", "b")
SETTLE_S = 20.0
CONFIG = RuntimeConfig(snapshot_every_events=3, replay_retry_first_s=0.005, tell_retry_first_s=0.005)
SOON = timedelta(milliseconds=2)
"""The time of an event is up to a millisecond early."""

FAULTS: dict[FaultPoint, list[Fault]] = {
    FaultPoint.APPEND: [Late(0.01), Lost(), StoredUnknown(), StoredLater(0.03), Disconnected(0.01)],
    FaultPoint.TELL: [Late(0.01), Lost(), StoredUnknown(), StoredLater(0.03), Disconnected(0.01)],
    FaultPoint.TELL_READ: [Late(0.01), Lost()],
    FaultPoint.TIMER: [Late(0.01), Lost(), StoredUnknown(), StoredLater(0.5), StoredLater(3.5), Disconnected(0.01)],
    FaultPoint.TIMER_READ: [Late(0.01), Lost()],
    FaultPoint.NOTICE: [Late(0.01), Dropped()],
}


class Pair:
    """Two runtimes that know nothing of each other."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.healed = True
        self.clock = PoolClock()
        self.server = InMemoryServer(clock=self.clock, faults=Faults(self._fault))
        self.runtimes: list[Runtime] = []

    def _fault(self, step: FaultPoint) -> Fault | None:
        kinds = FAULTS.get(step)
        often = 0.2 if step is FaultPoint.TIMER else 0.06
        return self.chance.choice(kinds) if kinds and not self.healed and self.chance.random() < often else None

    async def another(self) -> Runtime:
        connection = InMemoryConnection(self.server, "pair", shards=SHARDS)
        runtime = Runtime(connection, connection.event_store, CONFIG, inbox=connection.inbox, timers=connection.timers)
        runtime.load_model(model)
        await runtime.start()
        return runtime

    async def replace_one(self) -> None:
        slot = self.chance.randrange(2)
        await self.runtimes[slot].abort()
        self.runtimes[slot] = await self.another()

    async def change(self, number: int, count: int) -> None:
        """Set, replace and cancel schedules of one actor; an operator cancels some, too."""
        for n in range(count):
            name, seconds = self.chance.choice(NAMES), self.chance.choice([1, 2, 5])
            call = self.chance.choice(["once", "often", "often", "cancel", "unschedule"])
            if call == "unschedule":
                await self.unschedule(ActorId("alarm", f"alarm {number}"), name, f"{number}-{n}")
                continue
            args: tuple[Any, ...] = {"once": (name, seconds), "often": (name, seconds, "all"), "cancel": (name,)}[call]
            await self.call(f"alarm {number}", call, args, f"{number}-{n}")
            await asyncio.sleep(self.chance.choice([0, 0.002]))

    async def call(self, key: str, name: str, args: tuple[Any, ...], command_id: str) -> None:
        """Call a command under the same id until it is answered."""
        while True:
            alarm = self.chance.choice(self.runtimes).actor(Alarm, key, deadline_s=30, command_id=command_id)
            with suppress(AetherError, TimeoutError):
                async with asyncio.timeout(0.3):
                    await getattr(alarm, name)(*args)
                return
            await asyncio.sleep(0.002)

    async def unschedule(self, actor_id: ActorId, name: str, command_id: str) -> None:
        """Cancel a schedule as an operator does, under the same id until it is answered."""
        while True:
            deadline, args = self.clock.now() + timedelta(seconds=30), Raw(orjson.dumps({"name": name}))
            asked = Command(id=command_id, command=UNSCHEDULE_COMMAND, args=args, deadline=deadline)
            delivery, answered = local_delivery(actor_id, shard_of(actor_id, SHARDS), encode_command(asked))
            self.chance.choice(self.runtimes).receive(delivery)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    answer = decode_answer(await answered)
                if answer.ok or answer.decided:
                    return
            await asyncio.sleep(0.002)

    def look(self) -> None:
        for runtime in self.runtimes:
            telling = runtime._telling
            assert telling is not None
            telling.look()

    def histories(self) -> dict[str, list[tuple[str, datetime, dict[str, Any]]]]:
        found: dict[str, list[tuple[str, datetime, dict[str, Any]]]] = {}
        for one in self.server.space("pair", SHARDS).commits:
            for event in decode_commit(one.payload, one.actor_id, one.position):
                told = found.setdefault(one.actor_id.key, [])
                told.append((event.type, event.time, orjson.loads(bytes(event.data))))
                if event.type == TOLD_EVENT:  # else the actor says itself that it has cancelled
                    sends = decode_sends(event, one.actor_id, one.position)
                    cancelled = [{"name": send.name} for send in sends if isinstance(send, CancelSchedule)]
                    told += [("Cancelled", event.time, data) for data in cancelled]
        return found


def wrong(pair: Pair, end: datetime) -> str:
    """What is wrong with the histories as they are now, or ""."""
    late: list[str] = []
    for key, events in pair.histories().items():
        current: dict[str, tuple[datetime, dict[str, Any]]] = {}
        rang: dict[int, int] = {}
        for type_, time, data in events:
            if type_ == "Set":
                current[data["name"]] = time, data
            elif type_ == "Cancelled":
                current.pop(data["name"], None)
            elif type_ == "Rang":
                since, setting = current.get(data["name"], (time, {"number": -1}))
                if setting["number"] != data["number"]:
                    return f"{key}: a tick of setting {data['number']} of {data['name']} after it was replaced"
                count = rang[data["number"]] = rang.get(data["number"], 0) + 1
                if count > 1 and not setting["again"]:
                    return f"{key}: setting {data['number']} rang twice"
                if time + SOON < since + timedelta(seconds=setting["seconds"]) * count:
                    return f"{key}: tick {count} of setting {data['number']} was early"
        for name, (since, setting) in current.items():
            passed = int((end - since - SOON) / timedelta(seconds=setting["seconds"]))
            due = passed if setting["again"] else min(passed, 1)
            if rang.get(setting["number"], 0) < due:
                late.append(f"{key}: {name} rang {rang.get(setting['number'], 0)} times of {due}")
    return f"lost: {late}" if late else ""


async def simulate(seed: int) -> tuple[str, int]:
    chance = random.Random(seed)  # noqa: S311 - no secret
    pair = Pair(chance)
    pair.runtimes = [await pair.another(), await pair.another()]
    pair.healed = False
    changing = [asyncio.ensure_future(pair.change(n, 6)) for n in range(ALARMS)]
    for _ in range(4):
        await asyncio.sleep(0.01)
        await pair.clock.advance(seconds=chance.choice([0.3, 1.0, 3.0]))
        await pair.replace_one()
    await asyncio.gather(*changing)
    await pair.clock.advance(seconds=4)
    pair.healed = True
    end = pair.clock.now()
    ends_s = asyncio.get_running_loop().time() + SETTLE_S
    while (found := wrong(pair, end)).startswith("lost") and asyncio.get_running_loop().time() < ends_s:
        pair.look()  # what is late is found by looking, which they do now and then
        await asyncio.sleep(0.02)
        await pair.clock.advance(seconds=0.05)
    rang = sum(type_ == "Rang" for events in pair.histories().values() for type_, _, _ in events)
    for runtime in pair.runtimes:
        await runtime.abort()
    return found or wrong(pair, end), rang


@given(st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_each_tick_is_run_once_and_none_after_it_was_replaced(seed: int) -> None:
    assert asyncio.run(simulate(seed))[0] == ""


def expects_anything(self: Agenda, command_id: str) -> bool:
    return True


def sets_nothing_again(self: Turn, pending: PendingCommand) -> None:
    """Nothing."""


ABLATIONS: list[tuple[type, str, Callable[..., Any]]] = [
    (Agenda, "expects", expects_anything),
    (Turn, "_set_again", sets_nothing_again),
]


@pytest.mark.skipif(is_compiled(), reason="a compiled class cannot be patched")
@pytest.mark.parametrize(("owner", "name", "without"), ABLATIONS)
def test_each_safeguard_is_needed(
    owner: type, name: str, without: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, without)
    monkeypatch.setattr(f"{__name__}.SETTLE_S", 0.5)
    assert any(asyncio.run(simulate(seed))[0] for seed in range(12))


def test_the_simulation_rings() -> None:
    assert sum(asyncio.run(simulate(seed))[1] for seed in range(4)) > 12


def test_operators_cancel_in_the_simulation(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[str] = []
    invoke = Unschedule.invoke

    def counted(self: Unschedule, state: Any, scope: Any, args: str) -> Any:
        done = invoke(self, state, scope, args)
        cancelled.append(args)
        return done

    monkeypatch.setattr(Unschedule, "invoke", counted)
    for seed in range(4):
        asyncio.run(simulate(seed))
    assert cancelled
