"""A pool on three servers with three replicas: it boots while they elect, and outlives each of them in turn.

Nightly: tests/integration/test_tells_pool.py kills a leader under a pool each time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import aether.jetstream.bus as bus_room
from aether.config import ConnectionConfig, StorageConfig
from aether.errors import Unavailable
from aether.ids import ActorId
from aether.jetstream.adapters import JetStreamConnection, connect_worker
from aether.jetstream.api import last_sequence
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.ports import START, StoredCommit
from aether.system.clock import SystemClock
from tests.chaos.faults import KillLeader, KillNode
from tests.chaos.scenario import Scenario, Step, run
from tests.chaos.world import Setting
from tests.contract.harness import Received, commit
from tests.support.jetstream import fresh_namespace
from tests.support.nats_cluster import NatsCluster
from tests.support.nightly import NIGHTLY
from tests.support.proxy import Proxy

ALICE = ActorId("account", "alice")
COMMITS = 10
ANSWER_S = 60


@pytest.mark.skipif(not NIGHTLY, reason="takes a minute")
@pytest.mark.timeout(240)
async def test_a_pool_outlives_every_server_in_turn_and_the_leader() -> None:
    each = [Step(KillNode(dice)) for dice in (0.0, 0.4, 0.8)]
    leaders = [Step(KillLeader(of_table=of_table)) for of_table in (False, True)]
    steps = [*each, *leaders]
    result = await run(Scenario(setting=Setting(cluster=True), steps=steps))
    assert result.ok, f"{result.text()}\nlog and stream are in {result.directory}"


class Ends:
    """Asks for the end of a stream, and tells when that was answered once more, by a number or by a refusal."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()

    async def last_sequence(self, connection: NatsConnection, stream: str) -> int:
        try:
            end = await last_sequence(connection, stream)
        except Unavailable as error:
            if "no leader" in error.message:
                self.answered.set()
            raise
        self.answered.set()
        return end


@asynccontextmanager
async def worker(url: str, namespace: str) -> AsyncIterator[JetStreamConnection]:
    storage = StorageConfig(shards=8, replicas=3)
    async with connect_worker(ConnectionConfig(url=url), namespace, storage, SystemClock()) as found:
        yield found


@pytest.mark.skipif(
    not NIGHTLY, reason="takes half a minute; tests/integration/test_jetstream_stale_leader.py does not"
)
@pytest.mark.timeout(240)
async def test_a_server_that_is_behind_and_alone_repeats_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace, ends = fresh_namespace(), Ends()
    monkeypatch.setattr(bus_room, "last_sequence", ends.last_sequence)
    async with NatsCluster(linked=True) as cluster:
        async with worker(cluster.url, namespace):
            leader = await cluster.leader(f"AETHER_{namespace}")
        behind, other = (node for node in cluster.nodes if node is not leader)
        await cluster.caught_up(f"AETHER_{namespace}")
        async with Proxy(other.port) as proxy, worker(proxy.url, namespace) as listening:
            received = Received[StoredCommit]()
            await listening.bus.subscribe(received.receive)
            cluster.isolate(behind)
            stored: list[StoredCommit] = []
            async with worker(leader.url, namespace) as writing:
                for version in range(1, COMMITS + 1):
                    last = stored[-1].position if stored else START
                    stored.append(await commit(writing.event_store, ALICE, version, last))
                assert await received.count(COMMITS) == stored
            proxy.turn(behind.port)
            leader.kill()
            other.kill()
            ends.answered.clear()
            async with asyncio.timeout(ANSWER_S):
                await ends.answered.wait()
            await cluster.restart(leader)
            await cluster.restart(other)
            cluster.links.release()
            await cluster.caught_up(f"AETHER_{namespace}")
            stored.append(await commit(listening.event_store, ALICE, COMMITS + 1, stored[-1].position))
            assert await received.count(COMMITS + 1) == stored
