"""Handlers that wait for each other while the shard of one is given to another worker."""

import asyncio

import pytest

from aether import ActorId, Runtime, Unavailable
from aether.memory.server import InMemoryServer
from aether.names import SHARDS_DEFAULT, shard_of
from tests.support.asking import GATES, WAITING, Purse, model
from tests.support.nodes import command as sent
from tests.support.nodes import node, send, until

A, B = ActorId("purse", "a"), ActorId("purse", "b")
SHARD_A, SHARD_B = (shard_of(one, SHARDS_DEFAULT) for one in (A, B))


@pytest.fixture(autouse=True)
def _new_world() -> None:
    WAITING.clear()
    GATES.clear()
    GATES["gate"] = asyncio.Event()


async def pays(runtime: Runtime, payer: ActorId, payee: str, command_id: str) -> object:
    """What comes of a payment, made when the gate opens."""
    payment = sent("pay_at_gate", id=command_id, for_s=50.0, payee=payee, amount=1, gate="gate")
    return await send(runtime, payer, payment)


async def leave(runtime: Runtime, shard: int) -> None:
    """Give a shard away as a worker does, without giving up what it has taken."""
    await runtime.leave_shard(shard)
    while active := runtime.get_active_vms(shard):
        await asyncio.gather(*(runtime.stop_vm(machine.actor_id) for machine in active))
    runtime.abandon_shard(shard)


@pytest.mark.parametrize("ids", [("1", "2"), ("2", "1")], ids=["the one that stays yields", "the one that goes yields"])
async def test_one_that_goes_makes_way_for_one_of_another_worker(ids: tuple[str, str]) -> None:
    server = InMemoryServer()
    async with node(server, model=model, shards=[SHARD_A]) as one, node(server, model=model, shards=[SHARD_B]) as two:
        goes = asyncio.ensure_future(pays(one, A, "b", ids[0]))
        stays = asyncio.ensure_future(pays(two, B, "a", ids[1]))
        await until(lambda: sorted(WAITING) == ["a", "b"])
        left = asyncio.ensure_future(leave(one, SHARD_A))
        await until(lambda: one._served.shards == [])
        GATES["gate"].set()
        async with asyncio.timeout(10):  # the deadlines are much later
            with pytest.raises(Unavailable, match="purse/a is given to another worker"):
                await goes
            await left
            assert one.counters.of("purse", "pay_at_gate").unavailable == 1
            await two.serve_shard(SHARD_A)
            await asyncio.gather(stays, pays(two, A, "b", ids[0]))
        assert [await two.actor(Purse, key).balance() for key in "ab"] == [0, 0]


async def test_one_that_goes_makes_way_for_who_asks_another_actor_of_its_shard() -> None:
    """That one is idle, and cannot be asked before the shard has gone."""
    idle = next(f"x{n}" for n in range(10_000) if shard_of(ActorId("purse", f"x{n}"), SHARDS_DEFAULT) == SHARD_A)
    server = InMemoryServer()
    async with node(server, model=model, shards=[SHARD_A]) as one, node(server, model=model, shards=[SHARD_B]) as two:
        goes = asyncio.ensure_future(pays(one, A, "b", "1"))
        stays = asyncio.ensure_future(pays(two, B, idle, "2"))
        await until(lambda: sorted(WAITING) == ["a", "b"])
        moved = asyncio.ensure_future(move(one, two, SHARD_A))
        await until(lambda: one._served.shards == [])
        GATES["gate"].set()
        async with asyncio.timeout(10):
            await asyncio.gather(goes, moved, stays, return_exceptions=True)
            await pays(two, A, "b", "1")
        assert [await two.actor(Purse, key).balance() for key in ("a", "b", idle)] == [-1, 0, 1]


async def move(one: Runtime, two: Runtime, shard: int) -> None:
    """Give a shard to another worker."""
    await leave(one, shard)
    await two.serve_shard(shard)


async def test_two_of_one_worker_that_go_make_way_for_each_other() -> None:
    """One of them may have its answer from where the other one has gone to."""
    server, payments = InMemoryServer(), ((A, "b", "1"), (B, "a", "2"))
    async with node(server, model=model, shards=[SHARD_A, SHARD_B]) as one, node(server, model=model, shards=[]) as two:
        calls = asyncio.gather(*(pays(one, *payment) for payment in payments), return_exceptions=True)
        await until(lambda: sorted(WAITING) == ["a", "b"])
        moved = asyncio.gather(move(one, two, SHARD_A), move(one, two, SHARD_B))
        await until(lambda: one._served.shards == [])
        GATES["gate"].set()
        async with asyncio.timeout(10):
            await moved
            outcomes = await calls
            assert any(isinstance(outcome, Unavailable) for outcome in outcomes)
            await asyncio.gather(*(pays(two, *payment) for payment in payments))
        assert [await two.actor(Purse, key).balance() for key in "ab"] == [0, 0]


async def test_a_shard_that_came_back_makes_way_as_any_other() -> None:
    server = InMemoryServer()
    async with node(server, model=model, shards=[SHARD_A, SHARD_B]) as one:
        await leave(one, SHARD_A)
        await one.serve_shard(SHARD_A)
        GATES["gate"].set()
        async with asyncio.timeout(10):
            await asyncio.gather(pays(one, A, "b", "1"), pays(one, B, "a", "2"))
        assert [await one.actor(Purse, key).balance() for key in "ab"] == [0, 0]
