"""What a runtime does with tells: for each shard that it serves it relays what was told, and applies what comes.

It owns the relayers and inboxes of its shards, their tasks, and one task that looks now and then whether something came
that no broadcast told of.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle

from aether.background import Background
from aether.core.health import Need
from aether.errors import AetherError, Unavailable
from aether.ids import ActorId, Position
from aether.log_lines import Repeated, words
from aether.ports import Delivery, Inbox, Subscription, Timers
from aether.runtime.dead_letter_rows import DeadLetterCount, DeadLetterRows
from aether.runtime.inbox_purge import InboxPurge
from aether.runtime.inbox_reading import read_for_ever
from aether.runtime.overdue_ticks import OverdueTicks
from aether.runtime.relaying import ShardRelayer
from aether.runtime.shard_inbox import ShardInbox
from aether.runtime.surroundings import Surroundings
from aether.runtime.tell_line import TellRoom
from aether.runtime.ticks import ShardTicks
from aether.sends import Send, SetSchedule
from aether.waiting_tells import WaitingTells
from aether.wire import SENDS_FORMAT, TELLS_FORMAT

LOOK_EVERY_S = 5.0
"""How often tells that have had no answer are handed over again, and what is applied is written down."""

LOOK_PARTS = 10
"""In so many parts, so that not all shards read and write at once: it would keep other commands waiting."""

SEARCH_EVERY_S = 30.0
"""How often it is looked for commits and tells. Who follows them notices what it misses, so it finds nothing."""

PURGE_EVERY_S = 60.0
"""How often it is looked whether the inbox has grown so much (`LOOK_TELLS`) that it is to be shortened."""

OVERDUE_FIRST_S = 300.0
OVERDUE_EVERY_S = 3600.0
"""How often it is looked for ticks that the server has not given out."""

FLUSH_TIMEOUT_S = 1.0
"""How long a shard that is left waits for its tells to be relayed; its next owner relays the rest."""

log = logging.getLogger("aether.tells")


@dataclass(slots=True, eq=False)
class _Shard:
    """What is done for one shard."""

    relayer: ShardRelayer
    inbox: ShardInbox
    ticks: ShardTicks | None = None
    relaying: "asyncio.Task[None] | None" = None
    reading: "asyncio.Task[None] | None" = None
    ticking: "asyncio.Task[None] | None" = None
    bell: Subscription | None = None
    is_left: bool = False

    def search(self) -> None:
        """Look for what no broadcast told of."""
        self.inbox.ring()
        self.relayer.look()
        if self.ticks is not None:
            self.ticks.ring()


class Telling:
    """The tells of one runtime: those that come are given to `receive`."""

    def __init__(self, inbox: Inbox, around: Surroundings, receive: Callable[[Delivery], None]) -> None:
        self.has_tasks = around.tasks is not None
        self.has_timers = around.timers is not None
        self.tell_bytes_max = inbox.tell_bytes_max
        self._inbox = inbox
        self._receive = receive
        self._shards = shards = around.connection.shards
        self._clock = clock = around.clock
        self._lease = around.lease
        self._config = config = around.config
        self._counters = around.counters
        self._health = around.health
        self._jitter = jitter = around.jitter
        self._tasks = tasks = around.tasks
        self._timers = around.timers
        self._serving: dict[int, _Shard] = {}
        self._purge = InboxPurge(inbox, tasks, shards)
        self._dead_letters = DeadLetterRows(inbox, clock, jitter)
        self._dead_count = DeadLetterCount(inbox, shards)
        self._room = TellRoom()
        self._epoch = inbox.epoch
        self._background = Background()
        self._unlisten = inbox.on_connected(self._connected)
        self._not_purged = Repeated(log, logging.INFO, "the inbox cannot be shortened now")
        self._not_looked = Repeated(log, logging.INFO, "tells cannot be looked for now")
        self._background.forever("aether tells", self._look_for_ever)
        if config.inbox_purge and tasks is not None:
            self._background.forever("aether inbox purge", self._purge_for_ever)
        self._background.forever("aether dead letters", self._dead_letters.run)
        if self._timers is not None:
            self._background.forever("aether overdue ticks", partial(self._tell_overdue_for_ever, self._timers))

    def can_tell(self) -> bool:
        """Whether every member of the namespace knows tells."""
        return self._lease.stored_format >= TELLS_FORMAT

    def can_schedule(self) -> bool:
        """Whether every member of the namespace knows schedules and tasks."""
        return self._lease.stored_format >= SENDS_FORMAT

    # ------------------------------------------------------------------------------------------ shards

    def serve(self, shard: int) -> None:
        """Begin to relay and to apply, in the background."""
        self.abandon(shard)

        def owns() -> bool:
            return self._lease.valid(shard, self._clock.boot_s())

        relayer = ShardRelayer(
            shard,
            self._shards,
            self._inbox,
            owns,
            self._jitter,
            counters=self._counters,
            tasks=self._tasks,
            timers=self._timers,
        )
        served = self._serving[shard] = _Shard(relayer, self._new_inbox(shard))
        served.relaying = self._background.forever(f"aether relays of shard {shard}", relayer.run)
        served.reading = self._follow_for_ever(shard, served)
        if self._timers is not None:
            ticks = served.ticks = ShardTicks(
                shard, self._shards, self._timers, self._inbox, owns, self._jitter, self._counters
            )
            served.ticking = self._background.forever(f"aether ticks of shard {shard}", ticks.run)

    def _new_inbox(self, shard: int) -> ShardInbox:
        return ShardInbox(
            shard,
            self._shards,
            self._inbox,
            receive=self._receive,
            clock=self._clock,
            config=self._config,
            counters=self._counters,
            dead_letters=self._dead_letters,
            jitter=self._jitter,
            may_apply=self.can_tell,
            room=self._room,
        )

    async def leave(self, shard: int) -> None:
        """Apply nothing more, so that the actors of the shard come to rest; what they have told is relayed on."""
        served = self._serving.get(shard)
        if served is None:
            return
        served.is_left = True
        served.inbox.close()
        _cancel(served.reading, served.ticking)
        with suppress(AetherError, TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await served.inbox.write_mark()

    def sends(self, shard: int) -> bool:
        """Whether an actor of the shard has ever told something."""
        served = self._serving.get(shard)
        return served is not None and served.relayer.marked

    async def flush(self, shard: int) -> None:
        """Return when what the shard's actors have told is relayed and its mark says so, or it takes too long."""
        served = self._serving.get(shard)
        if served is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT_S):
                await served.relayer.flush()

    def abandon(self, shard: int) -> None:
        """Stop all that is done for the shard, at once."""
        served = self._serving.pop(shard, None)
        if served is None:
            return
        served.inbox.close()
        _cancel(served.relaying, served.reading, served.ticking)
        for bell in (served.bell, served.ticks.bell if served.ticks is not None else None):
            if bell is not None:
                self._background.once("aether bell", bell.stop())

    async def close(self, timeout_s: float) -> None:
        """End."""
        self._unlisten()
        bells = [served.bell for served in self._serving.values() if served.bell is not None]
        for shard in list(self._serving):
            self.abandon(shard)
        for bell in bells:  # here: a task that is cancelled before it begins does nothing
            await bell.stop()
        await self._background.stop(timeout_s)

    # ------------------------------------------------------------------------------------------ machines

    def may_send(self, shard: int) -> bool:
        """Whether a commit of the shard may send something now."""
        served = self._serving.get(shard)
        return served is not None and served.relayer.may_send

    async def ready(self, shard: int) -> bool:
        """Return when a commit of the shard may send something; False when the shard is not served any more."""
        served = self._serving.get(shard)
        if served is None:
            return False
        await served.relayer.ready()
        return self._serving.get(shard) is served

    def committed(self, shard: int, position: Position, sends: Sequence[Send], replayed_to: Position) -> None:
        """A commit of ours that sends something is durable; its actor's history was read up to `replayed_to`."""
        served = self._serving.get(shard)
        if served is not None:
            served.relayer.committed(position, sends, replayed_to)

    def arm_again(self, settings: Sequence[SetSchedule]) -> None:
        """Have these ticks given out, for which their actor waits, unless a later one is armed. Best effort."""
        if self._timers is not None:
            self._background.once("aether overdue schedules", _arm_again(self._timers, settings))

    @property
    def waiting(self) -> tuple[int, int]:
        """How many tells are not relayed yet, and how many were read and are not applied."""
        served = self._serving.values()
        return sum(one.relayer.waiting for one in served), sum(one.inbox.waiting for one in served)

    @property
    def dead_letters(self) -> int:
        """How many dead letters the actors of the shards that are served have, as it was read last."""
        return self._dead_count.of_shards(self._serving)

    def waiting_tells(self) -> list[WaitingTells]:
        """Which tells wait, actor by actor."""
        return [line for served in self._serving.values() for line in served.inbox.lines()]

    def give_up(self, shard: int, actor_id: ActorId, until: int | None) -> int:
        """Have what waits for an actor given up, up to this sequence or all; how many. Raises `Unavailable`."""
        served = self._serving.get(shard)
        if served is None:
            raise Unavailable(f"{actor_id} is not served here now")
        return served.inbox.give_up(actor_id, until)

    def look(self) -> None:
        """Look in all shards for what no broadcast told of."""
        for served in self._serving.values():
            served.search()

    # ------------------------------------------------------------------------------------------ in the background

    async def _follow(self, shard: int, served: _Shard) -> None:
        if served.bell is None:
            while True:
                try:
                    served.bell = await self._inbox.follow(shard, served.inbox.hear, served.inbox.ring)
                    break
                except AetherError as error:
                    self._not_looked.again(shard=shard, error=words(error))
                    await asyncio.sleep(LOOK_EVERY_S)
        await read_for_ever(served.inbox, self._jitter)

    def _connected(self) -> None:
        self._dead_count.forget()
        if self._inbox.epoch != self._epoch:
            self._begin_anew()
        for served in self._serving.values():
            served.relayer.connected()
            served.inbox.connected()
            if served.ticks is not None:
                served.ticks.connected()
        if self._counters.tells_applied or self._counters.tells_relayed or self.waiting != (0, 0):
            self._background.once("aether inbox end", self._see_whether_it_went_back())

    async def _see_whether_it_went_back(self) -> None:
        with suppress(AetherError):  # it is looked again before anything is stored
            await self._inbox.went_back()

    def _begin_anew(self) -> None:
        """What was read of the inbox may be gone, and its sequences may come again for others: read it as a new owner.

        Actors skip what they had.
        """
        self._epoch = self._inbox.epoch
        for shard, served in self._serving.items():
            if served.is_left:
                continue
            served.inbox.close()
            _cancel(served.reading)
            if served.bell is not None:
                self._background.once("aether bell", served.bell.stop())
            served.inbox, served.bell = self._new_inbox(shard), None
            served.reading = self._follow_for_ever(shard, served)

    def _follow_for_ever(self, shard: int, served: _Shard) -> "asyncio.Task[None]":
        return self._background.forever(f"aether inbox of shard {shard}", lambda: self._follow(shard, served))

    async def _look_for_ever(self) -> None:
        ends, search_s = (-1, -1, -1), self._clock.boot_s() + LOOK_EVERY_S
        unsearched: set[int] = set()
        for part in cycle(range(LOOK_PARTS)):
            await asyncio.sleep(LOOK_EVERY_S / LOOK_PARTS)
            if self._inbox.epoch != self._epoch:
                self._begin_anew()
            for shard, served in self._serving.items():
                if shard % LOOK_PARTS == part:
                    served.inbox.look()
                    if shard in unsearched:
                        served.search()
                        unsearched.discard(shard)
            if self._clock.boot_s() < search_s:
                continue
            try:
                before, ends = ends, await self._ends()
            except AetherError as error:
                if error.details.get("gone"):
                    self._health.wrong(Need.TELLS, words(error))
                self._not_looked.again(error=words(error))
                continue
            self._not_looked.over()
            self._health.well(Need.TELLS)
            search_s = self._clock.boot_s() + SEARCH_EVERY_S
            if ends != before:
                unsearched |= self._serving.keys()
                with suppress(AetherError):  # it is looked again
                    await self._dead_count.read()

    async def _purge_for_ever(self) -> None:
        """Write marks anew that keep too much; as the owner of shard 0, shorten the inbox."""
        while True:
            await asyncio.sleep(PURGE_EVERY_S)
            try:
                end = await self._inbox.end_of_tells()
                for served in self._serving.values():
                    served.relayer.renew(end)
                if 0 in self._serving:
                    self._counters.inbox_removed += await self._purge.go_on(end, self._clock.boot_s())
                self._not_purged.over()
            except AetherError as error:
                self._not_purged.again(error=words(error))

    async def _tell_overdue_for_ever(self, timers: Timers) -> None:
        """Look at the clock; as the owner of shard 0, tell ticks that the server has not given out."""
        overdue, delay_s = OverdueTicks(self._shards, timers, self._inbox), OVERDUE_FIRST_S
        while True:
            with suppress(AetherError):
                await overdue.check_clock(self._clock.wall_s)
            await asyncio.sleep(delay_s)
            delay_s = OVERDUE_EVERY_S
            if 0 in self._serving:
                with suppress(AetherError):  # it is looked again
                    self._counters.ticks_told += await overdue.tell()

    async def _ends(self) -> tuple[int, int, int]:
        """The ends of the streams of commits, tells and timers. Raises `Unavailable`."""
        timers = await self._timers.end() if self._timers is not None else 0
        return await self._inbox.end_of_commits(), await self._inbox.end_of_tells(), timers


def _cancel(*tasks: "asyncio.Task[None] | None") -> None:
    for task in tasks:
        if task is not None:
            task.cancel()


async def _arm_again(timers: Timers, settings: Sequence[SetSchedule]) -> None:
    with suppress(AetherError):  # its actor is activated again
        for setting in settings:
            await timers.arm(setting)
