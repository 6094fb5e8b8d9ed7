"""How much of what was told a relayer has in memory, and when a commit may send more."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from aether.core.relay_mark import Mark, Place, encode_mark
from aether.ids import Position
from aether.ports import InboxMessage, StoredCommit, WentBack
from aether.runtime.relaying import WAITING_BYTES_MAX
from aether.sends import CancelTask
from aether.tells import Tell
from tests.unit.test_relay_doubts import commit_at
from tests.unit.test_relay_flight import FENCE, Marked, Relaying, settle, tell
from tests.unit.test_relayed_after_loss import WentAway

HALF = Raw(b'{"text":"%s"}' % (b"x" * (WAITING_BYTES_MAX // 2)))


def large(number: int, position: int = 11) -> Tell:
    return replace(tell(number), args=HALF, position=position)


class InParts(Marked):
    """Each commit of its shard is as large as what is read at once; `read` says from where and how many were read."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.mark = InboxMessage(3, encode_mark(Mark(10, 0)))
        self.end = Position(10 + count)
        self.parts: list[tuple[int, int]] = []
        self.at_once = 1
        self.stands: list[tuple[int, Place]] = []
        self.commits = [commit_at(11 + number, [large(0), large(0)]) for number in range(count)]

    async def relayed(self, _: int, __: int, mark: int) -> list[Any]:
        return self.stands

    async def commits_that_send(self, _: int, after: Position, until: Position) -> list[Any]:
        found = [one for one in self.commits if after < one.position <= until]
        if after < until:
            self.parts.append((after, until))
        return found[: self.at_once]


async def test_while_too_many_bytes_wait_no_commit_sends_more() -> None:
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    relaying.relayer.committed(
        Position(11), [large(0), CancelTask(id="t", source="account/a", position=11)], Position(0)
    )
    allowed = [relaying.relayer.may_send]
    relaying.relayer.committed(Position(12), [large(1, 12)], Position(0))
    allowed.append(relaying.relayer.may_send)
    assert allowed == [True, False]
    ready = asyncio.ensure_future(relaying.relayer.ready())
    await settle()
    assert not ready.done()
    stream.sent[0].set_result(6)
    await settle()
    stream.sent[1].set_result(7)
    await asyncio.wait_for(ready, 5)
    assert relaying.relayer.may_send
    await relaying.stop()


async def test_no_more_commits_are_read_than_there_is_room_for() -> None:
    stream = InParts(5)
    relaying = Relaying(stream)
    for number in range(10):
        await settle()
        assert (len(stream.sent), len(stream.parts)) == (number + 1, number // 2 + 1)
        stream.sent[number].set_result(FENCE + 1 + number)
    await asyncio.wait_for(relaying.ready, 5)
    assert stream.parts == [(10 + number, 15) for number in range(5)]
    assert (relaying.relayer.waiting, relaying.relayer.may_send) == (0, True)
    await relaying.stop()


async def test_before_all_is_read_a_commit_of_its_own_waits_for_what_is_before_it() -> None:
    stream = InParts(2)
    relaying = Relaying(stream)
    await settle()
    relaying.relayer.committed(Position(12), [large(0, 12), large(0, 12)], Position(0))
    assert relaying.relayer.waiting == 2
    for number in range(4):
        await settle()
        stream.sent[number].set_result(FENCE + 1 + number)
    await asyncio.wait_for(relaying.ready, 5)
    assert len(stream.sent) == 4
    await relaying.stop()


async def test_it_is_read_on_behind_a_part_of_which_all_is_done() -> None:
    stream = InParts(2)
    stream.stands = [(1, Place(11, 0)), (2, Place(11, 1))]
    relaying = Relaying(stream)
    relaying.ready.cancel()
    await settle()
    assert (stream.parts, len(stream.sent)) == ([(10, 12), (11, 12)], 1)
    await relaying.stop()


async def test_a_scan_that_is_done_again_may_come_in_parts() -> None:
    stream = InParts(2)
    stream.scan_again_s, stream.at_once = 0.001, 2
    stream.go_on.set()
    relaying = Relaying(stream)
    await settle()
    stream.at_once = 1
    for number in range(4):
        await settle()
        stream.sent[number].set_result(FENCE + 1 + number)
    async with asyncio.timeout(5):
        while len(stream.parts) < 3:
            await relaying.relayer.flush()
    assert stream.parts[:3] == [(10, 12), (10, 12), (11, 12)]
    assert stream.claims == [3], "nothing was missed"
    await relaying.stop()


async def test_what_is_heard_beyond_the_room_is_read_later() -> None:
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    scans = stream.scans
    relaying.relayer.committed(Position(11), [large(0), large(1), large(2)], Position(0))
    stream.end = Position(12)
    news: Sequence[StoredCommit] = [commit_at(12)]
    relaying.relayer.hear(Position(10), Position(12), news)
    await settle()
    assert (relaying.relayer.waiting, stream.scans) == (3, scans)
    for number in range(3):
        stream.sent[number].set_result(6 + number)
    await settle()
    await settle()
    assert stream.scans > scans
    await relaying.stop()


async def test_over_a_new_connection_nothing_is_sent_before_it_is_known_where_the_commits_end() -> None:
    """They may have gone back: the next commit may have a position that stands for another one in the inbox."""
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    stream.fails = 2
    relaying.relayer.connected()
    at_once = relaying.relayer.may_send
    await asyncio.wait_for(relaying.relayer.ready(), 5)
    assert (stream.fails, at_once, relaying.relayer.may_send) == (0, False, True)
    await relaying.stop()


async def test_so_it_is_where_the_inbox_has_lost_its_marks() -> None:
    stream = Marked()
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    await settle()
    stream.mark = None
    relaying.relayer.connected()
    await asyncio.wait_for(relaying.relayer.ready(), 5)
    await relaying.stop()


class Slow(WentAway):
    """Says after a while where the commits end."""

    async def end_of_commits(self) -> Position:
        await asyncio.sleep(0)
        return await super().end_of_commits()


async def test_while_it_waits_until_it_is_known_what_was_done_commits_may_send() -> None:
    stream = Slow()
    stream.mark = InboxMessage(2, encode_mark(Mark(10, 0)))
    stream.end, stream.lost = Position(12), WentBack(Position(10), Position(12))
    stream.commits = [commit_at(11)]
    settled = asyncio.Event()

    async def sleep(_: float) -> None:
        await settled.wait()

    relaying = Relaying(stream)
    relaying.relayer._sleep = sleep
    await asyncio.wait_for(relaying.ready, 5)
    assert (relaying.relayer.may_send, stream.asked, stream.sent) == (True, [], [])
    settled.set()
    await settle()
    await settle()
    assert len(stream.sent) == 1
    await relaying.stop()


class LosesConnection(Marked):
    """Its connection is another one when it is asked where the commits end; `allowed` says what may be sent before."""

    def __init__(self) -> None:
        super().__init__()
        self.lose: Callable[[], None] = lambda: None
        self.may_send: Callable[[], bool] = lambda: False
        self.allowed: list[bool] = []

    async def end_of_commits(self) -> Position:
        self.lose()
        return await super().end_of_commits()

    async def claim_relay(self, shard: int, payload: bytes, expected: int) -> int | None:
        self.allowed.append(self.may_send())
        return await super().claim_relay(shard, payload, expected)


async def test_where_the_commits_end_says_nothing_without_a_claim_over_that_connection() -> None:
    stream = LosesConnection()
    stream.mark = InboxMessage(3, encode_mark(Mark(5, 0)))
    relaying = Relaying(stream)

    def lose_once() -> None:
        stream.lose = lambda: None
        relaying.relayer.connected()

    stream.lose, stream.may_send = lose_once, lambda: relaying.relayer.may_send
    await asyncio.wait_for(relaying.ready, 5)
    assert (stream.allowed, relaying.relayer.may_send) == ([False, False], True)
    await relaying.stop()
