"""The bundle of memory adapters: what it is, and what it refuses."""

import asyncio

import pytest

from aether.errors import ConfigError, Unavailable
from aether.ids import ActorId
from aether.memory.clock import ManualClock
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import Dropped, FaultPoint, Faults
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


async def test_an_owner_without_connection_answers_no_caller() -> None:
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
    faults = Faults.script([(FaultPoint.NOTICE, None), (FaultPoint.NOTICE, Dropped())])
    connection = InMemoryConnection(clock=ManualClock(), faults=faults)
    await connection.event_store.follow(connection.bus)
    first = await commit(connection.event_store, ALICE, 1, START)
    assert await connection.event_store.latest_version(ALICE) == 1
    await commit(connection.event_store, ALICE, 2, first.position)
    assert await connection.event_store.latest_version(ALICE) == 2


async def test_a_watch_is_completed_again_when_it_has_caught_up_after_a_break() -> None:
    server = InMemoryServer(clock=ManualClock())
    away, other = InMemoryConnection(server), InMemoryConnection(server)
    told: Received[str] = Received()
    first = await other.table.create("lease.0", b"1")
    assert first is not None
    watch = await away.table.watch(
        lambda row: told.receive(f"{row.key} {row.value!r}"), lambda: told.receive("completed")
    )
    assert await told.count(2) == ["lease.0 b'1'", "completed"]
    away.disconnect()
    await other.table.delete("lease.0", first)
    await other.table.create("lease.1", b"1")
    await told.count(2)
    away.reconnect()
    assert (await told.count(5))[2:] == ["lease.0 None", "lease.1 b'1'", "completed"]
    away.disconnect()
    away.reconnect()
    assert (await told.count(6))[5:] == ["completed"], "though nothing has changed"
    await watch.stop()
    away.disconnect()
    away.reconnect()
    assert await other.event_store.last(ALICE) is None
    assert len(told.items) == 6


async def test_a_beginning_that_a_break_cut_short_is_completed_when_all_was_told() -> None:
    server = InMemoryServer(clock=ManualClock())
    away, other = InMemoryConnection(server), InMemoryConnection(server)
    for key in "abc":
        await other.table.create(key, b"1")
    told: Received[str] = Received()
    await away.table.watch(lambda row: told.receive(row.key), lambda: told.receive("completed"))
    told.items.clear()
    away.disconnect()
    away.reconnect()
    away.disconnect()
    away.reconnect()
    await told.until(lambda items: "completed" in items)
    assert told.items.count("completed") == 1
    assert told.items[-1] == "completed"


async def test_a_watch_that_could_not_begin_hears_nothing() -> None:
    server = InMemoryServer(clock=ManualClock())
    away, other = InMemoryConnection(server), InMemoryConnection(server)
    told: Received[str] = Received()
    beginning = asyncio.ensure_future(away.table.watch(lambda row: told.receive(row.key), lambda: told.receive("done")))
    await asyncio.sleep(0)
    away.disconnect()
    with pytest.raises(Unavailable):
        await beginning
    away.reconnect()
    cancelled = asyncio.ensure_future(away.table.watch(lambda row: told.receive(row.key), lambda: told.receive("done")))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait((cancelled,))
    told.items.clear()
    await other.table.create("lease.0", b"1")
    assert await other.event_store.last(ALICE) is None
    assert told.items == []


async def test_a_node_without_connection_announces_nothing_and_hears_nothing() -> None:
    server = InMemoryServer(clock=ManualClock())
    cut, owner, client = (InMemoryConnection(server, shards=1) for _ in range(3))
    for connection in (cut, client):
        await connection.transport.follow_owners()
    cut.disconnect()
    since_s = asyncio.get_running_loop().time()
    waiting = asyncio.ensure_future(client.transport.owner_announced(ALICE, since_s, 60))
    await asyncio.sleep(0)
    cut.transport.announce([0])
    assert await owner.event_store.last(ALICE) is None
    assert not waiting.done()
    owner.transport.announce([0])
    await asyncio.wait_for(waiting, 5)
    deaf = asyncio.ensure_future(cut.transport.owner_announced(ALICE, since_s, 60))
    assert await owner.event_store.last(ALICE) is None
    assert not deaf.done()
    cut.reconnect()
    owner.transport.announce([0])
    await asyncio.wait_for(deaf, 5)
