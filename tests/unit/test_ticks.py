"""The ticks of one shard: told from where the last one was, and removed together, later."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from aether.ports import InboxBatch, InboxMessage
from aether.runtime import ticks
from aether.runtime.counters import Counters
from aether.runtime.ticks import ShardTicks
from aether.sends import SetSchedule, encode_send

SHARD, SHARDS = 0, 1


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
        self._changed = asyncio.Condition()

    def give(self, sequence: int) -> None:
        tick = SetSchedule(name="n", id=f"s{sequence}", at=datetime(2026, 1, 1, tzinfo=UTC), kind="order", key="k",
                           command="go", source="order/k", position=1)  # fmt: skip
        self.given[sequence] = encode_send(tick)

    async def follow(self, _shard: int, _rung: Callable[[], None]) -> Bell:
        return Bell()

    async def fired(self, _shard: int, after: int) -> InboxBatch:
        self.read_after.append(after)
        found = [InboxMessage(at, payload) for at, payload in self.given.items() if at > after]
        self.during_read()
        await self._change()
        return InboxBatch(found, more=False)

    async def remove_fired(self, _shard: int, until: int) -> None:
        self.removed.append(until)
        self.given = {at: payload for at, payload in self.given.items() if at > until}
        await self._change()

    async def send(self, _target: int, _payload: bytes, message_id: str) -> int:
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
    shard = ShardTicks(SHARD, SHARDS, server, server, lambda: True, lambda: 0.0, Counters())  # type: ignore[arg-type]
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
