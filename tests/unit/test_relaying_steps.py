"""What the task of a shard's relayer does not leave out: what is known, what failed meanwhile, a look during a scan."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from msgspec.structs import replace

from aether.core.relay_mark import Mark, decode_mark, encode_mark
from aether.errors import AetherError, InvalidCommand, Unavailable, UnreadableEvent
from aether.ids import Position
from aether.ports import InboxMessage, StoredCommit
from aether.runtime import relay_elsewhere
from aether.runtime import relaying as relaying_module
from aether.runtime.relaying import RENEW_TELLS
from aether.sends import CancelSchedule, Send, SetSchedule
from tests.unit.test_relay_doubts import commit_at
from tests.unit.test_relay_flight import FENCE, Marked, Relaying, settle, tell


class Scanned(Marked):
    """Calls back while it is scanned."""

    scanning: Callable[[], None] | None = None
    commits: Sequence[StoredCommit] = ()

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[bytes] = []

    async def move_relay_mark(self, _: int, payload: bytes, ___: int) -> int | None:
        self.moves.append(payload)
        return FENCE + len(self.moves)

    async def end_of_tells(self) -> int:
        return 4

    async def commits_that_send(self, _: int, __: Position, ___: Position) -> list[Any]:
        if self.scanning is not None:
            self.scanning()
        await super().commits_that_send(_, __, ___)
        return list(self.commits)


def mark_of(stream: Marked) -> Mark | None:
    return None if stream.mark is None else decode_mark(stream.mark.payload)


async def test_a_flush_waits_for_all_that_is_known() -> None:
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    relaying.relayer.committed(Position(11), [tell(number) for number in range(7)], Position(0))
    flushed = asyncio.ensure_future(relaying.relayer.flush())
    await settle()
    for number in range(6):
        stream.sent[number].set_result(6 + number)
        await settle()
    assert (len(stream.sent), flushed.done()) == (7, False)
    stream.sent[6].set_result(12)
    await asyncio.wait_for(flushed, 5)
    await relaying.stop()


async def test_after_a_tell_that_was_not_stored_one_claim_is_enough() -> None:
    stream = Scanned()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    relaying.relayer.committed(Position(11), [tell(0)], Position(0))
    stream.sent[0].set_result(None)
    stream.end = Position(11)
    stream.commits = [commit_at(11)]
    await settle()
    assert stream.claims == [0, FENCE]
    stream.sent[1].set_result(7)
    await settle()
    assert (stream.claims, relaying.relayer.waiting, len(stream.sent)) == ([0, FENCE], 0, 2)
    await relaying.stop()


async def test_a_look_during_a_scan_leads_to_another_scan() -> None:
    stream = Scanned()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    scans = stream.scans

    def look_once() -> None:
        stream.scanning = None
        relaying.relayer.look()

    stream.scanning = look_once
    relaying.relayer.look()
    await settle()
    assert stream.scans == scans + 2
    await relaying.stop()


async def test_while_too_many_tells_wait_no_commit_sends_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying_module, "WAITING_MAX", 4)
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    relaying.relayer.committed(Position(11), [tell(number) for number in range(4)], Position(0))
    before = relaying.relayer.may_send
    ready = asyncio.ensure_future(relaying.relayer.ready())
    await settle()
    assert (before, ready.done()) == (False, False)
    for number in range(4):
        stream.sent[number].set_result(6 + number)
        await settle()
    await asyncio.wait_for(ready, 5)
    assert relaying.relayer.may_send
    await relaying.stop()


async def test_a_mark_is_renewed_twice_so_that_the_last_one_stands_after_all_before() -> None:
    stream = Scanned()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    relaying.relayer.renew(RENEW_TELLS)
    await settle()
    assert [decode_mark(one).since for one in stream.moves] == [FENCE, FENCE + 1]
    await relaying.stop()


async def test_when_the_inbox_has_lost_its_marks_what_waits_is_relayed_and_nothing_twice() -> None:
    stream = Scanned()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    relaying.relayer.committed(Position(11), [tell(0)], Position(0))
    stream.sent[0].set_result(6)
    await settle()
    stream.mark = None
    relaying.relayer.committed(Position(12), [replace(tell(0), position=12)], Position(0))
    stream.sent[1].set_result(None)
    stream.end, stream.commits = Position(13), [commit_at(11), commit_at(12), commit_at(13)]
    await settle()
    assert stream.claims == [0, 0]
    assert mark_of(stream) == Mark(10, 0)
    relaying.relayer.look()
    await settle()
    for number in (2, 3):
        stream.sent[number].set_result(6 + number)
        await settle()
    assert (len(stream.sent), relaying.relayer.waiting) == (4, 0)
    await relaying.stop()


async def test_when_commits_are_lost_too_it_begins_at_their_end() -> None:
    stream = Scanned()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    relaying.relayer.committed(Position(11), [tell(0)], Position(0))
    stream.mark, stream.end = None, Position(3)
    stream.sent[0].set_result(None)
    await settle()
    assert mark_of(stream) == Mark(3, 0)
    await relaying.stop()


@pytest.mark.parametrize("lasts", [True, False])
async def test_after_the_commits_were_lost_what_new_ones_tell_is_relayed(lasts: bool) -> None:
    """It has to be so for a while: of several servers one that was replaced may have said it."""
    stream = Scanned()
    stream.scan_again_s = 0.0 if lasts else 1_000.0
    stream.mark = InboxMessage(3, encode_mark(Mark(20, 0)))
    relaying = Relaying(stream)
    await settle()
    await settle()
    assert mark_of(stream) == (Mark(10, 4) if lasts else Mark(20, 0))
    stream.end, stream.commits = Position(11 if lasts else 21), [commit_at(11 if lasts else 21)]
    relaying.relayer.look()
    await settle()
    await settle()
    assert len(stream.sent) == 1
    assert mark_of(stream) == (Mark(10, 4) if lasts else Mark(20, 0))
    await relaying.stop()


class Together:
    """Timers that have armed nothing until so many are to be armed."""

    unsynced_s = 0.0

    def __init__(self, count: int) -> None:
        self.count = count
        self.armed: list[str] = []
        self._all = asyncio.Event()

    async def arm(self, send: SetSchedule | CancelSchedule, _: object) -> bool:
        self.armed.append(f"{send.name}{send.number}")
        if len(self.armed) == self.count:
            self._all.set()
        await self._all.wait()
        return True


def schedule(name: str, number: int) -> SetSchedule:
    return SetSchedule(name=name, id=str(number), at=datetime(2026, 1, 1, tzinfo=UTC), kind="account", key="a",
                       command="expire", source="account/a", position=11, number=number)  # fmt: skip


async def test_schedules_that_wait_one_behind_the_other_are_armed_together() -> None:
    stream, timers = Marked(), Together(3)
    relaying = Relaying(stream)
    relaying.relayer._elsewhere._timers = cast(Any, timers)
    await asyncio.wait_for(relaying.ready, 5)
    cancelled = CancelSchedule(name="c", source="account/a", position=11, number=3)
    sends: list[Send] = [schedule("a", 0), schedule("b", 1), schedule("a", 2), cancelled, tell(4), schedule("d", 5)]
    relaying.relayer.committed(Position(11), sends, Position(0))
    await settle()
    assert timers.armed == ["b1", "a2", "c3"]
    await settle()
    stream.sent[0].set_result(6)
    await settle()
    await settle()
    assert (timers.armed[3:], relaying.relayer.waiting) == (["d5"], 0)
    await relaying.stop()


async def test_a_schedule_that_was_not_armed_is_armed_again_with_those_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_elsewhere, "ARM_AT_ONCE", 2)
    stream, timers = Scanned(), Together(1)
    relaying = Relaying(stream)
    relaying.relayer._elsewhere._timers = cast(Any, timers)
    await asyncio.wait_for(relaying.ready, 5)
    failures = [Unavailable("for a test")]
    arm = timers.arm

    async def fails_once(send: SetSchedule | CancelSchedule, _: object) -> bool:
        if send.number == 1 and failures:
            raise failures.pop()
        return await arm(send, None)

    timers.arm = fails_once  # type: ignore[method-assign]  # what a test changes
    sends = [schedule(name, number) for number, name in enumerate("abc")]
    stream.end, stream.commits = Position(11), [commit_at(11, sends)]
    relaying.relayer.committed(Position(11), sends, Position(0))
    for _ in range(4):
        await settle()
    assert (timers.armed, relaying.relayer.waiting) == (["a0", "a0", "b1", "c2"], 0)
    await relaying.stop()


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (InvalidCommand("a message is at most 4 bytes, this is 5"), "ERROR"),  # another server takes less than before
        (UnreadableEvent("it sends a 'later', which this version does not know", actor="a/b", position=7), "ERROR"),
        (Unavailable("the connection was lost"), "INFO"),
    ],
    ids=["too large", "unreadable", "lost"],
)
async def test_what_lasts_until_something_is_done_about_it_is_logged_as_an_error(
    error: AetherError, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = Scanned()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    relaying.relayer.committed(Position(11), [tell(0)], Position(0))
    with caplog.at_level("INFO", "aether.relay"):
        stream.sent[0].set_exception(error)
        await settle()
    [line] = caplog.records
    assert (line.levelname, line.__dict__["error"]) == (level, str(error))
    await relaying.stop()
