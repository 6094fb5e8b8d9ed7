"""The event store and the snapshots on a real server: outcomes, reading, sizes, keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aether.jetstream.history_reader as reading_room
from aether.errors import InvalidCommand, Unavailable
from aether.ids import ActorId, Position, Version
from aether.jetstream.api import Batch, direct_batch
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.version_cache import VersionCache
from aether.ports import START, AppendOutcome, Committed, Conflict, EventStore, Unknown
from tests.contract.harness import LOOKALIKES, Received, commit, events_of, payload_of, publish
from tests.support.jetstream import fresh_namespace, node
from tests.support.nats_server import NatsServer

ALICE = ActorId("account", "alice")


async def history(store: EventStore, actor_id: ActorId) -> list[tuple[Position, bytes]]:
    return [(stored.position, stored.payload) async for stored in store.read(actor_id)]


async def test_a_stale_first_commit_stores_nothing_of_what_follows(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        store = one.event_store
        first = await commit(store, ALICE, 1, START)
        outcomes = Received[AppendOutcome]()
        for guessed in (Position(first.position - 1), Position(first.position + 1), Position(first.position + 2)):
            store.publish(ALICE, payload_of(ALICE, 2), guessed, outcomes.receive)
        assert await outcomes.count(3) == [Conflict()] * 3
        assert await history(store, ALICE) == [(first.position, first.payload)]


async def test_every_key_has_a_history_of_its_own(nats_server: NatsServer, namespace: str) -> None:
    actors = [ActorId(kind, key) for kind in ("account", "order") for key in (*LOOKALIKES, "x" * 200, "\u00fc" * 100)]
    async with node(nats_server.url, namespace) as one:
        stored = {actor_id: await commit(one.event_store, actor_id, 1, START) for actor_id in actors}
        for actor_id, commit_ in stored.items():
            assert await history(one.event_store, actor_id) == [(commit_.position, commit_.payload)]
            await one.snapshots.save(actor_id, str(actor_id).encode())
        for actor_id in stored:
            assert await one.snapshots.load(actor_id) == str(actor_id).encode()


async def test_namespaces_are_isolated(nats_server: NatsServer) -> None:
    async with (
        node(nats_server.url, fresh_namespace()) as one,
        node(nats_server.url, fresh_namespace()) as other,
    ):
        await commit(one.event_store, ALICE, 1, START)
        await one.snapshots.save(ALICE, b"one")
        assert await other.event_store.last(ALICE) is None
        assert await other.snapshots.load(ALICE) is None
        assert isinstance(await publish(other.event_store, ALICE, payload_of(ALICE, 1), START), Committed)


async def test_large_commits_come_back_whole_from_every_read(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        store, position = one.event_store, START
        payloads = [payload_of(ALICE, version, data=b'"%b"' % (b"x" * 200_000)) for version in range(1, 9)]
        largest = payload_of(ALICE, 9, data=b'""')
        payloads.append(largest.replace(b'""', b'"%b"' % (b"x" * (store.commit_bytes_max - len(largest)))))
        assert len(payloads[-1]) == store.commit_bytes_max
        for payload in payloads:
            outcome = await publish(store, ALICE, payload, position)
            assert isinstance(outcome, Committed), outcome
            position = outcome.position
        assert [payload for _, payload in await history(store, ALICE)] == payloads
        last = await store.last(ALICE)
        assert last is not None
        assert last.payload == payloads[-1]
        assert await store.latest_version(ALICE) == 9


async def test_an_oversize_commit_is_refused_and_the_connection_stays(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        store, session = one.event_store, one.nats.session
        events = events_of(ALICE, 1, data=b'"%b"' % (b"x" * store.commit_bytes_max))
        with pytest.raises(InvalidCommand, match="at most"):
            await store.append(ALICE, events, START)
        assert isinstance(await publish(store, ALICE, b"x" * (store.commit_bytes_max + 1), START), Unknown)
        with pytest.raises(InvalidCommand, match="at most"):
            await one.snapshots.save(ALICE, b"x" * (one.snapshots.snapshot_bytes_max + 1))
        await one.snapshots.save(ALICE, b"x" * one.snapshots.snapshot_bytes_max)
        assert session is not None
        with pytest.raises(InvalidCommand, match="at most"):
            session.publish("x", b"", headers={"Name": "x" * session.payload_bytes_max})
        assert isinstance(await publish(store, ALICE, payload_of(ALICE, 1), START), Committed)
        assert one.nats.session is session


async def test_a_history_that_ends_too_early_is_unavailable(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        first = await commit(one.event_store, ALICE, 1, START)
        with pytest.raises(Unavailable, match="ends before"):
            async for _ in one.event_store.read(ALICE, until=Position(first.position + 1)):
                pass


async def test_a_long_history_is_read_in_pages(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one:
        positions, position = [], START
        for version in range(1, 601):
            position = (await commit(one.event_store, ALICE, version, position)).position
            positions.append(position)
        assert [position for position, _ in await history(one.event_store, ALICE)] == positions
        middle = [s.position async for s in one.event_store.read(ALICE, positions[99], positions[499])]
        assert middle == positions[100:500]


async def test_the_version_cache_hears_of_other_nodes(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace) as one, node(nats_server.url, namespace) as other:
        following = await one.event_store.follow(one.bus)
        assert await one.event_store.latest_version(ALICE) == 0
        position = START
        for version in range(1, 6):
            position = (await commit(other.event_store, ALICE, version, position)).position
        notices = await one.bus.subscribe_to_event_stored(lambda _: None)
        await notices.stop()
        assert await one.event_store.latest_version(ALICE) == 5
        position = (await commit(one.event_store, ALICE, 6, position)).position
        assert await one.event_store.latest_version(ALICE) == 6
        await following.stop()
        await commit(other.event_store, ALICE, 7, position)
        assert await one.event_store.latest_version(ALICE) == 7


async def test_an_own_commit_is_known_before_its_notice(nats_server: NatsServer, namespace: str) -> None:
    async with node(nats_server.url, namespace, loses=lambda message: b"Happened" in message.data) as deaf:
        await deaf.event_store.follow(deaf.bus)
        assert await deaf.event_store.latest_version(ALICE) == 0
        await commit(deaf.event_store, ALICE, 1, START)
        assert await deaf.event_store.latest_version(ALICE) == 1


async def test_a_replica_that_stays_behind_is_passed_over(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stale(connection: NatsConnection, stream: str, subjects: str, sequence: int) -> Batch:
        found = (await direct_batch(connection, stream, subjects, sequence)).messages
        return Batch([message for message in found if message.sequence < 3], more=False)

    monkeypatch.setattr(reading_room, "direct_batch", stale)
    async with node(nats_server.url, namespace) as one:
        position = START
        for version in range(1, 6):
            position = (await commit(one.event_store, ALICE, version, position)).position
        assert [position for position, _ in await history(one.event_store, ALICE)] == [1, 2, 3, 4, 5]


updates = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9), st.booleans()), max_size=40)


@given(updates)
def test_the_version_cache_never_goes_back(heard: list[tuple[int, int, bool]]) -> None:
    versions = VersionCache(4)
    newest: dict[ActorId, tuple[int, bool]] = {}
    for number, position, told in heard:
        actor_id = ActorId("account", str(number))
        versions.note(actor_id)
        versions.update(actor_id, Position(position), Version(position) if told else None)
        before, known = newest.get(actor_id, (0, False))
        if position >= before:
            newest[actor_id] = (position, told or (known and position == before))
        last, known = newest[actor_id]
        assert versions.get(actor_id) == (last if known else None)


@given(st.lists(st.integers(1, 9)), st.integers(1, 4))
def test_the_version_cache_keeps_the_last_used(used: list[int], entries_max: int) -> None:
    versions = VersionCache(entries_max)
    order: list[int] = []
    for number in used:
        actor_id = ActorId("account", str(number))
        assert (versions.get(actor_id) is not None) == (number in order)
        versions.learn(actor_id, Position(1), Version(1))
        order = [*(other for other in order if other != number), number][-entries_max:]
        assert len(versions) == len(order)
