"""Tells that wait and that an operator has given up: their owner does it, and they are dead letters then."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from aether import Actor, ActorId, InvalidCommand, Model, command, event, query
from aether.config import RuntimeConfig
from aether.dead_letters import DeadLetter
from aether.names import shard_of
from aether.ports import StoredCommit
from aether.runtime import shard_inbox, tell_delivery
from aether.testing import local_pool
from aether.testing.pool import SHARDS, LocalPool
from aether.wire import DEAD_LETTERED_EVENT, GIVE_UP_COMMAND, decode_commit

LONG = RuntimeConfig(tell_attempts_max=1000, tell_retry_first_s=3600.0, tell_retry_max_s=3600.0)
BROKEN: set[int] = set()
GATE = asyncio.Event()
BOB = ActorId("jug", "bob")


@dataclass(frozen=True)
class Added:
    """So much more."""

    amount: int


class Jug(Actor):
    """Takes its tells in their order."""

    total: int = 0

    @command
    async def add(self, amount: int) -> None:
        if amount == 0:
            await GATE.wait()
        if amount in BROKEN:
            raise ValueError("broken")
        self.emit(Added(amount))

    @query
    def content(self) -> int:
        return self.total

    @event
    def added(self, e: Added) -> None:
        self.total += e.amount


class Tray(Actor):
    """Takes them in any order."""

    tells_in_order: ClassVar[bool] = False
    total: int = 0

    @command
    def add(self, amount: int) -> None:
        if amount in BROKEN:
            raise ValueError("broken")
        self.emit(Added(amount))

    @query
    def content(self) -> int:
        return self.total

    @event
    def added(self, e: Added) -> None:
        self.total += e.amount


MODEL = Model("jugs", actors=[Jug, Tray])
GONE = Model("jugs", actors=[Tray])


@pytest.fixture(autouse=True)
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.GATE", asyncio.Event())
    BROKEN.clear()
    BROKEN.update((5, 6, 7))


@pytest.fixture
async def pool() -> AsyncIterator[LocalPool]:
    async with local_pool(MODEL, config=LONG, workers=1) as pool:
        yield pool


async def tell(pool: LocalPool, *amounts: int, to: ActorId = BOB) -> list[int]:
    """The ids of tells of so much."""
    told = [await pool.client.untyped.tell(to, "add", b'{"amount":%d}' % amount) for amount in amounts]
    return [one.sequence for one in told]


async def until(asked: Callable[[], Coroutine[Any, Any, Any]], wanted: Any) -> None:
    async with asyncio.timeout(10):
        while await asked() != wanted:  # noqa: ASYNC110 - the pool makes progress
            await asyncio.sleep(0.002)


async def letters(pool: LocalPool) -> list[DeadLetter]:
    return [one async for one in pool.client.dead_letters()]


async def waiting(pool: LocalPool) -> list[tuple[str, int, int]]:
    """Of each actor how many wait, and how often the first one has failed."""
    lines, _ = await pool.client.untyped.waiting_tells()
    return sorted((one.actor, one.count, one.failures) for one in lines)


async def amounts_dead(pool: LocalPool) -> list[int]:
    return [one.args["amount"] for one in await letters(pool)]


def given_up(pool: LocalPool, to: ActorId = BOB) -> list[str]:
    """The sequences of the tells that an actor has committed as given up."""
    space = pool.server.space(pool.namespace, SHARDS)
    commits = [one for one in space.commits if one.actor_id == to]
    stored = [event for one in commits for event in decode_commit(one.payload, one.actor_id, one.position)]
    return [one.inboxseq for one in stored if one.type == DEAD_LETTERED_EVENT]


async def test_what_waits_is_a_dead_letter_at_once_and_the_actor_goes_on(pool: LocalPool) -> None:
    ids = await tell(pool, 5, 6, 1)
    await until(lambda: waiting(pool), [("jug/bob", 3, 1)])
    assert await pool.client.untyped.give_up_tells(BOB) == 3
    await until(lambda: amounts_dead(pool), [5, 6, 1])
    first, second, third = await letters(pool)
    assert ("broken" in first.error.message, first.failures) == (True, 1)
    assert ("before it was tried" in second.error.message, second.failures) == (True, 0)
    assert given_up(pool) == [str(id) for id in ids]
    await until(lambda: waiting(pool), [])
    await tell(pool, 10)
    await until(pool.client.actor(Jug, "bob").content, 10)
    await pool.client.retry_dead_letter(third.id)
    await until(pool.client.actor(Jug, "bob").content, 11)


async def test_only_what_is_up_to_an_id(pool: LocalPool) -> None:
    ids = await tell(pool, 5, 6, 1)
    await until(lambda: waiting(pool), [("jug/bob", 3, 1)])
    assert await pool.client.untyped.give_up_tells(BOB, ids[0] - 1) == 0
    assert await pool.client.untyped.give_up_tells(BOB, ids[0]) == 1
    await until(lambda: waiting(pool), [("jug/bob", 2, 1)])
    assert await pool.client.untyped.give_up_tells(BOB, ids[1]) == 1
    await until(pool.client.actor(Jug, "bob").content, 1)
    assert await amounts_dead(pool) == [5, 6]


async def test_the_other_actors_of_a_full_shard_go_on(pool: LocalPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_inbox, "OPEN_MAX", 4)
    shard = shard_of(BOB, SHARDS)
    other = next(one for n in range(10_000) if shard_of(one := ActorId("jug", f"{n}"), SHARDS) == shard)
    await tell(pool, *[5] * 6)
    await tell(pool, 1, to=other)
    await until(lambda: waiting(pool), [("jug/bob", 4, 1)])
    assert await pool.client.actor(Jug, other.key).content() == 0
    assert await pool.client.untyped.give_up_tells(BOB) == 4
    await until(pool.client.actor(Jug, other.key).content, 1)
    await until(lambda: waiting(pool), [("jug/bob", 2, 1)])


@pytest.mark.parametrize("count", [tell_delivery.WINDOW - 1, 5 * tell_delivery.WINDOW])
async def test_many_are_given_up_in_their_order(pool: LocalPool, count: int) -> None:
    ids = await tell(pool, 5, *range(100, 100 + count))
    await until(lambda: waiting(pool), [("jug/bob", count + 1, 1)])
    assert await pool.client.untyped.give_up_tells(BOB) == count + 1
    await until(lambda: waiting(pool), [])
    assert given_up(pool) == [str(id) for id in ids]
    await until(lambda: amounts_dead(pool), [5, *range(100, 100 + count)])
    await tell(pool, 10)
    await until(pool.client.actor(Jug, "bob").content, 10)


async def test_what_runs_may_yet_be_applied_and_what_is_behind_it_is_given_up(pool: LocalPool) -> None:
    ids = await tell(pool, 0, 1, 2)
    await until(lambda: waiting(pool), [("jug/bob", 3, 0)])
    assert await pool.client.untyped.give_up_tells(BOB) == 3
    again = await pool.client.untyped.give_up_tells(BOB)
    assert again == 3, "to ask again is safe"
    GATE.set()
    await until(lambda: waiting(pool), [])
    dead = [one.id for one in await letters(pool)]
    assert ids[0] not in dead
    assert given_up(pool) == [str(id) for id in dead]
    assert await pool.client.actor(Jug, "bob").content() + sum(await amounts_dead(pool)) == 3


async def test_those_that_are_tried_beside_the_others_are_given_up(pool: LocalPool) -> None:
    tray = ActorId("tray", "bob")
    await tell(pool, 5, 1, 6, 2, to=tray)
    await until(pool.client.actor(Tray, "bob").content, 3)
    await until(lambda: waiting(pool), [("tray/bob", 1, 1), ("tray/bob", 1, 1)])
    assert await pool.client.untyped.give_up_tells(tray) == 2
    await until(lambda: amounts_dead(pool), [5, 6])
    await until(lambda: waiting(pool), [])


async def test_those_to_a_kind_that_is_gone_are_given_up(pool: LocalPool) -> None:
    await pool.client.actor(Jug, "bob").add(1)
    pool.model = GONE
    await pool.crash()
    ids = await tell(pool, 2, 3)
    await until(lambda: waiting(pool), [("jug/bob", 2, 1)])
    assert await pool.client.untyped.give_up_tells(BOB) == 2
    await until(lambda: amounts_dead(pool), [2, 3])
    assert given_up(pool) == [str(id) for id in ids]


async def test_where_nothing_waits_none_is_given_up(pool: LocalPool) -> None:
    await tell(pool, 5)
    await until(lambda: waiting(pool), [("jug/bob", 1, 1)])
    assert await pool.client.untyped.give_up_tells(ActorId("jug", "alice")) == 0
    assert await pool.client.untyped.give_up_tells(ActorId("none", "bob")) == 0
    assert await waiting(pool) == [("jug/bob", 1, 1)]


@pytest.mark.parametrize("args", [b'{"until":"x"}', b'{"more":1}', b"[]"])
async def test_arguments_that_are_none_are_refused(pool: LocalPool, args: bytes) -> None:
    with pytest.raises(InvalidCommand):
        await pool.client.untyped.call(BOB, GIVE_UP_COMMAND, args)


async def test_a_new_owner_goes_on_where_the_old_one_was(pool: LocalPool) -> None:
    await tell(pool, 5, 6)
    await until(lambda: waiting(pool), [("jug/bob", 2, 1)])
    assert await pool.client.untyped.give_up_tells(BOB) == 2
    await pool.crash()
    dead = await amounts_dead(pool)
    assert len(dead) + sum(count for _, count, _ in await waiting(pool)) <= 2
    await until(lambda: settled(pool), True)
    if await waiting(pool):
        await pool.client.untyped.give_up_tells(BOB)
    await until(lambda: amounts_dead(pool), [5, 6])
    assert len(given_up(pool)) == 2


async def settled(pool: LocalPool) -> bool:
    """Whether each tell is a dead letter, or has failed at the new owner."""
    lines = await waiting(pool)
    return len(await letters(pool)) + sum(count for _, count, failures in lines if failures) == 2


async def test_a_tell_to_an_actor_whose_history_cannot_be_read_hides_no_dead_letter(pool: LocalPool) -> None:
    """It is not known whether such a tell is dead, so it waits."""
    await pool.client.actor(Jug, "bob").add(1)
    history = pool.server.space(pool.namespace, SHARDS).histories[BOB]
    history[0] = StoredCommit(BOB, history[0].position, history[0].payload[:-40])
    await pool.crash()
    (id,) = await tell(pool, 2)
    await until(lambda: waiting(pool), [("jug/bob", 1, 0)])
    assert await pool.client.untyped.give_up_tells(BOB) == 1
    await tell(pool, 5, to=ActorId("jug", "ann"))
    await until(lambda: pool.client.untyped.give_up_tells(ActorId("jug", "ann")), 1)
    await until(lambda: amounts_dead(pool), [5])
    with pytest.raises(InvalidCommand, match=f"the tell {id} is not given up yet"):
        await pool.client.untyped.dead_letter(id)
    assert await waiting(pool) == [("jug/bob", 1, 0)]
