"""The client against a real pool: states, histories, streams, and a namespace that starts late."""

import asyncio

import pytest

import aether
from aether.connecting import connect_untyped
from tests.support.actors import Account, Deposited, Noted, Withdrawn, model
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool


def pool_on(server: NatsServer, namespace: str) -> Pool:
    return Pool("tests.support.actors:model", "--workers", "2", "--nats", server.url, "--namespace", namespace)


async def test_states_and_histories_are_typed(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace):
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            account = client.actor(Account, "käse/🧀")
            assert await account.deposit_twice(3, second=4) == 7
            assert await account.withdraw(2) == 5
            state = await client.state(Account, "käse/🧀")
            assert (state.version, state.as_dict()) == (3, {"balance": 5, "deposits": 2})
            assert (await client.state("account", "käse/🧀", version=1)).state.balance == 3
            assert (await client.state(Account, "nobody")).version == 0
            for version in (4, 99, 2**63 - 1):
                with pytest.raises(
                    aether.InvalidCommand, match=f"{version} yet: its history ends at version 3"
                ) as early:
                    await client.state(Account, "käse/🧀", version=version)
                assert (early.value.path, early.value.details["latest"]) == ("version", 3)
            for nonsense in (-1, 2**63, True, "3", 1.0):
                with pytest.raises(aether.InvalidCommand) as refused_version:
                    await client.state(Account, "käse/🧀", version=nonsense)  # type: ignore[arg-type]  # what users do
                assert refused_version.value.path == "version"
            events = await client.history(Account, "käse/🧀")
            assert [e.event for e in events] == [Deposited(3), Deposited(4), Withdrawn(2)]
            assert events[0].position == events[1].position < events[2].position
            assert [e.version async for e in client.history(Account, "käse/🧀", after_version=2)] == [3]
            with pytest.raises(aether.Rejected) as refused:
                await account.withdraw(50)
            assert refused.value.details == {"balance": 5, "asked": 50}


async def test_a_stream_has_what_is_stored_after_it_was_entered_and_what_was_asked_for(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace):
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            await client.actor(Account, "a").deposit(100)
            async with client.subscribe(Withdrawn, Noted) as some, client.subscribe() as every:
                await client.actor(Account, "a").withdraw(1)
                await client.actor("notebook", "b").note("x")
                await client.actor(Account, "a").deposit(5)
                await client.actor(Account, "a").withdraw(2)
                seen = [await anext(some) for _ in range(3)]
                all_of_them = [await anext(every) for _ in range(4)]
    assert [(e.actor_id.key, e.event) for e in seen if e.actor_id.kind == "account"] == [
        ("a", Withdrawn(1)),
        ("a", Withdrawn(2)),
    ]
    assert [e.event for e in seen if e.actor_id.kind == "notebook"] == [Noted("x")]
    assert [e.version for e in all_of_them if e.actor_id.kind == "account"] == [2, 3, 4]


async def test_a_client_waits_for_a_pool_that_is_just_starting(own_server: NatsServer) -> None:
    async def call() -> int:
        async with aether.connect(own_server.url, model=model, namespace="late") as client:
            balance: int = await client.actor(Account, "a").deposit(1)
            return balance

    calling = asyncio.create_task(call())
    await asyncio.sleep(0)
    with await asyncio.to_thread(pool_on(own_server, "late").__enter__):
        assert await calling == 1
        async with connect_untyped(own_server.url) as untyped:
            assert untyped.namespace == "late"
            assert {member["slot"] for member in (await untyped.overview()).members} <= {0, 1}
            assert (await untyped.schema())["model"] == "tests"


async def test_without_a_pool_the_namespace_is_named(nats_server: NatsServer) -> None:
    with pytest.raises(aether.Unavailable, match="nowhere"):
        async with connect_untyped(nats_server.url, namespace="nowhere", wait_s=0.05):
            raise AssertionError("there is no such namespace")
