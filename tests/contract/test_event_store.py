"""The laws of `EventStore`: a history grows only from where the writer saw it, and is read as it was written."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import pytest

from aether.errors import InvalidCommand, Unavailable
from aether.ids import ActorId, Position
from aether.names import shard_of
from aether.ports import START, Append, AppendOutcome, Committed, Conflict, EventStore, EventStored, StoredCommit
from aether.wire import instant
from tests.contract.harness import GUARD_S, LOOKALIKES, SHARDS, Received, World, commit, events_of, payload_of, publish

ALICE = ActorId("account", "alice")
BOB = ActorId("account", "bob")


async def history(
    store: EventStore, actor_id: ActorId, after: Position = START, until: Position | None = None
) -> list[StoredCommit]:
    return [stored async for stored in store.read(actor_id, after, until)]


async def test_an_actor_without_history_has_none(world: World) -> None:
    store = (await world.node()).store
    assert await store.last(ALICE) is None
    assert await store.latest_version(ALICE) == 0
    assert await history(store, ALICE) == []


async def test_a_commit_is_read_back_as_it_was_written_at_the_position_that_was_told(world: World) -> None:
    store = (await world.node()).store
    payload = payload_of(ALICE, 1, 3)
    outcome = await publish(store, ALICE, payload, START)
    assert isinstance(outcome, Committed)
    stored = StoredCommit(ALICE, outcome.position, payload)
    assert outcome.position > START
    assert await store.last(ALICE) == stored
    assert await history(store, ALICE) == [stored]
    assert await store.latest_version(ALICE) == 3


async def test_positions_grow_over_all_actors_and_nodes(world: World) -> None:
    one, other = (await world.node()).store, (await world.node()).store
    first = await commit(one, ALICE, 1, START)
    second = await commit(other, BOB, 1, START)
    third = await commit(one, ALICE, 2, first.position)
    assert first.position < second.position < third.position


@pytest.mark.parametrize("wrong", ["behind", "at the start", "ahead", "another actor's"])
async def test_a_commit_expected_elsewhere_is_a_conflict_and_stores_nothing(world: World, wrong: str) -> None:
    store = (await world.node()).store
    first = await commit(store, ALICE, 1, START)
    second = await commit(store, ALICE, 2, first.position)
    others = await commit(store, BOB, 1, START)
    expected = {
        "behind": first.position,
        "at the start": START,
        "ahead": Position(others.position + 1),
        "another actor's": others.position,
    }[wrong]
    assert await publish(store, ALICE, payload_of(ALICE, 3), expected) == Conflict()
    assert await store.append(ALICE, events_of(ALICE, 3), expected) == Conflict()
    assert await history(store, ALICE) == [first, second]


async def test_of_many_writers_at_one_position_exactly_one_commits(world: World) -> None:
    nodes = [await world.node() for _ in range(3)]
    writers = [nodes[i % 3].store for i in range(12)]
    payloads = [payload_of(ALICE, 1, data=b"%d" % i) for i in range(12)]
    outcomes: list[AppendOutcome] = await asyncio.gather(
        *(publish(store, ALICE, payload, START) for store, payload in zip(writers, payloads, strict=True))
    )
    winners = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Committed)]
    assert len(winners) == 1
    assert outcomes.count(Conflict()) == 11
    assert [stored.payload for stored in await history(nodes[0].store, ALICE)] == [payloads[winners[0]]]


async def test_keys_that_look_alike_have_histories_of_their_own(world: World) -> None:
    store = (await world.node()).store
    written = {key: await commit(store, ActorId("account", key), 1, START) for key in LOOKALIKES}
    for key, stored in written.items():
        assert await history(store, ActorId("account", key)) == [stored]
        assert await store.last(ActorId("account", key)) == stored


async def test_read_begins_after_and_ends_with_the_positions_it_is_given(world: World) -> None:
    store = (await world.node()).store
    commits: list[StoredCommit] = []
    for version in range(1, 6):
        commits.append(await commit(store, ALICE, version, commits[-1].position if commits else START))
        await commit(store, ActorId("account", f"noise-{version}"), 1, START)
    positions = [START, *(stored.position for stored in commits)]
    for low, after in enumerate(positions):
        assert await history(store, ALICE, after) == commits[low:]
        for high, until in enumerate(positions):
            assert await history(store, ALICE, after, until) == commits[low:high]


async def test_what_was_stored_while_reading_is_not_needed_for_the_end(world: World) -> None:
    store = (await world.node()).store
    first = await commit(store, ALICE, 1, START)
    second = await commit(store, ALICE, 2, first.position)
    read: list[StoredCommit] = []
    async for stored in store.read(ALICE, START, first.position):
        await publish(store, ALICE, payload_of(ALICE, 3), second.position)
        read.append(stored)
    assert read == [first]


async def test_a_read_that_cannot_reach_its_end_is_unavailable_not_short(world: World) -> None:
    store = (await world.node()).store
    first = await commit(store, ALICE, 1, START)
    with pytest.raises(Unavailable):
        await history(store, ALICE, START, Position(first.position + 1000))


async def test_an_append_that_is_too_large_or_empty_is_refused_and_harms_nothing(world: World) -> None:
    store = (await world.node()).store
    large = b'"' + b"x" * store.commit_bytes_max + b'"'
    with pytest.raises(InvalidCommand):
        await store.append(ALICE, events_of(ALICE, 1, data=large), START)
    with pytest.raises(InvalidCommand):
        await store.append(ALICE, [], START)
    refused = await publish(store, ALICE, payload_of(ALICE, 1, data=large), START)
    assert not isinstance(refused, Committed)
    assert await history(store, ALICE) == []
    assert isinstance(await store.append(ALICE, events_of(ALICE, 1), START), Committed)


async def test_the_largest_commit_is_stored_whole(world: World) -> None:
    store = (await world.node()).store
    room = store.commit_bytes_max - len(payload_of(ALICE, 1, data=b'""'))
    payload = payload_of(ALICE, 1, data=b'"' + b"x" * room + b'"')
    assert len(payload) == store.commit_bytes_max
    assert isinstance(await publish(store, ALICE, payload, START), Committed)
    assert [stored.payload for stored in await history(store, ALICE)] == [payload]


async def test_namespaces_do_not_see_each_other(world: World) -> None:
    one, other = (await world.node("one")).store, (await world.node("other")).store
    mine = await commit(one, ALICE, 1, START)
    assert await other.last(ALICE) is None
    theirs = await commit(other, ALICE, 1, START)
    assert await history(one, ALICE) == [mine]
    assert await history(other, ALICE) == [theirs]


async def test_a_node_knows_the_version_of_its_own_appends(world: World) -> None:
    node = await world.node()
    await node.follow()
    expected = START
    for version in range(1, 6):
        outcome = await node.store.append(ALICE, events_of(ALICE, version), expected)
        assert isinstance(outcome, Committed)
        assert await node.store.latest_version(ALICE) == version
        expected = outcome.position


async def test_the_version_cache_follows_what_other_nodes_store(world: World) -> None:
    writer, reader = await world.node(), await world.node()
    following = await reader.follow()
    heard: Received[EventStored] = Received()
    await reader.bus.subscribe_to_event_stored(heard.receive)
    expected = START
    for version in range(1, 6):
        assert await reader.store.latest_version(ALICE) == version - 1
        expected = (await commit(writer.store, ALICE, version, expected)).position
        await heard.count(version)
        assert await reader.store.latest_version(ALICE) == version
    await following.stop()
    await commit(writer.store, ALICE, 6, expected)
    assert await reader.store.latest_version(ALICE) == 6


async def together(store: EventStore, commits: Sequence[tuple[ActorId, bytes, Position]]) -> list[AppendOutcome]:
    outcomes: dict[ActorId, AppendOutcome] = {}
    told = asyncio.Event()

    def settle(actor_id: ActorId, outcome: AppendOutcome) -> None:
        assert actor_id not in outcomes, "an outcome comes once"
        outcomes[actor_id] = outcome
        if len(outcomes) == len(commits):
            told.set()

    store.publish_together(
        [Append(actor_id, payload, expected, partial(settle, actor_id)) for actor_id, payload, expected in commits]
    )
    async with asyncio.timeout(GUARD_S):
        await told.wait()
    return [outcomes[actor_id] for actor_id, _, _ in commits]


async def test_commits_stored_together_are_as_if_stored_one_by_one(world: World) -> None:
    store = (await world.node()).store
    first = await commit(store, ALICE, 1, START)
    actors = [ALICE, *(ActorId("account", f"n{n}") for n in range(40))]
    expected = [first.position, *(START for _ in actors[1:])]
    payloads = [payload_of(ALICE, 2, 2), *(payload_of(actor_id, 1) for actor_id in actors[1:])]
    outcomes = await together(store, list(zip(actors, payloads, expected, strict=True)))
    positions = []
    for actor_id, payload, outcome in zip(actors, payloads, outcomes, strict=True):
        assert isinstance(outcome, Committed)
        assert await store.last(actor_id) == StoredCommit(actor_id, outcome.position, payload)
        positions.append(outcome.position)
    assert positions == sorted(set(positions))
    following = await commit(store, ALICE, 4, outcomes[0].position)  # type: ignore[union-attr]  # all are committed
    assert following.position > positions[-1]


async def test_one_conflict_among_commits_stored_together_keeps_no_other_from_being_stored(world: World) -> None:
    store = (await world.node()).store
    await commit(store, BOB, 1, START)
    carol = ActorId("account", "carol")
    commits = [
        (ALICE, payload_of(ALICE, 1), START),
        (BOB, payload_of(BOB, 1), START),
        (carol, payload_of(carol, 1), START),
    ]
    outcomes = await together(store, commits)
    assert [type(outcome) for outcome in outcomes] == [Committed, Conflict, Committed]
    assert [len(await history(store, actor_id)) for actor_id in (ALICE, BOB, carol)] == [1, 1, 1]


async def test_one_commit_can_be_stored_together_with_none(world: World) -> None:
    store = (await world.node()).store
    (outcome,) = await together(store, [(ALICE, payload_of(ALICE, 1), START)])
    assert isinstance(outcome, Committed)
    assert len(await history(store, ALICE)) == 1


async def test_the_keys_of_a_kind_are_those_that_have_a_history(world: World) -> None:
    node = await world.node()
    assert [await node.listing.keys("account", shard) for shard in range(SHARDS)] == [[]] * SHARDS
    actors = [ActorId(kind, key) for kind in ("account", "account_two", "acc") for key in LOOKALIKES]
    for actor_id in actors:
        first = await commit(node.store, actor_id, 1, START)
        await commit(node.store, actor_id, 2, first.position)
    elsewhere = (await world.node("two")).listing
    for kind in ("account", "account_two", "acc", "unknown"):
        listed = {shard: await node.listing.keys(kind, shard) for shard in range(SHARDS)}
        for shard, keys in listed.items():
            assert sorted(keys) == sorted(a.key for a in actors if a.kind == kind and shard_of(a, SHARDS) == shard)
        assert await elsewhere.keys(kind, 0) == []
    for shard in range(SHARDS):
        assert sorted(await node.listing.actors(shard)) == sorted(a for a in actors if shard_of(a, SHARDS) == shard)
        assert await elsewhere.actors(shard) == []


async def test_the_stream_is_read_in_its_order_between_two_positions_for_all_a_kind_or_one_actor(world: World) -> None:
    node = await world.node()
    assert await node.stream.last_position() == START
    actors = [ALICE, ActorId("order", "alice"), BOB, ActorId("account", "\u00e9.*>"), ALICE, ActorId("order", "b")]
    seen: dict[ActorId, list[StoredCommit]] = {}
    stored = []
    for actor_id in actors:
        mine = seen.setdefault(actor_id, [])
        mine.append(await commit(node.store, actor_id, len(mine) + 1, mine[-1].position if mine else START))
        stored.append(mine[-1])
    last = stored[-1].position
    assert await node.stream.last_position() == last

    async def read(after: Position, until: Position, kind: str | None, key: str | None) -> list[StoredCommit]:
        batches = node.stream.read_stream(after, until, kind=kind, key=key)
        return [one async for batch in batches for one in batch]

    for kind, key in [(None, None), ("account", None), ("order", None), ("account", "alice"), ("nothing", None)]:
        wanted = [one for one in stored if kind in (None, one.actor_id.kind) and key in (None, one.actor_id.key)]
        for first, end in [(0, 6), (1, 5), (3, 4), (6, 6), (2, 6), (0, 1)]:
            after = stored[first - 1].position if first else START
            until = stored[end - 1].position
            between = [one for one in wanted if after < one.position <= until]
            assert await read(after, until, kind, key) == between, (kind, key, first, end)


async def test_the_stream_is_searched_for_bytes(world: World) -> None:
    """Over more commits than one answer of a server holds: what is found is in order, and nothing is passed over."""
    node = await world.node()
    stored = list[StoredCommit]()
    for n in range(600):
        actor_id = ActorId("account", f"a{n:03}")
        payload = payload_of(actor_id, 1).replace(b"command-1", b"c-%03d" % n)
        outcome = await publish(node.store, actor_id, payload, START)
        assert isinstance(outcome, Committed)
        stored.append(StoredCommit(actor_id, outcome.position, payload))
    last = stored[-1].position

    async def search(having: bytes, after: Position, until: Position) -> list[StoredCommit]:
        found, read_to = list[StoredCommit](), after
        async for up_to, commits in node.stream.search_stream(after, until, having):
            assert read_to < up_to <= until
            assert all(read_to < one.position <= up_to for one in commits)
            found, read_to = [*found, *commits], up_to
        assert read_to == until
        return found

    assert await search(b"c-07", START, last) == stored[70:80]
    assert await search(b"c-", START, last) == stored
    assert await search(b"c-", stored[99].position, stored[149].position) == stored[100:150]
    assert await search(b"nobody", START, last) == []
    assert await search(b"c-599", START, last) == [stored[-1]]


async def test_the_stream_says_what_was_stored_since_a_time(world: World) -> None:
    node = await world.node()
    long_ago, far_ahead = instant(1_000_000_000), instant(4_000_000_000)
    assert await node.stream.positions_since(long_ago) == (START, START)
    assert await node.stream.positions_since(far_ahead) == (START, START)
    first = await commit(node.store, ALICE, 1, START)
    last = await commit(node.store, ALICE, 2, first.position)
    assert await node.stream.positions_since(long_ago) == (first.position - 1, last.position)
    assert await node.stream.positions_since(far_ahead) == (last.position, last.position)
    for year in (1, 1600, 1969):
        assert await node.stream.positions_since(datetime(year, 1, 1, tzinfo=UTC)) == (
            first.position - 1,
            last.position,
        )
    for year in (2263, 2999, 9999):
        assert await node.stream.positions_since(datetime(year, 1, 1, tzinfo=UTC)) == (last.position, last.position)


async def test_a_long_stream_is_read_whole(world: World) -> None:
    """More than one answer of a server holds, and with a kind that is rare in it."""
    node = await world.node()
    rare = await commit(node.store, ActorId("order", "first"), 1, START)
    for n in range(600):
        await commit(node.store, ActorId("account", f"a{n}"), 1, START)
    last = await commit(node.store, ActorId("order", "last"), 1, START)
    whole = [one async for batch in node.stream.read_stream(START, last.position) for one in batch]
    assert len(whole) == 602
    assert [one.position for one in whole] == sorted({one.position for one in whole})
    orders = [one async for batch in node.stream.read_stream(START, last.position, kind="order") for one in batch]
    assert orders == [rare, last]
