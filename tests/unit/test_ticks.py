"""The ticks of one shard: told from where the last one was, and removed together, later."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from aether.core.backoff import Backoff
from aether.errors import InvalidCommand, Unavailable
from aether.ids import ActorId
from aether.ports import InboxBatch, InboxMessage
from aether.runtime import ticks
from aether.runtime.counters import Counters
from aether.runtime.ticks import ShardTicks, told_tick
from aether.sends import CancelSchedule, SetSchedule, encode_send
from aether.wire import TICK_COMMAND
from tests.support.pauses import Pauses

SHARD, SHARDS = 0, 1


def tick(id: str = "s", **fields: Any) -> SetSchedule:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    wanted = {"kind": "order", "key": "k", "source": "order/k", "at": at, **fields}
    return SetSchedule(name="n", id=id, command="go", position=1,
                       traceparent="trace", correlationid="together", causationid="first", **wanted)  # fmt: skip


class Bell:
    """Never rings by itself."""

    async def stop(self) -> None:
        pass


class Server:
    """Timers and inbox in one: what is given out, and what was asked."""

    def __init__(self) -> None:
        self.given: dict[int, bytes] = {}
        self.told: list[str] = []
        self.read_after: list[int] = []
        self.removed: list[int] = []
        self.during_read: Callable[[], None] = lambda: None
        self.at_once = 100
        self.refusals: list[Exception] = []
        self.unread: list[Exception] = []
        self.owned = True
        self.too_large = ""
        self.followed = 0
        self._changed = asyncio.Condition()

    def give(self, sequence: int) -> None:
        self.given[sequence] = encode_send(tick(f"s{sequence}"))

    async def follow(self, _shard: int, _rung: Callable[[], None]) -> Bell:
        self.followed += 1
        return Bell()

    async def fired(self, _shard: int, after: int) -> InboxBatch:
        self.read_after.append(after)
        if self.unread:
            raise self.unread.pop()
        found = [InboxMessage(at, payload) for at, payload in self.given.items() if at > after]
        self.during_read()
        await self._change()
        return InboxBatch(found[: self.at_once], more=len(found) > self.at_once)

    async def remove_fired(self, _shard: int, until: int) -> None:
        if self.refusals:
            raise self.refusals.pop()
        self.removed.append(until)
        self.given = {at: payload for at, payload in self.given.items() if at > until}
        await self._change()

    async def send(self, _target: int, _payload: bytes, message_id: str) -> int:
        if message_id == self.too_large:
            raise InvalidCommand("a tell is at most 9 bytes", path="args")
        self.told.append(message_id)
        await self._change()
        return len(self.told)

    async def _change(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, reached: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(reached)


async def with_ticks(work: Callable[[Server, ShardTicks], Awaitable[None]]) -> None:
    server = Server()
    timers: Any = server
    shard = ShardTicks(SHARD, SHARDS, timers, timers, lambda: server.owned, lambda: 0.0, Counters())
    running = asyncio.create_task(shard.run())
    try:
        async with asyncio.timeout(10):
            await work(server, shard)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_what_is_told_is_not_read_again_and_stays_for_a_while() -> None:
    async def work(server: Server, shard: ShardTicks) -> None:
        server.give(3)
        shard.ring()
        await server.until(lambda: len(server.told) == 1)
        server.give(7)
        shard.ring()
        await server.until(lambda: len(server.told) == 2)
        shard.ring()
        await server.until(lambda: server.read_after[-1] == 7)
        assert len(server.told) == 2
        assert server.removed == []

    await with_ticks(work)


async def test_what_is_told_is_removed_at_once_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "REMOVE_AFTER_S", 0.0)

    async def work(server: Server, shard: ShardTicks) -> None:
        server.give(3)
        server.give(5)
        shard.ring()
        await server.until(lambda: server.removed == [5])
        server.give(9)
        shard.ring()
        await server.until(lambda: server.removed == [5, 9])
        assert len(server.told) == 3

    await with_ticks(work)


async def test_after_a_connection_was_lost_it_begins_at_the_first_again() -> None:
    """A server whose power was cut may give a sequence of one that was told to another tick."""

    async def work(server: Server, shard: ShardTicks) -> None:
        server.give(3)
        shard.ring()
        await server.until(lambda: len(server.told) == 1)
        shard.connected()
        await server.until(lambda: len(server.told) == 2)

        def once() -> None:
            server.during_read = lambda: None
            shard.connected()

        server.during_read = once
        server.give(4)
        shard.ring()
        await server.until(lambda: len(server.told) == 5)
        assert server.read_after[-1] == 0
        assert server.removed == []

    await with_ticks(work)


async def test_all_that_is_due_is_told_however_much_there_is() -> None:
    async def work(server: Server, shard: ShardTicks) -> None:
        server.at_once = 2
        for sequence in range(1, 6):
            server.give(sequence)
        shard.ring()
        await server.until(lambda: len(server.told) == 5)
        assert server.read_after[-3:] == [0, 2, 4]

    await with_ticks(work)


async def test_a_worker_that_owns_the_shard_no_more_tells_nothing() -> None:
    async def work(server: Server, shard: ShardTicks) -> None:
        server.owned = False
        server.give(1)
        reads = len(server.read_after)
        shard.ring()
        await settle()
        assert (len(server.read_after), server.told) == (reads, [])

    await with_ticks(work)


async def test_a_tick_that_came_while_the_shard_was_not_ours_is_told_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that has lapsed is renewed, and no bell rings for that."""
    monkeypatch.setattr(ticks, "AGAIN", Backoff(first_s=0.0, cap_s=0.0))

    async def work(server: Server, shard: ShardTicks) -> None:
        server.owned = False
        server.give(1)
        shard.ring()
        await settle()
        assert server.told == []
        server.owned = True
        await server.until(lambda: len(server.told) == 1)

    await with_ticks(work)


@pytest.mark.parametrize("together", [4_096, 3])
async def test_what_is_due_together_is_told_in_the_order_of_the_times(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a downtime the server gives out what is past in no order."""
    monkeypatch.setattr(ticks, "SORT_TOGETHER", together)
    monkeypatch.setattr(ticks, "TELL_AT_ONCE", 2)

    async def work(server: Server, shard: ShardTicks) -> None:
        server.at_once = 2
        for sequence, minute in enumerate((5, 1, 4, 3, 0, 3, 2), 1):
            at = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
            server.given[sequence] = encode_send(tick(f"s{sequence}", at=at))
        shard.ring()
        await server.until(lambda: len(server.told) == 7)
        minutes = [told.partition("@")[2][14:16] for told in server.told]
        assert minutes == (["00", "01", "02", "03", "03", "04", "05"] if together > 7
                           else ["01", "03", "04", "05", "00", "02", "03"])  # fmt: skip
        assert server.read_after[:4] == [0, 2, 4, 6]

    await with_ticks(work)


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_further_ticks_do_not_put_off_the_removal_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(ShardTicks, "_now_s", lambda _: now_s[0])

    async def work(server: Server, shard: ShardTicks) -> None:
        for count, at_s in ((1, 0.0), (2, ticks.REMOVE_AFTER_S - 0.1), (3, ticks.REMOVE_AFTER_S + 0.1)):
            assert server.removed == []
            now_s[0] = at_s
            server.give(count)
            shard.ring()
            await server.until(lambda: len(server.told) == count)  # noqa: B023 - called at once
            await settle()
        assert server.removed == [2]

    await with_ticks(work)


async def test_what_cannot_be_removed_now_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "REMOVE_AFTER_S", 0.0)
    monkeypatch.setattr(ticks, "AGAIN", Backoff(first_s=0.0, cap_s=0.0))

    async def work(server: Server, shard: ShardTicks) -> None:
        server.refusals = [Unavailable("no server")] * 2
        server.give(3)
        shard.ring()
        await server.until(lambda: server.removed == [3])
        assert len(server.told) == 1

    await with_ticks(work)


async def test_pauses_grow_until_it_works_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticks, "REMOVE_AFTER_S", 0.0)
    pauses = Pauses()
    monkeypatch.setattr(ticks, "AGAIN", pauses)

    async def work(server: Server, shard: ShardTicks) -> None:
        for count in (1, 2):
            server.unread = [Unavailable("no server")] * 2
            server.give(count)
            shard.ring()
            await server.until(lambda: server.removed == list(range(1, count + 1)))  # noqa: B023 - called at once
        assert pauses.asked == [0, 1, 0, 1]
        assert server.followed == 1

    await with_ticks(work)


async def test_what_is_no_tick_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    async def work(server: Server, shard: ShardTicks) -> None:
        server.given[1] = encode_send(CancelSchedule(name="n", source="order/k"))
        server.given[2] = encode_send(tick(source=""))
        server.given[3] = b"?"
        server.give(4)
        shard.ring()
        await server.until(lambda: len(server.told) == 1)
        await settle()
        assert shard._counters.ticks_told == 1
        left_out = [one.__dict__["sequence"] for one in caplog.records if "cannot be told" in one.getMessage()]
        assert sorted(left_out) == [1, 2, 3]

    await with_ticks(work)


async def test_a_tick_that_the_inbox_refuses_is_left_out_and_the_others_are_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(server: Server, shard: ShardTicks) -> None:
        server.too_large = tick("s2").firing_id
        for sequence in (1, 2, 3):
            server.give(sequence)
        shard.ring()
        await server.until(lambda: len(server.told) == 2)
        await settle()
        assert server.read_after == [0]
        (left_out,) = [one for one in caplog.records if "cannot be told" in one.getMessage()]
        assert (left_out.__dict__["sequence"], shard._counters.ticks_told) == (2, 2)

    await with_ticks(work)


@pytest.mark.parametrize(
    ("fields", "command"),
    [({}, "go"), ({"kind": "room"}, TICK_COMMAND), ({"key": "j"}, TICK_COMMAND)],
    ids=["to itself", "to another kind", "to another key"],
)
def test_a_tick_goes_to_the_actor_that_has_set_its_schedule(fields: dict[str, str], command: str) -> None:
    one = tick(**fields)
    tell = told_tick(one)
    assert (str(tell.target), tell.command, tell.id, tell.source) == ("order/k", command, one.firing_id, "order/k")
    assert (tell.correlationid, tell.causationid, tell.traceparent) == ("together", "first", "trace")
    assert tell.meant == ("go", ActorId(one.kind, one.key))
