"""What the server is told with a schedule: when it is due and where to, or for how long it keeps a place."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from aether.errors import Unavailable
from aether.ids import ActorId
from aether.jetstream import timers
from aether.jetstream.api import Batch, StoredMessage, StreamInfo
from aether.jetstream.connection.message import Message
from aether.jetstream.timers import JetStreamTimers
from aether.memory.clock import ManualClock
from aether.names import Names, shard_of
from aether.sends import CancelSchedule, SetSchedule, encode_send

NAMES = Names("ns", 4)
HOME = ActorId("order", "k")


async def head_of(send: SetSchedule | CancelSchedule, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    heads: list[dict[str, str]] = []

    async def write(_connection: object, _subject: str, _payload: bytes, headers: dict[str, str]) -> int:
        heads.append(headers)
        return 1

    monkeypatch.setattr(timers, "write", write)
    connection: Any = None
    assert await JetStreamTimers(connection, NAMES, ManualClock()).arm(send)
    (head,) = heads
    return head


async def test_a_schedule_is_due_at_a_time_in_utc_for_the_shard_of_its_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    at = datetime(2026, 7, 1, 9, tzinfo=timezone(timedelta(hours=2)))
    one = SetSchedule(name="n", id="s", at=at, kind="room", key="12", command="go", source=str(HOME), position=1)
    assert await head_of(one, monkeypatch) == {
        "Nats-Schedule": "@at 2026-07-01T07:00:00Z",
        "Nats-Schedule-Target": NAMES.fired(shard_of(HOME, 4)),
        "Nats-Expected-Last-Subject-Sequence": "0",
    }


async def test_a_cancelled_schedule_takes_the_place_of_what_is_there_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = CancelSchedule(name="n", source=str(HOME), position=1)
    assert await head_of(one, monkeypatch) == {
        "Nats-Rollup": "sub",
        "Nats-TTL": timers.CANCELLED_TTL,
        "Nats-Expected-Last-Subject-Sequence": "0",
    }


class Lagging:
    """Some ticks of a shard: a replica has those up to `replicated`, the leader has all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stored: list[int] = []
        self.replicated = 0
        self.asked_leader: list[int] = []
        self.hear: Callable[[None, Message], None] = lambda _, __: None
        monkeypatch.setattr(timers, "direct_batch", self._direct_batch)
        monkeypatch.setattr(timers, "leader_next", self._leader_next)
        connection: Any = self
        self.timers = JetStreamTimers(connection, NAMES, ManualClock())

    async def subscribe(self, subject: str, hear: Callable[[None, Message], None]) -> None:
        assert subject == NAMES.told(NAMES.fired(1))
        self.hear = hear

    async def _direct_batch(self, _: object, stream: str, subject: str, sequence: int) -> Batch:
        assert (stream, subject) == (NAMES.timers, NAMES.fired(1))
        found = [one for one in self.stored if sequence <= one <= self.replicated]
        return Batch([message(one) for one in found[:2]], more=len(found) > 2)

    async def _leader_next(self, _: object, stream: str, subject: str, sequence: int) -> StoredMessage | None:
        assert (stream, subject) == (NAMES.timers, NAMES.fired(1))
        self.asked_leader.append(sequence)
        return next((message(one) for one in self.stored if one >= sequence), None)

    def tell_of(self, sequence: int) -> None:
        """The server says that this tick is due."""
        self.hear(None, Message("told", "", b"", b"NATS/1.0\r\nNats-Sequence: %d\r\n\r\n" % sequence))

    async def read(self) -> list[int]:
        """All ticks, from the first on."""
        found: list[int] = []
        more = True
        while more:
            batch = await self.timers.fired(1, found[-1] if found else 0)
            found += [one.sequence for one in batch.messages]
            more = batch.more
        return found


def message(sequence: int) -> StoredMessage:
    return StoredMessage(NAMES.fired(1), sequence, b"", marker=False)


async def test_a_tick_that_the_server_has_told_of_is_read_though_a_replica_lags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, rung = Lagging(monkeypatch), list[int]()
    await server.timers.follow(1, lambda: rung.append(1))
    server.stored, server.replicated = [3, 5, 6, 9], 5
    assert (await server.read(), server.asked_leader) == ([3, 5], []), "nothing was told of"
    server.tell_of(6)
    server.tell_of(9)
    assert await server.read() == [3, 5, 6, 9]
    assert (rung, server.asked_leader) == ([1, 1], [6, 7])


async def test_the_leader_is_not_asked_for_ticks_that_were_read_or_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Lagging(monkeypatch)
    await server.timers.follow(1, lambda: None)
    server.stored, server.replicated = [3, 5, 6], 6
    server.tell_of(6)
    server.tell_of(5)
    assert (await server.read(), server.asked_leader) == ([3, 5, 6], [])
    server.tell_of(7)
    server.stored.clear()
    assert (await server.read(), server.asked_leader) == ([], [1])
    assert (await server.read(), server.asked_leader) == ([], [1])


async def test_what_has_no_sequence_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    server, rung = Lagging(monkeypatch), list[int]()
    await server.timers.follow(1, lambda: rung.append(1))
    server.hear(None, Message("told", "", b"", None))
    assert (rung, await server.read(), server.asked_leader) == ([1], [], [])


class Stored:
    """What a stream of timers has, by sequence."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *sends: SetSchedule | CancelSchedule | None) -> None:
        self.now: datetime | None = datetime(2026, 7, 1, tzinfo=UTC)
        self.purged: list[dict[str, Any]] = []
        self._messages = [
            StoredMessage(
                NAMES.timer(HOME, one.name if one is not None else "x"),
                sequence,
                encode_send(one) if one is not None else b"of a later version",
                marker=False,
            )
            for sequence, one in enumerate(sends, 1)
        ]
        monkeypatch.setattr(timers, "direct_batch", self._direct_batch)
        monkeypatch.setattr(timers, "stream_info", self._stream_info)
        monkeypatch.setattr(timers, "stream_purge", self._stream_purge)
        connection: Any = None
        self.timers = JetStreamTimers(connection, NAMES, ManualClock())

    async def _direct_batch(self, _: object, _stream: str, _subject: str, sequence: int) -> Batch:
        found = self._messages[sequence - 1 : sequence + 1]
        return Batch(found, last=found[-1].sequence if found else sequence - 1, more=sequence + 1 < len(self._messages))

    async def _stream_info(self, _: object, _stream: str) -> StreamInfo:
        return StreamInfo(ts=self.now)

    async def _stream_purge(self, _: object, _stream: str, body: dict[str, Any]) -> None:
        self.purged.append(body)


def at(hour: int, name: str, position: int = 1) -> SetSchedule:
    time = datetime(2026, 6, 30, hour, tzinfo=UTC)
    return SetSchedule(name=name, id="s", at=time, kind="room", key="12", command="go", source=str(HOME),
                       position=position)  # fmt: skip


async def test_an_earlier_setting_that_a_crash_has_brought_back_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = CancelSchedule(name="a", source=str(HOME), position=2)
    stored = Stored(monkeypatch, at(1, "a"), at(2, "b"), at(3, "b", 2), cancelled)
    assert await stored.timers.armed() == [at(3, "b", 2)]


async def test_what_is_overdue_is_so_by_the_servers_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = CancelSchedule(name="c", source=str(HOME), position=2)
    stored = Stored(monkeypatch, at(23, "a"), None, cancelled, at(22, "b"))
    assert await stored.timers.overdue(0, 3599) == ([(1, at(23, "a"))], 2, True)
    assert await stored.timers.overdue(0, 3600) == ([], 2, True)
    assert await stored.timers.overdue(2, 3600) == ([(4, at(22, "b"))], 4, False)
    stored.now = None
    with pytest.raises(Unavailable, match="what time"):
        await stored.timers.overdue(0, 3600)
    await stored.timers.remove_overdue(at(22, "b"), 4)
    assert stored.purged == [{"filter": NAMES.timer(HOME, "b"), "seq": 5}]


@pytest.mark.parametrize(
    ("catch_up", "server_s", "worker_s", "behind"),
    [("all", 0, 0, True), ("all", -1, 0, False), ("all", 0, -1, False), ("one", 9, 9, False), ("", 9, 9, False)],
    ids=["due", "not due by the server's clock", "not due by the worker's", "makes up for one", "single"],
)
async def test_a_tick_that_a_schedule_is_behind_with_is_given_out_at_once(
    catch_up: str, server_s: float, worker_s: float, behind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = datetime(2026, 6, 30, 12, tzinfo=UTC)
    stored, written = Stored(monkeypatch), list[tuple[str, bool]]()

    async def write(_connection: object, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> int:
        assert payload == encode_send(tick)
        written.append((subject, headers is not None))
        return 1

    monkeypatch.setattr(timers, "write", write)
    stored.now = due + timedelta(seconds=server_s)
    connection: Any = None
    clock = ManualClock(due.timestamp() + worker_s)
    tick = replace(at(12, "a"), rule="every 60" if catch_up else "", catch_up=catch_up)
    assert await JetStreamTimers(connection, NAMES, clock).arm(tick)
    fired, timer = NAMES.fired(shard_of(HOME, 4)), NAMES.timer(HOME, "a")
    assert written == [(fired, False) if behind else (timer, True)]
