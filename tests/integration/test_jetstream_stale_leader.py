"""What a replica says that leads no more, or knows of no leader, repeats no event and passes none over."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest

import aether.jetstream.bus as bus_room
import aether.jetstream.watch as watch_room
from aether.errors import Unavailable
from aether.ids import ActorId, Position
from aether.jetstream.api import Batch, StoredMessage, direct_batch, last_sequence, leader_next
from aether.jetstream.bus import BusConfig, NATSEventBus
from aether.jetstream.connection.headers import SEQUENCE
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.table import JetStreamTable
from aether.jetstream.watch import View, WatchConfig
from aether.ports import START, Row, StoredCommit
from tests.contract.harness import Received, commit
from tests.support.jetstream import Sessions, node
from tests.support.nats_server import NatsServer

ALICE = ActorId("account", "alice")
OLD_END = 2


class Stale:
    """Knows the stream up to `OLD_END`, and answers the first two requests after `begin`."""

    def __init__(self) -> None:
        self.left = 0

    def begin(self) -> None:
        self.left = 2

    async def last_sequence(self, connection: NatsConnection, stream: str) -> int:
        return OLD_END if self._answers() else await last_sequence(connection, stream)

    async def leader_next(
        self, connection: NatsConnection, stream: str, subjects: str, sequence: int
    ) -> StoredMessage | None:
        return None if self._answers() else await leader_next(connection, stream, subjects, sequence)

    async def direct_batch(self, connection: NatsConnection, stream: str, subjects: str, sequence: int) -> Batch:
        return Batch([], more=False) if self.left else await direct_batch(connection, stream, subjects, sequence)

    def _answers(self) -> bool:
        answers = self.left > 0
        self.left -= answers
        return answers


async def stored_by(one: Any, versions: range, last: Position) -> list[StoredCommit]:
    found = list[StoredCommit]()
    for version in versions:
        found.append(await commit(one.event_store, ALICE, version, last))
        last = found[-1].position
    return found


@pytest.mark.parametrize(("replicas", "times"), [(3, 1), (1, 2)])
async def test_an_end_before_the_one_that_is_known_is_believed_only_on_one_server(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch, replicas: int, times: int
) -> None:
    stale = Stale()
    monkeypatch.setattr(bus_room, "last_sequence", stale.last_sequence)
    async with node(nats_server.url, namespace) as one:
        bus = NATSEventBus(one.nats, one.names, BusConfig(idle_scan_s=1_000), replicas)
        received, sessions = Received[StoredCommit](), Sessions(one.nats)
        await bus.subscribe(received.receive)
        stored = await stored_by(one, range(1, 6), START)
        assert await received.count(5) == stored
        stale.begin()
        session = one.nats.session
        assert session is not None
        await session.close()
        await sessions.back()
        more = await stored_by(one, range(6, 7), stored[-1].position)
        repeated = stored[OLD_END:] * (times - 1)
        assert await received.count(6 + len(repeated)) == [*stored, *repeated, *more]
        await bus.close()


async def test_commits_that_a_replaced_leader_lacks_are_not_passed_over(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = Stale()
    monkeypatch.setattr(bus_room, "leader_next", stale.leader_next)
    monkeypatch.setattr(bus_room, "direct_batch", stale.direct_batch)

    def loses(message: Message) -> bool:
        return (message.headers or {}).get(SEQUENCE) == "3"

    async with node(nats_server.url, namespace, loses=loses) as one:
        bus = NATSEventBus(one.nats, one.names, BusConfig(idle_scan_s=1_000), replicas=3)
        received = Received[StoredCommit]()
        await bus.subscribe(received.receive)
        stored = await stored_by(one, range(1, 3), START)
        assert await received.count(2) == stored
        stale.begin()
        stored += await stored_by(one, range(3, 6), stored[-1].position)
        assert await received.count(5) == stored
        await bus.close()


class Telling(View):
    """Tells when rows of before what was delivered have come."""

    def __init__(self, views: list["Telling"], receive: Callable[[Row], None]) -> None:
        super().__init__(receive)
        self.was_beyond = asyncio.Event()
        views.append(self)

    def is_beyond(self, rows: list[Row]) -> bool:
        found = super().is_beyond(rows)
        if found:
            self.was_beyond.set()
        return found


@pytest.mark.parametrize(("replicas", "repeated"), [(3, []), (1, [Row("member.a", b"1", 1)])])
async def test_rows_of_a_replica_that_lags_are_taken_only_on_one_server(
    nats_server: NatsServer, namespace: str, monkeypatch: pytest.MonkeyPatch, replicas: int, repeated: list[Row]
) -> None:
    views = list[Telling]()
    monkeypatch.setattr(watch_room, "View", partial(Telling, views))
    async with node(nats_server.url, namespace) as one:
        table = JetStreamTable(one.nats, one.names, WatchConfig(heartbeat_s=0.2), replicas)
        seen, sessions = Received[Row](), Sessions(one.nats)
        revision = await table.create("member.a", b"1")
        assert revision == 1
        watching = await table.watch(seen.receive)
        views[0].change(Row("member.a", b"3", 3))  # as another replica tells it, of what this server stores later
        session = one.nats.session
        assert session is not None
        await session.close()
        await sessions.back()
        async with asyncio.timeout(5):
            await views[0].was_beyond.wait()
        for value in (b"2", b"3", b"4"):
            revision = await table.update("member.a", value, revision)
            assert revision is not None
        told = await seen.until(lambda rows: rows[-1].revision == 4)
        assert [row for row in told[2:-1] if row.value == b"1"] == repeated
        assert told[:2] == [Row("member.a", b"1", 1), Row("member.a", b"3", 3)]
        await watching.stop()


@pytest.mark.parametrize(
    ("cluster", "end"), [(b"", 7), (b',"cluster":{"leader":"n1"}', 7), (b',"cluster":{"name":"tests"}', None)]
)
async def test_the_end_of_a_stream_is_not_taken_from_a_replica_without_a_leader(
    cluster: bytes, end: int | None
) -> None:
    class Answering:
        async def request(self, *_: object) -> Message:
            return Message("inbox", "", b'{"state":{"last_seq":7}' + cluster + b"}", None)

    connection = cast(Any, Answering())
    if end is None:
        with pytest.raises(Unavailable, match="no leader"):
            await last_sequence(connection, "EVENTS")
    else:
        assert await last_sequence(connection, "EVENTS") == end
