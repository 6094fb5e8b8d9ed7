"""Kinds whose tells need not be in order: one that fails holds back none behind it, and has its effect once."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest

from aether import Actor, Model, ModelError, command, event, query
from aether.config import RuntimeConfig
from aether.ids import ActorId
from aether.runtime.dead_letter_rows import DeadLetterRows
from aether.testing import local_pool
from aether.testing.pool import SHARDS, LocalPool
from aether.wire import DEAD_LETTERED_EVENT, HANDLED_EVENT, PARKED_EVENT

BROKEN: set[int] = set()


@dataclass(frozen=True, slots=True)
class Noted:
    """It was."""

    amount: int


class Loose(Actor):
    """Takes tells in any order."""

    tells_in_order: ClassVar[bool] = False
    log: list[int] = field(default_factory=list[int])

    @command
    def note(self, amount: int) -> None:
        if amount in BROKEN:
            raise ValueError("broken")
        self.emit(Noted(amount))

    @command
    def send(self, to: str, amounts: list[int]) -> None:
        for amount in amounts:
            self.tell(Loose.note, to, amount)

    @query
    def noted(self) -> list[int]:
        return self.log

    @event
    def was_noted(self, e: Noted) -> None:
        self.log = [*self.log, e.amount]


class Strict(Loose):
    """Takes them in order."""

    tells_in_order: ClassVar[bool] = True


MODEL = Model("notes", actors=[Loose, Strict])
QUICK = RuntimeConfig(tell_attempts_max=1_000, tell_retry_first_s=0.005, tell_retry_max_s=0.01)


@pytest.fixture(autouse=True)
def broken() -> None:
    BROKEN.clear()


async def noted(pool: LocalPool, wanted: list[int], kind: Any = Loose) -> None:
    async with asyncio.timeout(10):
        while await pool.client.actor(kind, "a").noted() != wanted:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.005)


async def types(pool: LocalPool, kind: str = "loose") -> list[str]:
    return [one.type async for one, _ in pool.client.untyped.history(ActorId(kind, "a"))]


async def test_those_behind_a_failing_one_go_on_and_it_is_applied_once() -> None:
    BROKEN.update((2, 3))
    async with local_pool(MODEL, config=QUICK) as pool:
        for amount in range(1, 7):
            await pool.client.tell(Loose.note, "a", amount)
        await noted(pool, [1, 4, 5, 6])
        BROKEN.discard(3)
        await noted(pool, [1, 4, 5, 6, 3])
        BROKEN.clear()
        await noted(pool, [1, 4, 5, 6, 3, 2])
        assert (await types(pool)).count(PARKED_EVENT) == 2, "that it failed is stored once, however often it fails"
        lines, _ = await pool.client.untyped.waiting_tells()
        assert lines == []


async def test_by_default_they_wait() -> None:
    BROKEN.add(2)
    async with local_pool(MODEL, config=QUICK, workers=1) as pool:
        for amount in range(1, 5):
            await pool.client.tell(Strict.note, "a", amount)
        async with asyncio.timeout(10):
            while not [one for one in (await pool.client.untyped.waiting_tells())[0] if one.failures > 3]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
        await noted(pool, [1], Strict)
        BROKEN.clear()
        await noted(pool, [1, 2, 3, 4], Strict)
        assert PARKED_EVENT not in await types(pool, "strict")


@pytest.mark.parametrize(("name", "args"), [("gone", b"{}"), ("note", b'{"amount":"two"}')])
async def test_what_the_model_does_not_take_holds_back_none(name: str, args: bytes) -> None:
    config = RuntimeConfig(tell_attempts_max=3, tell_retry_first_s=0.01, tell_retry_max_s=30.0)
    async with local_pool(MODEL, config=replace(config, tell_retry_first_s=30.0)) as pool:
        await pool.client.untyped.tell(ActorId("loose", "a"), name, args)
        await pool.client.tell(Loose.note, "a", 1)
        await noted(pool, [1])
        assert (await types(pool)).count(PARKED_EVENT) == 1
    async with local_pool(MODEL, config=config) as pool:
        await pool.client.untyped.tell(ActorId("loose", "a"), name, args)
        async with asyncio.timeout(10):
            while not [one async for one in pool.client.dead_letters(Loose)]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
        assert (await types(pool)).count(DEAD_LETTERED_EVENT) == 1


@pytest.mark.parametrize("rest", [False, True])
async def test_crashes_neither_lose_nor_repeat_what_is_parked(rest: bool) -> None:
    """With `rest` the actor is read from a snapshot that was taken after the tell had failed."""
    BROKEN.update((2, 5))
    config = replace(QUICK, snapshot_every_events=1 if rest else 1_000)
    async with local_pool(MODEL, config=config, workers=1) as pool:
        await pool.client.actor(Loose, "sender").send("a", list(range(1, 8)))  # no ids of theirs are remembered
        await noted(pool, [1, 3, 4, 6, 7])
        if rest:
            actor, snapshots = ActorId("loose", "a"), pool.server.space(pool.namespace, SHARDS).snapshots
            async with asyncio.timeout(10):
                while actor not in snapshots or b'"parked"' not in (snapshots[actor].now or b""):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.005)
        await pool.crash()
        await pool.client.actor(Loose, "a").noted()
        BROKEN.discard(5)
        await noted(pool, [1, 3, 4, 6, 7, 5])
        await pool.crash()
        BROKEN.clear()
        await noted(pool, [1, 3, 4, 6, 7, 5, 2])
        await pool.crash()
        await pool.client.actor(Loose, "sender").send("a", [8])
        await noted(pool, [1, 3, 4, 6, 7, 5, 2, 8])
        assert (await types(pool)).count(PARKED_EVENT) == 2


@pytest.mark.parametrize("said", [False, True])
async def test_what_is_parked_is_given_up_in_the_end(said: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless its owner has said so it is found out from the history."""
    if not said:
        monkeypatch.setattr(DeadLetterRows, "over", lambda *_, **__: None)
    BROKEN.update((1, 2))
    config = RuntimeConfig(tell_attempts_max=3, tell_retry_first_s=0.005, tell_retry_max_s=0.01)
    async with local_pool(MODEL, config=config) as pool:
        for amount in range(1, 4):
            await pool.client.tell(Loose.note, "a", amount)
        await noted(pool, [3])
        async with asyncio.timeout(10):
            while len(letters := [one async for one in pool.client.dead_letters(Loose)]) < 2:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
        assert [one.args for one in letters] == [{"amount": 1}, {"amount": 2}]
        assert {one.failures for one in letters} == {3}
        assert (await types(pool)).count(DEAD_LETTERED_EVENT) == 2
        BROKEN.clear()
        await pool.client.retry_dead_letter(letters[0].id)
        await noted(pool, [3, 1])


async def test_a_tell_of_a_client_that_failed_is_not_taken_for_answered() -> None:
    """Its id is remembered when it is done, and not when it is parked."""
    BROKEN.add(1)
    async with local_pool(MODEL, config=QUICK) as pool:
        await pool.client.untyped.tell(ActorId("loose", "a"), "note", b'{"amount":1}', command_id="mine")
        await pool.client.tell(Loose.note, "a", 2)
        await noted(pool, [2])
        BROKEN.clear()
        await noted(pool, [2, 1])


async def test_too_many_that_failed_hold_back_those_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aether.runtime.turn_decisions.PARKED_MAX", 2)
    BROKEN.update((1, 2, 3))
    async with local_pool(MODEL, config=QUICK, workers=1) as pool:
        for amount in range(1, 6):
            await pool.client.tell(Loose.note, "a", amount)
        async with asyncio.timeout(10):
            while not [one for one in (await pool.client.untyped.waiting_tells())[0] if one.count == 3]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
        await noted(pool, [])
        BROKEN.discard(3)
        await noted(pool, [3, 4, 5])
        BROKEN.clear()
        async with asyncio.timeout(10):
            while sorted(await pool.client.actor(Loose, "a").noted()) != [1, 2, 3, 4, 5]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)


def test_the_setting_is_a_boolean() -> None:
    class Odd(Actor):
        tells_in_order: ClassVar[Any] = "no"

    with pytest.raises(ModelError, match="tells_in_order is True or False"):
        Model("odd", actors=[Odd])


async def test_what_was_done_meanwhile_under_its_id_is_parked_no_longer() -> None:
    """Else it would count among the tells that are parked for ever, and run once its id is forgotten."""
    BROKEN.add(1)
    slow = replace(QUICK, tell_retry_first_s=30.0, tell_retry_max_s=30.0)
    async with local_pool(MODEL, config=slow, workers=1) as pool:
        await pool.client.untyped.tell(ActorId("loose", "a"), "note", b'{"amount":1}', command_id="mine")
        await pool.client.tell(Loose.note, "a", 2)
        await noted(pool, [2])
        BROKEN.clear()
        await pool.client.actor(Loose, "a", command_id="mine").note(1)
        for _ in range(2):
            await pool.crash()
            async with asyncio.timeout(10):
                while HANDLED_EVENT not in await types(pool) or (await pool.client.untyped.waiting_tells())[0]:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.005)
            await noted(pool, [2, 1])
            (machine,) = pool.workers[0].runtime.get_active_vms()
            assert machine.fold.parked == frozenset()
        assert await types(pool) == [PARKED_EVENT, "Noted", "Noted", HANDLED_EVENT]
