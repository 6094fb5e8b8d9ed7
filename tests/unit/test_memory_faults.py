"""Under any plan of faults the memory adapters keep what the ports promise: late, unknown, unavailable, never wrong."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.errors import Unavailable
from aether.ids import ActorId, Position
from aether.memory.clock import ManualClock
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import (
    FAULTS_OF,
    Again,
    Disconnected,
    Dropped,
    Fault,
    FaultPoint,
    Faults,
    Late,
    Lost,
    NoResponders,
    Stale,
    StoredLater,
    StoredUnknown,
)
from aether.memory.server import InMemoryServer
from aether.ports import (
    START,
    AppendOutcome,
    Committed,
    Conflict,
    Delivery,
    EventStored,
    NotSent,
    Row,
    StoredCommit,
    Unknown,
)
from tests.contract.harness import Received, commit, events_of, guarded, payload_of

ALICE = ActorId("account", "alice")
HEALED_S = 1000.0
"""Every alarm a plan can set has rung by then."""

delays = st.sampled_from([1.0, 3.0, 7.0])
FAULTS: dict[type[Fault], st.SearchStrategy[Fault]] = {
    Late: st.builds(Late, delays),
    StoredLater: st.builds(StoredLater, delays),
    Disconnected: st.builds(Disconnected, delays),
    Lost: st.just(Lost()),
    StoredUnknown: st.just(StoredUnknown()),
    Stale: st.just(Stale()),
    Again: st.just(Again()),
    NoResponders: st.just(NoResponders()),
    Dropped: st.just(Dropped()),
}


def plans(*steps: FaultPoint) -> st.SearchStrategy[list[tuple[FaultPoint, Fault | None]]]:
    each = [
        st.tuples(st.just(step), st.none() | st.one_of(*(FAULTS[kind] for kind in sorted(FAULTS_OF[step], key=str))))
        for step in steps
    ]
    return st.lists(st.one_of(*each), max_size=15)


def run(law: Coroutine[Any, Any, None]) -> None:
    asyncio.run(guarded(law))


async def turn() -> None:
    """All that was due in the event loop has run."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(done.set_result, None)
    await done


async def heal(clock: ManualClock) -> None:
    await turn()
    clock.advance(HEALED_S)
    await turn()


# ------------------------------------------------------------------------------------------------ appends


@given(plan=plans(FaultPoint.APPEND), expected=st.lists(st.integers(0, 3), min_size=1, max_size=12))
def test_each_append_is_told_once_and_what_it_is_told_is_true(
    plan: list[tuple[FaultPoint, Fault | None]], expected: list[int]
) -> None:
    async def law() -> None:
        clock = ManualClock()
        connection = InMemoryConnection(clock=clock, faults=Faults.script(plan))
        told: list[list[AppendOutcome]] = [[] for _ in expected]
        for n, position in enumerate(expected):
            payload = payload_of(ALICE, 1, data=b"%d" % n)
            connection.event_store.publish(ALICE, payload, Position(position), told[n].append)
        await heal(clock)
        stored = {each.payload: each.position for each in connection.space.commits}
        assert [len(each) for each in told] == [1] * len(expected)
        for n, [outcome] in enumerate(told):
            found = stored.get(payload_of(ALICE, 1, data=b"%d" % n))
            match outcome:
                case Committed(at):
                    assert found == at
                case Conflict():
                    assert found is None
                case Unknown(reason):
                    assert reason

    run(law())


@given(plan=plans(FaultPoint.APPEND, FaultPoint.LAST, FaultPoint.READ), commands=st.integers(1, 6))
def test_a_writer_that_reads_after_unknown_stores_each_command_once(
    plan: list[tuple[FaultPoint, Fault | None]], commands: int
) -> None:
    async def law() -> None:
        clock = ManualClock()
        connection = InMemoryConnection(clock=clock, faults=Faults.script(plan))
        for n in range(1, commands + 1):
            writing = asyncio.create_task(write(connection, payload_of(ALICE, n)))
            while not writing.done():
                await turn()
                clock.advance(1)
        await heal(clock)
        assert [each.payload for each in connection.space.commits] == [
            payload_of(ALICE, n) for n in range(1, commands + 1)
        ]

    run(law())


async def write(connection: InMemoryConnection, payload: bytes) -> None:
    """What the runtime does: look where the history is, append, and when the outcome is not known look again."""
    while True:
        try:
            stored = [each async for each in connection.event_store.read(ALICE)]
        except Unavailable:
            await turn()
            continue
        if payload in [each.payload for each in stored]:
            return
        outcome: asyncio.Future[AppendOutcome] = asyncio.get_running_loop().create_future()
        connection.event_store.publish(ALICE, payload, stored[-1].position if stored else START, outcome.set_result)
        await outcome


async def test_a_write_can_land_after_its_writer_gave_up() -> None:
    clock = ManualClock()
    connection = InMemoryConnection(clock=clock, faults=Faults.script([(FaultPoint.APPEND, StoredLater(3))]))
    store = connection.event_store
    assert isinstance(await store.append(ALICE, events_of(ALICE, 1), START), Unknown)
    assert await store.last(ALICE) is None
    clock.advance(3)
    assert await store.append(ALICE, events_of(ALICE, 1), START) == Conflict()
    assert await store.latest_version(ALICE) == 1


async def test_nothing_is_sent_while_there_is_no_connection() -> None:
    connection = InMemoryConnection(clock=ManualClock())
    told: list[AppendOutcome] = []
    connection.disconnect()
    connection.event_store.publish(ALICE, payload_of(ALICE, 1), START, told.append)
    assert [type(each) for each in told] == [Unknown]
    connection.reconnect()
    assert await connection.event_store.last(ALICE) is None


# ------------------------------------------------------------------------------------------------ reads


@given(plan=plans(FaultPoint.LAST, FaultPoint.READ), count=st.integers(0, 5), after=st.integers(0, 5))
def test_a_read_is_complete_or_unavailable(plan: list[tuple[FaultPoint, Fault | None]], count: int, after: int) -> None:
    async def law() -> None:
        clock = ManualClock()
        server = InMemoryServer(clock=clock)
        writer = InMemoryConnection(server)
        reader = InMemoryConnection(server, faults=Faults.script(plan))
        written = [await commit(writer.event_store, ALICE, n + 1, Position(n)) for n in range(count)]
        reading = asyncio.create_task(read(reader, Position(after)))
        while not reading.done():
            await turn()
            clock.advance(1)
        assert await reading in (None, written[after:])

    run(law())


async def read(connection: InMemoryConnection, after: Position) -> list[StoredCommit] | None:
    try:
        return [each async for each in connection.event_store.read(ALICE, after)]
    except Unavailable:
        return None


async def test_a_stale_snapshot_is_the_one_before() -> None:
    connection = InMemoryConnection(clock=ManualClock(), faults=Faults.script([(FaultPoint.SNAPSHOT_READ, Stale())]))
    await connection.snapshots.save(ALICE, b"older")
    await connection.snapshots.save(ALICE, b"newer")
    assert await connection.snapshots.load(ALICE) == b"older"
    assert await connection.snapshots.load(ALICE) == b"newer"


async def test_the_version_cache_answers_without_the_leader_and_is_forgotten_with_the_connection() -> None:
    server = InMemoryServer(clock=ManualClock())
    unreachable: list[Fault] = []
    faults = Faults(lambda step: unreachable[0] if unreachable and step is FaultPoint.LAST else None)
    writer, reader = InMemoryConnection(server), InMemoryConnection(server, faults=faults)
    await reader.event_store.follow(reader.bus)
    heard: Received[EventStored] = Received()
    await reader.bus.subscribe_to_event_stored(heard.receive)
    await commit(writer.event_store, ALICE, 1, START)
    await heard.count(1)
    unreachable.append(Lost())
    assert await reader.event_store.latest_version(ALICE) == 1
    reader.disconnect()
    reader.reconnect()
    with pytest.raises(Unavailable):
        await reader.event_store.latest_version(ALICE)


# ------------------------------------------------------------------------------------------------ bus and table


@given(plan=plans(FaultPoint.NOTICE), breaks=st.lists(st.sampled_from(["append", "down", "up", "pass"]), max_size=20))
def test_after_the_faults_every_listener_has_every_commit_in_order(
    plan: list[tuple[FaultPoint, Fault | None]], breaks: list[str]
) -> None:
    async def law() -> None:
        clock = ManualClock()
        server = InMemoryServer(clock=clock)
        writer, reader = InMemoryConnection(server), InMemoryConnection(server, faults=Faults.script(plan))
        heard: Received[StoredCommit] = Received()
        lossy: Received[StoredCommit] = Received()
        await reader.bus.subscribe(heard.receive)
        await reader.bus.follow_shards(range(256), lossy.receive)
        written: list[StoredCommit] = []
        for step in breaks:
            match step:
                case "append":
                    written.append(await commit(writer.event_store, ALICE, len(written) + 1, Position(len(written))))
                case "down":
                    reader.disconnect()
                case "up":
                    reader.reconnect()
                case _:
                    clock.advance(2)
        reader.reconnect()
        await heal(clock)
        assert heard.items == written
        assert lossy.items == [each for each in written if each in lossy.items]

    run(law())


table_steps = st.tuples(st.sampled_from(["write", "end", "down", "up", "pass"]), st.sampled_from(["a", "b", "c"]))


@given(steps=st.lists(table_steps, max_size=25))
def test_a_watch_that_was_away_ends_with_the_rows_there_are(steps: list[tuple[str, str]]) -> None:
    async def law() -> None:
        clock = ManualClock()
        server = InMemoryServer(clock=clock)
        writer, reader = InMemoryConnection(server), InMemoryConnection(server)
        heard: Received[Row] = Received()
        await reader.table.watch(heard.receive)
        for step, key in steps:
            row = await writer.table.get(key)
            match step:
                case "write" if row is None:
                    await writer.table.create(key, b"new", ttl_s=5)
                case "write" if row is not None:
                    await writer.table.update(key, b"renewed", row.revision, ttl_s=5)
                case "end" if row is not None:
                    await writer.table.delete(key, row.revision)
                case "down":
                    reader.disconnect()
                case "up":
                    reader.reconnect()
                case _:
                    clock.advance(2)
        reader.reconnect()
        await turn()
        view = {row.key: row for row in heard.items}
        assert sorted(row for row in view.values() if row.value is not None) == await writer.table.rows()
        revisions = [row.revision for row in heard.items]
        assert revisions == sorted(set(revisions))

    run(law())


@pytest.mark.parametrize(("fault", "written"), [(Lost(), None), (StoredUnknown(), b"1")])
async def test_a_table_write_without_an_answer_is_unavailable_whether_it_happened_or_not(
    fault: Fault, written: bytes | None
) -> None:
    connection = InMemoryConnection(clock=ManualClock(), faults=Faults.script([(FaultPoint.TABLE_WRITE, fault)]))
    with pytest.raises(Unavailable):
        await connection.table.create("lease.0", b"1")
    row = await connection.table.get("lease.0")
    assert (row.value if row else None) == written


# ------------------------------------------------------------------------------------------------ transport


@given(plan=plans(FaultPoint.REQUEST, FaultPoint.ANSWER), count=st.integers(1, 8))
def test_every_request_ends_with_its_answer_or_unavailable(
    plan: list[tuple[FaultPoint, Fault | None]], count: int
) -> None:
    async def law() -> None:
        clock = ManualClock()
        connection = InMemoryConnection(clock=clock, shards=1, faults=Faults.script(plan))
        received: Received[Delivery] = Received()

        def serve(delivery: Delivery) -> None:
            received.receive(delivery)
            delivery.respond(b"echo " + delivery.payload)

        await connection.transport.serve(0, serve)
        requests = [asyncio.create_task(ask(connection, b"%d" % n)) for n in range(count)]
        await turn()
        await heal(clock)
        answers = await asyncio.gather(*requests)
        payloads = {each.payload for each in received.items}
        for n, answer in enumerate(answers):
            assert isinstance(answer, Unavailable) or answer == b"echo %d" % n
            assert not (isinstance(answer, NotSent) and b"%d" % n in payloads), "it was sent"

    run(law())


async def ask(connection: InMemoryConnection, payload: bytes) -> bytes | Unavailable:
    try:
        return await connection.transport.request(ALICE, payload, 5)
    except Unavailable as error:
        return error


async def test_a_request_can_be_delivered_twice() -> None:
    connection = InMemoryConnection(
        clock=ManualClock(), shards=1, faults=Faults.script([(FaultPoint.REQUEST, Again())])
    )
    received: Received[Delivery] = Received()
    await connection.transport.serve(0, received.receive)
    request = asyncio.create_task(ask(connection, b"x"))
    first, second = await received.count(2)
    assert first.payload == second.payload == b"x"
    second.respond(b"one")
    first.respond(b"two")
    assert await request == b"one"


async def test_who_waits_for_an_answer_hears_of_the_broken_connection() -> None:
    server = InMemoryServer(clock=ManualClock())
    client, owner = InMemoryConnection(server, shards=1), InMemoryConnection(server, shards=1)
    received: Received[Delivery] = Received()
    await owner.transport.serve(0, received.receive)
    request = asyncio.create_task(ask(client, b"x"))
    [delivery] = await received.count(1)
    client.disconnect()
    assert type(await request) is Unavailable
    owner.disconnect()
    delivery.respond(b"nobody hears this")
    client.reconnect()
    assert type(await ask(client, b"nobody serves")) is NotSent
    owner.reconnect()
    again = asyncio.create_task(ask(client, b"back"))
    (await received.count(2))[1].respond(b"here")
    assert await again == b"here"


# ------------------------------------------------------------------------------------------------ plans


def test_a_script_gives_each_occurrence_its_fate_and_then_lets_go() -> None:
    faults = Faults.script(
        [
            (FaultPoint.APPEND, Lost()),
            (FaultPoint.LAST, Late(1)),
            (FaultPoint.APPEND, None),
            (FaultPoint.APPEND, Late(2)),
        ]
    )
    assert [faults.at(FaultPoint.APPEND) for _ in range(4)] == [Lost(), None, Late(2), None]
    assert faults.at(FaultPoint.LAST) == Late(1)


def test_a_fault_that_cannot_happen_at_a_step_is_an_error_of_the_plan() -> None:
    with pytest.raises(ValueError, match="cannot happen"):
        Faults.script([(FaultPoint.LAST, Again())]).at(FaultPoint.LAST)
