"""What becomes of work in flight when the server dies, freezes or is cut off."""

import asyncio

import pytest

from aether.config import ConnectionConfig
from aether.errors import Unavailable
from aether.ids import ActorId
from aether.jetstream.connection.nats_connection import connect
from aether.ports import START, AppendOutcome, Committed, Conflict, NotSent, StoredCommit, Unknown
from tests.contract.harness import Received, commit, payload_of, publish
from tests.support.jetstream import Sessions, node
from tests.support.nats_server import NatsServer
from tests.support.proxy import Proxy

ALICE = ActorId("account", "alice")
ACTORS = [ActorId("account", f"a{number}") for number in range(20)]


async def test_everything_in_flight_is_unknown_when_the_server_dies(own_server: NatsServer, namespace: str) -> None:
    async with node(own_server.url, namespace) as one:
        bus = Received[StoredCommit]()
        await one.bus.subscribe(bus.receive)
        sessions, outcomes = Sessions(one.nats), Received[AppendOutcome]()
        own_server.freeze()
        for actor_id in ACTORS:
            one.event_store.publish(actor_id, payload_of(actor_id, 1), START, outcomes.receive)
        reading = asyncio.create_task(one.event_store.last(ALICE))
        assert outcomes.items == []
        own_server.kill()
        await outcomes.count(len(ACTORS))
        assert all(isinstance(outcome, Unknown) for outcome in outcomes.items)
        with pytest.raises(Unavailable, match="lost"):
            await reading
        await sessions.lost()
        refused = await publish(one.event_store, ALICE, payload_of(ALICE, 1), START)
        assert refused == Unknown("there is no connection")
        own_server.start()
        await sessions.back()
        stored = await commit(one.event_store, ALICE, 1, START)
        assert (await bus.until(lambda commits: stored in commits))[-1] == stored


async def test_a_frozen_server_is_noticed(own_server: NatsServer, namespace: str) -> None:
    async with node(own_server.url, namespace) as one:
        sessions, outcomes = Sessions(one.nats), Received[AppendOutcome]()
        own_server.freeze()
        one.event_store.publish(ALICE, payload_of(ALICE, 1), START, outcomes.receive)
        # More than the socket takes: nats-py then waits for the server before it tells that it gave up.
        for actor_id in ACTORS:
            one.event_store.publish(actor_id, b"x" * 900_000, START, outcomes.receive)
        with pytest.raises(Unavailable, match="lost"):
            await one.event_store.last(ALICE)
        await outcomes.count(1 + len(ACTORS))
        assert all(isinstance(outcome, Unknown) for outcome in outcomes.items)
        await sessions.lost()
        own_server.thaw()
        await sessions.back()
        # What the socket had taken may have landed after all; the next append tells.
        outcome = await publish(one.event_store, ALICE, payload_of(ALICE, 1), START)
        assert isinstance(outcome, Committed | Conflict)


async def test_a_commit_whose_acknowledgement_is_lost_is_found_by_reading(
    own_server: NatsServer, namespace: str
) -> None:
    async with (
        Proxy(own_server.port) as proxy,
        node(proxy.url, namespace, append_timeout_s=0.2) as one,
        node(own_server.url, namespace) as other,
    ):
        stored = Received[StoredCommit]()
        await other.bus.subscribe(stored.receive)
        sessions = Sessions(one.nats)
        proxy.mute()
        payload = payload_of(ALICE, 1)
        outcome = await publish(one.event_store, ALICE, payload, START)
        assert isinstance(outcome, Unknown)
        await stored.count(1)
        proxy.cut()
        proxy.mend()
        await sessions.back()
        found = [commit async for commit in one.event_store.read(ALICE)]
        assert [commit.payload for commit in found] == [payload]
        assert await publish(one.event_store, ALICE, payload, START) == Conflict()


async def test_without_a_connection_requests_are_not_sent(own_server: NatsServer, namespace: str) -> None:
    async with node(own_server.url, namespace) as one:
        sessions = Sessions(one.nats)
        own_server.kill()
        await sessions.lost()
        with pytest.raises(NotSent, match="no connection"):
            await one.transport.request(ALICE, b"x", 0.05)


async def test_closing_while_it_reconnects_comes_to_an_end(own_server: NatsServer) -> None:
    for yields in range(30):
        async with connect(ConnectionConfig(url=own_server.url)) as connection:
            own_server.kill()
            while connection.session is not None:  # noqa: ASYNC110 - the loss has no event of its own
                await asyncio.sleep(0)
            for _ in range(yields):
                await asyncio.sleep(0)
        assert connection.session is None
        own_server.start()


async def test_a_flood_is_received_whole_and_in_order(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one, node(nats_server.url, namespace) as other:
        received = Received[bytes]()
        await one.nats.subscribe(f"flood.{namespace}", lambda _, message: received.receive(message.data))
        session = other.nats.session
        assert session is not None
        sent = [b"%d" % n for n in range(20_000)]
        for data in sent:
            session.publish(f"flood.{namespace}", data)
        assert await received.until(lambda items: items[-1:] == sent[-1:]) == sent


async def test_closing_tells_every_caller_that_waits(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        await one.nats.subscribe(f"silent.{namespace}", lambda *_: None)
        waiting = asyncio.create_task(one.nats.request(f"silent.{namespace}", b"", 60))
        await one.event_store.last(ALICE)
        await one.nats.close()
        with pytest.raises(Unavailable, match="lost"):
            await waiting
        await one.nats.close()
