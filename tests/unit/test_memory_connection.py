"""The bundle of memory adapters: what it is, and what it refuses."""

import asyncio

import pytest

from aether.errors import ConfigError, Unavailable
from aether.ids import ActorId
from aether.memory.clock import ManualClock
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import Dropped, Faults, Step
from aether.memory.server import InMemoryServer
from aether.ports import START, Connection, Delivery, EventStore
from tests.contract.harness import Received, commit

ALICE = ActorId("account", "alice")


def test_it_is_a_connection_with_an_event_store() -> None:
    alone = InMemoryConnection()
    connection: Connection = alone
    store: EventStore = alone.event_store
    assert (connection.namespace, connection.shards) == ("memory", 256)
    assert store.commit_bytes_max == connection.snapshots.snapshot_bytes_max == connection.transport.request_bytes_max


def test_the_first_decides_the_shards_of_a_namespace() -> None:
    server = InMemoryServer()
    InMemoryConnection(server, "one", shards=8)
    InMemoryConnection(server, "other", shards=16)
    with pytest.raises(ConfigError) as refused:
        InMemoryConnection(server, "one", shards=16)
    assert refused.value.setting == "shards"
    with pytest.raises(ConfigError):
        InMemoryConnection(server, "No Namespace")


def test_a_server_brings_its_clock() -> None:
    clock = ManualClock()
    assert InMemoryConnection(InMemoryServer(clock=clock)).clock is clock
    with pytest.raises(ValueError, match="clock"):
        InMemoryConnection(InMemoryServer(), clock=clock)


async def test_a_closed_connection_stays_closed_and_leaves_the_server_to_others() -> None:
    server = InMemoryServer()
    async with InMemoryConnection(server) as closing:
        stored = await commit(closing.event_store, ALICE, 1, START)
    closing.reconnect()
    with pytest.raises(Unavailable):
        await closing.event_store.last(ALICE)
    assert await InMemoryConnection(server).event_store.last(ALICE) == stored


async def test_stop_hands_over_what_had_arrived() -> None:
    server = InMemoryServer(clock=ManualClock())
    client, owner = InMemoryConnection(server, shards=1), InMemoryConnection(server, shards=1)
    received: Received[Delivery] = Received()
    service = await owner.transport.serve(0, received.receive)
    # A coroutine that is stepped by hand has sent its request, and the loop has not run since.
    request = client.transport.request(ALICE, b"x", 5)
    request.send(None)
    assert received.items == []
    await service.stop()
    assert [delivery.payload for delivery in received.items] == [b"x"]
    request.close()


async def test_an_owner_without_connection_answers_nobody() -> None:
    clock = ManualClock()
    server = InMemoryServer(clock=clock)
    client, owner = InMemoryConnection(server, shards=1), InMemoryConnection(server, shards=1)
    received: Received[Delivery] = Received()
    await owner.transport.serve(0, received.receive)
    request = asyncio.create_task(client.transport.request(ALICE, b"x", 5))
    [delivery] = await received.count(1)
    owner.disconnect()
    delivery.respond(b"too late")
    # A round trip: all that was under way has arrived.
    assert await client.event_store.last(ALICE) is None
    clock.advance(5)
    with pytest.raises(Unavailable):
        await request


async def test_a_node_knows_its_own_append_though_the_notice_was_dropped() -> None:
    faults = Faults.script([(Step.NOTICE, None), (Step.NOTICE, Dropped())])
    connection = InMemoryConnection(clock=ManualClock(), faults=faults)
    await connection.event_store.follow(connection.bus)
    first = await commit(connection.event_store, ALICE, 1, START)
    assert await connection.event_store.latest_version(ALICE) == 1
    await commit(connection.event_store, ALICE, 2, first.position)
    assert await connection.event_store.latest_version(ALICE) == 2
