"""The bus on a real server: whatever broadcast is lost, everything arrives, once and in order."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aether.jetstream.bus as bus_room
from aether.ids import ActorId, Position
from aether.jetstream.adapters import JetStreamConnection
from aether.jetstream.api import Batch, direct_batch
from aether.jetstream.connection.headers import SEQUENCE
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.names import shard_of
from aether.ports import START, EventStored, StoredCommit
from tests.contract.harness import Received, commit, guarded
from tests.support.jetstream import SHARDS, Sessions, fresh_namespace, node
from tests.support.nats_server import NatsServer
from tests.support.proxy import Proxy

ACTORS = [ActorId("account", "alice"), ActorId("account", "bob"), ActorId("order", "alice")]


async def commits(one: JetStreamConnection, count: int) -> list[StoredCommit]:
    """`count` commits, round the actors."""
    stored: list[StoredCommit] = []
    last: dict[ActorId, tuple[int, Position]] = {}
    for number in range(count):
        actor_id = ACTORS[number % len(ACTORS)]
        version, position = last.get(actor_id, (0, START))
        stored.append(await commit(one.event_store, actor_id, version + 1, position))
        last[actor_id] = (version + 1, stored[-1].position)
    return stored


@given(lost=st.sets(st.integers(1, 12)), held_max=st.sampled_from([1, 3, 100]))
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lost_broadcasts_are_filled_in_order(nats_server: NatsServer, lost: set[int], held_max: int) -> None:
    def loses(message: Message) -> bool:
        return int((message.headers or {}).get(SEQUENCE, "0")) in lost

    async def run() -> None:
        namespace = fresh_namespace()
        async with (
            node(nats_server.url, namespace, loses=loses, idle_scan_s=0.1, held_max=held_max) as one,
            node(nats_server.url, namespace) as other,
        ):
            received, of_kind = Received[StoredCommit](), Received[StoredCommit]()
            await one.bus.subscribe(received.receive)
            await one.bus.subscribe(of_kind.receive, kind="order")
            stored = await commits(other, 12)
            assert await received.count(12) == stored
            assert of_kind.items == [c for c in stored if c.actor_id.kind == "order"]

    asyncio.run(guarded(run()))


async def test_what_was_stored_while_away_is_delivered_on_return(own_server: NatsServer, namespace: str) -> None:
    async with (
        Proxy(own_server.port) as proxy,
        node(proxy.url, namespace, idle_scan_s=1_000) as away,
        node(own_server.url, namespace) as other,
    ):
        received, notices = Received[StoredCommit](), Received[EventStored]()
        await away.bus.subscribe(received.receive)
        await away.bus.subscribe_to_event_stored(notices.receive)
        sessions = Sessions(away.nats)
        proxy.cut()
        await sessions.lost()
        assert not away.bus.synced
        stored = await commits(other, 30)
        proxy.mend()
        assert await received.count(30) == stored
        assert [(n.actor_id, n.position) for n in notices.items] == [(c.actor_id, c.position) for c in stored]
        assert [n.version for n in notices.items if n.actor_id == ACTORS[0]] == list(range(1, 11))


async def test_what_is_stored_after_the_stream_was_lost_is_delivered(
    own_server: NatsServer, namespace: str, tmp_path: Path
) -> None:
    async with node(own_server.url, namespace, idle_scan_s=0.1) as one:
        await commits(one, 3)
        received, sessions = Received[StoredCommit](), Sessions(one.nats)
        await one.bus.subscribe(received.receive)
        own_server.kill()
        await sessions.lost()
        own_server.move(tmp_path)
        own_server.start()
        async with node(own_server.url, namespace) as other:
            while not one.bus.synced:  # noqa: ASYNC110 - it has no event of its own
                await asyncio.sleep(0.01)
            stored = await commits(other, 2)
            assert await received.count(2) == stored


async def test_a_late_subscriber_hears_only_what_comes_after(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        early, late = Received[StoredCommit](), Received[StoredCommit]()
        await one.bus.subscribe(early.receive)
        first = await commit(one.event_store, ACTORS[0], 1, START)
        await one.bus.subscribe(late.receive)
        second = await commit(one.event_store, ACTORS[1], 1, START)
        assert await late.count(1) == [second]
        assert early.items == [first, second]


class GatedBatches:
    """Direct gets that wait until the gate is open, and whose replica is one message behind."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()

    async def batch(self, connection: NatsConnection, stream: str, subjects: str, sequence: int) -> Batch:
        self.asked.set()
        await self.gate.wait()
        found = (await direct_batch(connection, stream, subjects, sequence)).messages
        return Batch(found[:-1], more=False)


async def test_a_slow_fill_from_a_stale_replica_with_little_room(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loses(message: Message) -> bool:
        return (message.headers or {}).get(SEQUENCE) == "3"

    gated = GatedBatches()
    monkeypatch.setattr(bus_room, "direct_batch", gated.batch)
    async with node(nats_server.url, namespace, loses=loses, idle_scan_s=1_000, held_max=2) as one:
        early, late = Received[StoredCommit](), Received[StoredCommit]()
        await one.bus.subscribe(early.receive)
        stored = await commits(one, 9)
        await gated.asked.wait()
        await one.bus.subscribe(late.receive)
        assert early.items == stored[:2]
        gated.gate.set()
        assert await early.count(9) == stored
        assert late.items == []
        stored.append(await commits_more(one, stored))
        assert await late.count(1) == stored[-1:]
        assert await early.count(10) == stored


async def test_a_receiver_that_raises_harms_no_other(nats_server: NatsServer, namespace: str) -> None:
    def raises(_: object) -> None:
        raise RuntimeError("a bug")

    async with node(nats_server.url, namespace) as one:
        received = Received[StoredCommit]()
        await one.bus.subscribe(raises)
        await one.bus.subscribe_to_event_stored(raises)
        await one.bus.subscribe(received.receive)
        stored = await commits(one, 5)
        assert await received.count(5) == stored


async def test_stopping_hands_over_what_was_delivered(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        received, shard = Received[StoredCommit](), Received[StoredCommit]()
        followed = await one.bus.follow_shards(range(SHARDS), shard.receive)
        subscription = await one.bus.subscribe(received.receive)
        stored = await commits(one, 9)
        await subscription.stop()
        await followed.stop()
        assert received.items == stored
        assert sorted(shard.items, key=_position) == sorted(stored, key=_position)
        await commits_more(one, stored)
        await subscription.stop()
        assert len(received.items) == len(shard.items) == 9


async def commits_more(one: JetStreamConnection, stored: list[StoredCommit]) -> StoredCommit:
    """One commit more on the last actor."""
    last = stored[-1]
    return await commit(one.event_store, last.actor_id, 4, last.position)


async def test_following_shards_hears_those_alone(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        wanted = shard_of(ACTORS[0], SHARDS)
        received = Received[StoredCommit]()
        followed = await one.bus.follow_shards([wanted], received.receive)
        stored = await commits(one, 9)
        await followed.stop()
        assert received.items == [c for c in stored if shard_of(c.actor_id, SHARDS) == wanted]


def _position(commit: StoredCommit) -> int:
    return commit.position
