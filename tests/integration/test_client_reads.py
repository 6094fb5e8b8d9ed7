"""What a client reads it reads again while it is unavailable, and no longer than its deadline."""

import asyncio
from typing import Any, cast

import pytest

import aether
from aether.connecting import connect_untyped
from aether.ids import ActorId
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.ports import START, AppendOutcome, Committed, EventStore
from aether.untyped_client import UntypedClient
from tests.contract.harness import payload_of
from tests.support.actors import Account, model
from tests.support.jetstream import Sessions, fresh_namespace, node
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool
from tests.support.proxy import Proxy

GUARD_S = 20.0
AT_ONCE = 500


async def test_reads_go_on_over_a_server_that_was_away(own_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with Pool("tests.support.actors:model", "--workers", "1", "--nats", own_server.url, "--namespace", namespace):
        async with (
            Proxy(own_server.port) as proxy,
            connect_untyped(proxy.url, namespace=namespace) as untyped,
            aether.connect(proxy.url, model=model, namespace=namespace) as client,
        ):
            for amount in range(1, 4):
                await client.actor(Account, "a").deposit(amount)
            iterating = aiter(client.history(Account, "a"))
            assert (await anext(iterating)).version == 1
            sessions = Sessions(nats_of(client._untyped))
            proxy.cut()
            await sessions.lost()
            whole = asyncio.ensure_future(rest(aiter(client.history(Account, "a"))))
            left = asyncio.ensure_future(rest(iterating))
            entering = asyncio.ensure_future(client.subscribe().__aenter__())
            overview = asyncio.ensure_future(untyped.overview())
            keys = asyncio.ensure_future(rest(client.keys(Account)))
            await asyncio.sleep(0)
            proxy.mend()
            await asyncio.gather(whole, left, entering, overview, keys)
            assert keys.result() == ["a"]
            assert [one.version for one in whole.result()] == [1, 2, 3]
            assert [one.version for one in left.result()] == [2, 3]
            assert len(overview.result().members) == 1


def nats_of(untyped: UntypedClient) -> NatsConnection:
    """The connection that a untyped made."""
    return cast("aether.JetStreamConnection", untyped._node).nats


async def rest(items: Any) -> list[Any]:
    """What is left of an iteration."""
    return [item async for item in items]


async def test_the_keys_of_thousands_of_actors_are_listed_each_once(own_server: NatsServer, namespace: str) -> None:
    keys = {f"käse {n}/🧀" for n in range(5_000)}
    async with (
        node(own_server.url, namespace) as there,
        aether.connect(own_server.url, model=model, namespace=namespace) as client,
    ):
        assert await rest(client.keys(Account)) == []
        for kind in ("account", "notebook"):
            await append_to_each(there.event_store, [ActorId(kind, key) for key in keys])
        listed = await rest(client.keys(Account))
        assert len(listed) == len(keys)
        assert set(listed) == keys
        assert await rest(client.keys("waiter")) == []
        with pytest.raises(aether.UnknownActor):
            client.keys("nobody")


async def append_to_each(store: EventStore, actors: list[ActorId]) -> None:
    """One event for each of many actors, some at once: on a busy machine more keep the server from answering pings."""
    told: asyncio.Queue[AppendOutcome] = asyncio.Queue()
    for first in range(0, len(actors), AT_ONCE):
        group = actors[first : first + AT_ONCE]
        for actor_id in group:
            store.publish(actor_id, payload_of(actor_id, 1), START, told.put_nowait)
        assert {type(await told.get()) for _ in group} == {Committed}


async def test_a_read_that_cannot_be_done_ends_at_its_deadline_and_says_where(
    own_server: NatsServer, namespace: str
) -> None:
    async with (
        node(own_server.url, namespace),
        aether.connect(own_server.url, model=model, namespace=namespace) as client,
        connect_untyped(own_server.url, namespace=namespace) as untyped,
    ):
        own_server.freeze()
        try:
            for asked in (
                client.history(Account, "a", deadline_s=0.3)._all(),
                client.subscribe(deadline_s=0.3).__aenter__(),
                untyped.overview(deadline_s=0.3),
                rest(client.keys(Account, deadline_s=0.3)),
                rest(untyped.tail(deadline_s=0.3)),
            ):
                with pytest.raises((aether.Unavailable, aether.DeadlineExceeded), match=own_server.url) as told:
                    await asyncio.wait_for(asyncio.ensure_future(asked), GUARD_S)
                assert told.value.details.get("outcome_known", True)
        finally:
            own_server.thaw()


@pytest.mark.parametrize("key", [None, "a"])
async def test_snapshots_are_dropped_when_the_server_is_back_or_the_deadline_says_why_not(
    own_server: NatsServer, namespace: str, key: str | None
) -> None:
    async with (
        node(own_server.url, namespace) as worker,
        connect_untyped(own_server.url, namespace=namespace) as untyped,
    ):
        await worker.snapshots.save(ActorId("account", "a"), b"{}")
        sessions = Sessions(nats_of(untyped))
        own_server.kill()
        await sessions.lost()
        what = "the snapshots of account" if key is None else "the snapshot of account/a"
        with pytest.raises(aether.Unavailable, match=f"{what} could not be removed within 0.3 s: there is no conn"):
            await untyped.drop_snapshots("account", key, deadline_s=0.3)
        dropping = asyncio.ensure_future(untyped.drop_snapshots("account", key, deadline_s=30))
        own_server.start()
        assert await dropping == 1
        own_server.freeze()
        try:
            with pytest.raises(aether.DeadlineExceeded, match=f"{what} could not be removed") as late:
                await untyped.drop_snapshots("account", key, deadline_s=0.3)
            assert not late.value.outcome_known
        finally:
            own_server.thaw()
        with pytest.raises(aether.InvalidCommand, match="deadline_s"):
            await untyped.drop_snapshots("account", key, deadline_s=0)


async def test_what_cannot_be_reached_any_more_says_why(own_server: NatsServer, namespace: str) -> None:
    async with (
        node(own_server.url, namespace),
        aether.connect(own_server.url, model=model, namespace=namespace) as client,
    ):
        sessions = Sessions(nats_of(client._untyped))
        own_server.kill()
        await sessions.lost()
        for asked in (
            client.actor(Account, "a", deadline_s=0.5).deposit(1),
            client.history(Account, "a", deadline_s=0.5)._all(),
        ):
            with pytest.raises(aether.Unavailable, match=f"there is no connection to {own_server.url}: NATS cannot be"):
                await asyncio.wait_for(asyncio.ensure_future(asked), GUARD_S)
        own_server.start()


@pytest.mark.parametrize("deadline_s", [0, -1, 61, float("nan")])
async def test_a_read_has_a_deadline_that_can_be(nats_server: NatsServer, namespace: str, deadline_s: float) -> None:
    async with (
        node(nats_server.url, namespace),
        aether.connect(nats_server.url, model=model, namespace=namespace) as client,
    ):
        for asked in (client.history(Account, "a", deadline_s=deadline_s)._all(),
                      client.subscribe(deadline_s=deadline_s).__aenter__()):  # fmt: skip
            with pytest.raises(aether.InvalidCommand) as refused:
                await asyncio.ensure_future(asked)
            assert refused.value.path == "deadline_s"
