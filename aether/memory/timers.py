"""The timers of schedules in memory: `Timers`. The server's clock has an alarm for each."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from aether.ids import Position
from aether.memory.faults import Dropped, FaultPoint, Late
from aether.memory.link import Link
from aether.ports import EndOfCommits, InboxBatch, InboxMessage, OverdueTimers
from aether.sends import CancelSchedule, SetSchedule, encode_send

TICKS_AT_ONCE = 256


class InMemoryTimers:
    """The timers of a namespace, as one node sees them."""

    def __init__(self, link: Link) -> None:
        self.unsynced_s = 0.0
        """For how long after it was armed a test takes a timer away."""
        self._link = link
        self._space = link.space

    async def arm(self, send: SetSchedule | CancelSchedule, end: EndOfCommits | None = None) -> bool:
        """Have its next tick given out, or have none; False when what is there is later. Raises `Unavailable`."""
        arm = partial(self._arm, send, end is not None)
        return await self._link.store(FaultPoint.TIMER, arm)

    def _arm(self, send: SetSchedule | CancelSchedule, is_end_asked: bool) -> bool:
        return self._space.timers.arm(send, Position(len(self._space.commits)) if is_end_asked else None)

    async def armed(self, kind: str = "", key: str = "") -> list[SetSchedule]:
        """The schedules whose next tick is waited for. Raises `Unavailable`."""

        def read(_: bool) -> list[SetSchedule]:
            waiting = self._space.timers.waiting()
            return [one for one in waiting if _is_of(one, kind, key)]

        return await self._link.call(FaultPoint.TIMER_READ, read)

    async def fired(self, shard: int, after: int) -> InboxBatch:
        """Some of the ticks of a shard's actors that are due. Raises `Unavailable`."""

        def read(_: bool) -> InboxBatch:
            fired = self._space.timers.fired.get(shard, {})
            found = [InboxMessage(at, encode_send(one)) for at, one in fired.items() if at > after]
            return InboxBatch(found[:TICKS_AT_ONCE], len(found) > TICKS_AT_ONCE)

        return await self._link.call(FaultPoint.TIMER_READ, read)

    async def remove_fired(self, shard: int, until: int) -> None:
        """Forget the ticks of a shard up to a sequence. Raises `Unavailable`."""
        await self._link.call(FaultPoint.TIMER_READ, lambda _: self._space.timers.remove(shard, until))

    async def overdue(self, after: int, late_s: float) -> OverdueTimers:
        """Those whose tick was due long ago. Raises `Unavailable`."""

        def read(_: bool) -> OverdueTimers:
            before_s = self._link.clock.wall_s() - late_s
            late = [one for one in self._space.timers.waiting() if one.at.timestamp() < before_s]
            return OverdueTimers([(0, one) for one in late], 0, more=False)

        return await self._link.call(FaultPoint.TIMER_READ, read)

    async def remove_overdue(self, tick: SetSchedule, sequence: int) -> None:
        """Forget a timer, and no later setting. Raises `Unavailable`."""
        await self._link.call(FaultPoint.TIMER_READ, lambda _: self._space.timers.forget(tick))

    async def now(self) -> datetime:
        """What the clock shows that all nodes have."""
        return datetime.fromtimestamp(self._link.clock.wall_s(), UTC)

    async def end(self) -> int:
        """Another number each time that something was armed or given out. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.TIMER_READ, lambda _: self._space.timers.changes)

    async def follow(self, shard: int, rung: Callable[[], None]) -> "_Bell":
        """Call back when a tick of the shard is given out."""
        return _Bell(self._link, shard, rung)


def _is_of(setting: SetSchedule, kind: str, key: str) -> bool:
    source = setting.actor_id
    return kind in ("", source.kind) and key in ("", source.key)


class _Bell:
    """Rings for the ticks of one shard."""

    def __init__(self, link: Link, shard: int, rung: Callable[[], None]) -> None:
        self._link = link
        self._shard = shard
        self._rung = rung
        self._loop = asyncio.get_running_loop()
        link.space.timers.bells[self._ring] = None
        link.on_up[rung] = None

    async def stop(self) -> None:
        """End it. Idempotent."""
        self._link.space.timers.bells.pop(self._ring, None)
        self._link.on_up.pop(self._rung, None)

    def _ring(self, shard: int) -> None:
        if not self._link.up or shard != self._shard:
            return
        match self._link.fault(FaultPoint.NOTICE):
            case Late(delay_s):
                self._link.clock.call_after(delay_s, self._rung)
            case Dropped():
                return
            case _:
                self._loop.call_soon(self._rung)
