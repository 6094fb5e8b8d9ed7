"""Relays what actors have told: from the commits of a shard that this worker owns into the inbox stream.

One task for each shard that it owns, asleep while nothing is told, and while there is nothing but tells to be stored
(`aether.runtime.relay_flight`); `aether.core.relay` says what is to be done and why it is safe. It holds no lease: the
owner of a shard relays its tells, and two that both believe to own it do no harm.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from aether.core.backoff import Backoff
from aether.core.relay import Doubt, Relay
from aether.core.relay_mark import Mark, decode_mark, encode_mark
from aether.errors import AetherError, InvalidCommand, Unavailable, UnreadableEvent
from aether.ids import Position
from aether.log_lines import Repeated, words
from aether.ports import Inbox, StoredCommit, Subscription, Tasks, Timers, WentBack
from aether.runtime.commits_end import CommitsEnd
from aether.runtime.counters import Counters
from aether.runtime.done_before import done_before
from aether.runtime.relay_elsewhere import RelayElsewhere
from aether.runtime.relay_flight import RelayFlight
from aether.runtime.relay_reading import check_again, commits_between, sends_of
from aether.sends import Send

MARK_POSITIONS = 16_384
"""A mark this far behind is written anew although nothing was relayed: the next owner reads what is after it."""

RENEW_TELLS = 65_536
"""A mark of which so much of the inbox is needed is written anew, so that what is before it can be removed."""

WAITING_MAX = 10_000
WAITING_BYTES_MAX = 2 * 1024 * 1024
"""So many tells of a shard, and bytes of their arguments, wait to be relayed; beyond that no commit of it sends more,
and no more commits are read. The last commit may go beyond it."""

SETTLE_S = 35.0
"""So long after it has begun a relayer looks what is done of that which the inbox has lost. By then no worker applies
any more what it read before: who begins anew reads again, and a handler has at most 30 s for a tell."""

LATER = 1.1
"""After so many times `scan_again_s`, and by chance up to one more, a scan is done again: not all shards at once."""

AGAIN = Backoff(first_s=0.05, cap_s=2.0)

log = logging.getLogger("aether.relay")

Sleep = Callable[[float], Awaitable[None]]


class ShardRelayer:
    """Relays the tells of one shard, from `run` until that is cancelled.

    `owns` says whether the shard is ours at this instant: without it nothing is claimed. `jitter` gives [0, 1).
    """

    def __init__(
        self,
        shard: int,
        shards: int,
        inbox: Inbox,
        owns: Callable[[], bool],
        jitter: Callable[[], float],
        sleep: Sleep = asyncio.sleep,
        counters: Counters | None = None,
        tasks: Tasks | None = None,
        timers: Timers | None = None,
    ) -> None:
        self.shard = shard
        self.marked = False
        """Whether the shard has a mark: until then no commit of it may send anything."""
        self._inbox = inbox
        self._owns = owns
        self._jitter = jitter
        self._sleep = sleep
        self._relay = Relay()
        self._end = CommitsEnd(shard, inbox)
        self._elsewhere = RelayElsewhere(self._relay, inbox, tasks, timers)
        self._flight = RelayFlight(shard, shards, inbox, self._relay, counters or Counters(), self._go_on)
        self._task_works = True
        """Whether only the task may begin anything."""
        self._written = Mark(0, 0)
        """The mark as it was written last."""
        self._connections = 0
        """How many connections there were: what was asked over an earlier one says nothing."""
        self._known_on = -1
        """Over which connection it was claimed, and seen that the commits end where they should."""
        self._asked = False
        """Whether a commit wants to send something, so that the shard needs a mark."""
        self._lost: WentBack | None = None
        """What the inbox stream has lost last, as it was known when it was claimed."""
        self._begun_s = self._now_s()
        """When it began, or had its last new connection: `SETTLE_S` counts from then."""
        self._look_due = False
        """Whether commits are to be scanned."""
        self._mark_due = False
        """Whether the mark is to be written, if it would say more than the last one."""
        self._renewals = 0
        """How often the mark is to be written anew in any case."""
        self._wake = asyncio.Event()
        """The task has something to do."""
        self._settled = asyncio.Event()
        """Who waits for a mark, for room or for all to be relayed may look again."""
        self._following: Subscription | None = None
        self._not_relayed = Repeated(log, logging.INFO, "tells were not relayed")
        self._stuck = Repeated(
            log, logging.ERROR, "tells cannot be relayed, and all of the shard that are behind them wait"
        )

    @property
    def may_send(self) -> bool:
        """Whether a commit of the shard may send something: it has a mark, and not too much waits.

        Over a new connection it was claimed, too, and seen where the commits end: where they have gone back, positions
        come again of which something stands in the inbox.
        """
        relay, known = self._relay, self._known_on == self._connections
        return known and relay.waiting < WAITING_MAX and relay.waiting_bytes < WAITING_BYTES_MAX

    @property
    def waiting(self) -> int:
        """How many tells are known and not relayed yet."""
        return self._relay.waiting

    def committed(self, position: Position, sends: Sequence[Send], replayed_to: Position) -> None:
        """A commit of ours that sends something is durable. See `Relay.committed`."""
        self._relay.committed(position, sends, replayed_to)
        self._go_on()

    def hear(self, after: Position, until: Position, commits: Sequence[StoredCommit]) -> None:
        """Of the shard's commits after a position and up to another these send something. Never raises."""
        relay = self._relay
        try:
            news = [(one.position, sends_of(one)) for one in commits if not relay.knows(one.position)]
            known = self._has_room() and relay.heard(news, after, until)
        except AetherError:  # the scan says what it is
            known = False
        if not known:
            self.look()
        elif relay.cursor - self._written.relayed >= MARK_POSITIONS:
            self._go()
        elif relay.waiting:
            self._go_on()

    def look(self) -> None:
        """Look for commits that no callback told of. Now and then, and when there may be one."""
        self._look_due = True
        self._go()

    def renew(self, end: int) -> None:
        """Write the mark anew when much of the inbox, which ends about there, is needed for its sake.

        Twice: a mark says that what comes later stands after the one before it.
        """
        if self.marked and end - self._written.since >= RENEW_TELLS:
            self._renewals = 2
            self._go()

    def connected(self) -> None:
        """On a new connection nothing is known of what was under way, or what the server still has."""
        self._connections += 1
        self._begun_s = self._now_s()
        self._relay.lost()
        self.look()

    async def ready(self) -> None:
        """Return when a commit of the shard may send something."""
        while not self.may_send:
            self._asked = True
            self._settled.clear()
            self._go()
            await self._settled.wait()

    async def flush(self) -> None:
        """Return when all that is known is relayed and the mark says so."""
        self._look_due = True
        while self.marked and (self._look_due or not self._is_flushed()):
            self._mark_due = True
            self._settled.clear()
            self._go()
            await self._settled.wait()

    async def run(self) -> None:
        """Relay for ever."""
        try:
            await self._run()
        finally:
            self._task_works = True
            following, self._following = self._following, None
            if following is not None:
                await following.stop()

    async def _run(self) -> None:
        attempt = 0
        while True:
            try:
                await self._work()
                if self.marked and self._following is None:
                    self._following = await self._inbox.follow_commits(self.shard, self.hear, self.look)
                attempt = 0
                self._not_relayed.over()
                self._stuck.over()
                self._settled.set()
                self._task_works = False
                await self._wake.wait()
            except AetherError as error:
                self._relay.lost()
                # What lasts does until the server or this version is another.
                lasts = isinstance(error, InvalidCommand | UnreadableEvent)
                (self._stuck if lasts else self._not_relayed).again(shard=self.shard, error=words(error))
                await self._sleep(AGAIN.delay_s(attempt, self._jitter()))
                attempt += 1

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _go(self) -> None:
        self._wake.set()

    def _go_on(self) -> None:
        """Have relayed what waits, by the task only where it is needed."""
        if self._task_works or self._relay.behind or not self._flight.begin():
            self._go()

    def _is_flushed(self) -> bool:
        relay = self._relay
        return (
            bool(relay.fence)
            and not relay.behind
            and not relay.waiting
            and relay.mark(self._now_s()).relayed == self._written.relayed
        )

    async def _work(self) -> None:
        self._wake.clear()
        self._task_works = True
        relay = self._relay
        await self._land()
        if not relay.fence and not await self._claim():
            return
        while True:
            if (relay.behind or self._look_due) and self._has_room():
                await self._scan()
            head = relay.head
            if head is not None:
                await self._bring(head)
            elif not self._look_due:
                break
        await self._scan_again()
        await self._mark()

    def _has_room(self) -> bool:
        """Whether so little waits that it is gone on reading commits, and sending what they send."""
        relay = self._relay
        return relay.waiting <= WAITING_MAX // 2 and relay.waiting_bytes <= WAITING_BYTES_MAX // 2

    async def _bring(self, head: Send) -> None:
        """Bring on its way what waits first, and what may go with it."""
        if self._flight.begin():
            await self._land()
        else:
            await self._elsewhere.bring(head)
        if self._has_room():
            self._settled.set()

    async def _land(self) -> None:
        """Return when nothing is on its way into the inbox. Raises what came of it when not all is stored."""
        over = self._flight.over()
        if over is not None:
            await over
        failure, self._flight.failure = self._flight.failure, None
        if failure is not None:
            raise failure

    async def _claim(self) -> bool:
        """Write the mark anew, and find out what is relayed. False when the shard has none and needs none."""
        if not self._owns():
            raise Unavailable(f"shard {self.shard} is another worker's now")
        connections = self._connections
        found = await self._inbox.relay_mark(self.shard)
        if found is None and not self.marked and not self._asked:
            return False
        lost = self._lost = await self._inbox.went_back()
        if found is not None:
            mark = await self._end.reachable(decode_mark(found.payload))
        else:
            end = await self._inbox.end_of_commits()
            if lost is None and self.marked and self._relay.cursor <= end:
                return await self._resume(connections)
            mark = Mark(end if lost is None else min(lost.after, end), 0)
        fence = await self._claimed(mark, found.sequence if found is not None else 0)
        relayed = await self._inbox.relayed(self.shard, mark.since, fence)
        places = await self._end.still_committed(relayed)
        if len(places) < len(relayed):
            self._renewals = max(self._renewals, 1)  # so that the next claim does not find them
        if connections != self._connections:
            raise Unavailable("the connection was lost meanwhile")
        self._relay.claimed(fence, mark, places)
        self._written = mark
        self.marked = True
        return True

    async def _leave_out_done(self, sends: list[Send], until: Position) -> None:
        """Of what was sent before the inbox went back: what is done already is not sent again."""
        self._mark_due = True
        lacking = self._relay.lacks(send for send in sends if send.position <= until)
        if lacking:
            await self._sleep(max(0.0, self._begun_s + SETTLE_S - self._now_s()))
            done = await done_before(self._inbox, lacking)
            extra = {"shard": self.shard, "again": len(lacking) - len(done), "done": len(done)}
            log.info("what the stream of tells has lost is relayed again", extra=extra)
            self._relay.had(done)

    async def _claimed(self, mark: Mark, expected: int) -> int:
        fence = await self._inbox.claim_relay(self.shard, encode_mark(mark), expected)
        if fence is None:
            raise Unavailable(f"another one has begun to relay the tells of shard {self.shard}")
        return fence

    async def _resume(self, connections: int) -> bool:
        """The inbox was purged or deleted by hand: write the mark anew, and relay what is not relayed."""
        relay = self._relay
        mark = Mark(relay.mark(self._now_s()).relayed, 0)
        fence = await self._claimed(mark, 0)
        if connections != self._connections:
            raise Unavailable("the connection was lost meanwhile")
        log.error("the stream of tells has lost a relay mark, which is written anew", extra={"shard": self.shard})
        relay.resumed(fence)
        self._written = mark
        return True

    async def _scan(self) -> None:
        self._look_due = False
        after, end = Position(self._relay.cursor), await self._inbox.end_of_commits()
        self._end.saw(end, after)
        if self._relay.fence:  # it was claimed over this connection
            self._known_on = self._connections
            self._settled.set()
        commits, until = await commits_between(self._inbox, self.shard, after, end)
        sent = [(one.position, sends_of(one)) for one in commits]
        if self._lost is not None and after < self._lost.until:
            await self._leave_out_done([send for _, sends in sent for send in sends], self._lost.until)
        self._relay.scanned(sent, until, is_part=until < end)
        self._look_due = self._look_due or until < end
        again_s = self._inbox.scan_again_s
        if again_s and until > after:
            found = frozenset(one.position for one in commits)
            self._relay.doubt(Doubt(after, until, found, self._now_s() + again_s))
            asyncio.get_running_loop().call_later(again_s * (LATER + self._jitter()), self._go)

    async def _scan_again(self) -> None:
        """See whether a scan that may have been answered by a replaced leader has missed commits."""
        while (doubt := self._relay.doubted(self._now_s())) is not None:
            await check_again(self._inbox, self.shard, doubt)
            self._relay.confirmed()

    async def _mark(self) -> None:
        relay = self._relay
        if not self._renewals and not self._mark_due and relay.cursor - self._written.relayed < MARK_POSITIONS:
            return
        if not self._renewals and relay.mark(self._now_s()).relayed == self._written.relayed:
            self._mark_due = False
            return
        await self._write_mark()
        while self._renewals:
            await self._write_mark()

    async def _write_mark(self) -> None:
        relay = self._relay
        mark, fence = relay.mark(self._now_s()), relay.fence
        written = await self._inbox.move_relay_mark(self.shard, encode_mark(mark), fence)
        if written is None or relay.fence != fence:
            raise Unavailable(f"another one has begun to relay the tells of shard {self.shard}")
        relay.marked(written, mark)
        self._written, self._mark_due = mark, False
        self._renewals = max(0, self._renewals - 1)
