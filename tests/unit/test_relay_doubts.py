"""A scan that a replaced leader of a replicated stream has answered: no commit is passed for good on its word."""

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Any, cast

import pytest
from msgspec.structs import replace

from aether.core.relay import Doubt, Relay
from aether.core.relay_mark import Mark, decode_mark, encode_mark
from aether.errors import Unavailable
from aether.ids import ActorId, Position
from aether.jetstream.inbox import JetStreamInbox
from aether.jetstream.replicas import STALE_LEADER_S
from aether.names import Names
from aether.ports import InboxMessage, StoredCommit
from aether.sends import Send, encode_sends
from aether.wire import encode_commit, instant, new_event
from tests.unit.test_relay_flight import FENCE, Marked, Relaying, settle, tell

MISSED = 8
END = 10


def commit_at(position: int, sends: Sequence[Send] = ()) -> StoredCommit:
    event = new_event(version=1, source="/one/account/a", type="Told", time=instant(0), data=b"{}")
    payload = encode_commit([replace(event, sends=encode_sends(sends or [tell(0)]))])
    return StoredCommit(ActorId("account", "a"), Position(position), payload)


class Replicated(Marked):
    """Three servers. The first scan is answered by a leader that was replaced before the last commits were stored."""

    def __init__(self, scan_again_s: float) -> None:
        super().__init__()
        self.scan_again_s = scan_again_s
        self.mark = InboxMessage(3, encode_mark(Mark(5, 0)))
        self.commits: Sequence[StoredCommit] = [commit_at(MISSED)]
        self.marks: list[int] = []
        self.told = asyncio.Event()
        self.asked = asyncio.Event()
        self.ends = list[int]()
        self.claimed = list[int]()
        self.away = False

    async def relay_mark(self, shard: int) -> InboxMessage | None:
        if self.away:
            raise Unavailable("for a test")
        return await super().relay_mark(shard)

    async def end_of_tells(self) -> int:
        return 4

    async def claim_relay(self, shard: int, payload: bytes, expected: int) -> int | None:
        self.claimed.append(decode_mark(payload).relayed)
        return await super().claim_relay(shard, payload, expected)

    async def end_of_commits(self) -> Position:
        if not self.ends:
            return await super().end_of_commits()
        self.asked.set()
        return Position(self.ends.pop(0))

    async def commits_that_send(self, _: int, after: Position, until: Position) -> list[Any]:
        self.scans += 1
        return [one for one in self.commits if after < one.position <= until and self.scans > 1]

    async def move_relay_mark(self, _: int, payload: bytes, ___: int) -> int | None:
        self.mark = InboxMessage(FENCE, payload)
        self.marks.append(decode_mark(payload).relayed)
        return FENCE

    def relay(self, _: int, __: int, ___: bytes, mark: int) -> Awaitable[int | None]:
        self.told.set()
        stored: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        stored.set_result(mark + 1)
        return stored


async def test_a_mark_does_not_pass_a_scan_that_may_have_missed_a_commit() -> None:
    stream = Replicated(3600.0)
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    relaying.relayer.hear(Position(END), Position(100_000), [])
    relaying.relayer.renew(1_000_000)
    await settle()
    await asyncio.wait_for(relaying.relayer.flush(), 5)
    assert set(stream.marks) == {5}
    await relaying.stop()


async def test_a_commit_that_was_missed_is_relayed_and_the_mark_goes_on_after_it() -> None:
    stream = Replicated(0.001)
    relaying = Relaying(stream)
    async with asyncio.timeout(5):
        await stream.told.wait()
        while not stream.marks or stream.marks[-1] < END:
            await relaying.relayer.flush()
    assert len(stream.claims) == 2
    await relaying.stop()


async def test_a_scan_that_has_missed_nothing_is_done_again_once() -> None:
    stream = Replicated(0.001)
    stream.commits = []
    relaying = Relaying(stream)
    async with asyncio.timeout(5):
        await relaying.ready
        while not stream.marks or stream.marks[-1] < END:
            await relaying.relayer.flush()
    assert len(stream.claims) == 1
    await relaying.stop()


def test_what_stands_in_the_inbox_of_a_commit_that_may_be_missed_is_read_by_the_next_claim() -> None:
    relay = Relay()
    relay.claimed(20, Mark(5, 0), [])
    relay.scanned([], 10)
    relay.doubt(Doubt(5, 10, frozenset(), 1.0))
    relay.scanned([], 15)
    relay.doubt(Doubt(10, 15, frozenset(), 2.0))
    assert relay.mark(9.0) == Mark(5, 20)
    assert relay.doubted(0.9) is None
    assert relay.doubted(1.0) == Doubt(5, 10, frozenset(), 1.0)
    relay.confirmed()
    assert relay.doubted(1.0) is None
    assert relay.mark(9.0).relayed == 10
    relay.claimed(21, Mark(5, 0), [])
    relay.scanned([], 15)
    assert relay.mark(9.0).relayed == 15


@pytest.mark.parametrize(("replicas", "again_s"), [(1, 0.0), (3, STALE_LEADER_S)])
def test_only_a_replicated_stream_is_scanned_again(replicas: int, again_s: float) -> None:
    class Unused:
        session = None

        def listen(self, _: object) -> object:
            return None

    assert JetStreamInbox(cast(Any, Unused()), Names("one", 8), replicas).scan_again_s == again_s


async def test_an_end_that_only_a_replaced_leader_has_given_moves_no_mark_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For as long as it might have been one nothing else was heard: the claim asks once more."""
    stream, now_s = Replicated(25.0), 0.0
    relaying = Relaying(stream)
    await asyncio.wait_for(relaying.ready, 5)
    monkeypatch.setattr(relaying.relayer, "_now_s", lambda: now_s)
    stream.ends, stream.away = [3], True
    relaying.relayer.look()
    await asyncio.wait_for(stream.asked.wait(), 5)
    now_s, stream.away = 60.0, False
    await asyncio.wait_for(relaying.relayer.flush(), 5)
    assert stream.claimed == [5, 5]
    assert not [one for one in caplog.records if one.levelno >= logging.ERROR]
    await relaying.stop()
