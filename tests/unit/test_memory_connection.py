"""The bundle of memory adapters: what it is, and what it refuses."""

import pytest

from aether.errors import ConfigError, Unavailable
from aether.ids import ActorId
from aether.memory.clock import ManualClock
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.ports import START, Connection, EventStore
from tests.contract.harness import commit

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
