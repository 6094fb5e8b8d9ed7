"""Every stored commit, from the server's own broadcast, with its gaps filled.

The server repeats what the stream stores, and the stream's sequence is contiguous, so a jump is a gap. Gaps are filled
in order from the store before anything later is delivered: after a jump, on every new connection, and when nothing came
for a while. The leader decides whether a gap is full. Receivers are synchronous and run in stream
order; an exception of one is logged and reaches no other subscriber. One task fills; all else runs in the connection's
callbacks.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from aether.background import Background
from aether.core.backoff import Backoff
from aether.core.sustained import Sustained
from aether.errors import AetherError, ConfigError, Unavailable
from aether.ids import ActorId, Position
from aether.jetstream.api import StoredMessage, direct_batch, last_sequence, leader_next
from aether.jetstream.connection.headers import SEQUENCE
from aether.jetstream.connection.message import Message
from aether.jetstream.connection.nats_connection import NatsConnection, StandingSubscription
from aether.jetstream.connection.session import NatsSession
from aether.jetstream.replicas import stale_s
from aether.jetstream.stored_notices import DurableNotices, Follower, commit_of
from aether.jetstream.version_cache import last_version
from aether.log_lines import Repeated, words
from aether.names import Names
from aether.ports import Durability, EventStored, StoredCommit, Subscription

RETRY = Backoff(first_s=0.05, cap_s=1.0)
LEAVE_TIMEOUT_S = 5.0
"""How long a receiver that leaves waits for a gap to be filled, and for the commits of its notices to be durable."""

log = logging.getLogger("aether.jetstream")


@dataclass(frozen=True, slots=True, kw_only=True)
class BusConfig:
    """How the bus finds commits whose notices it has missed.

    - `idle_scan_s`: without a notice for so long, the leader is asked whether anything was stored.
    - `held_max`: later commits kept while a gap is filled; beyond it they are dropped and become a gap themselves.
    """

    idle_scan_s: float = 3.0
    held_max: int = 10_000

    def __post_init__(self) -> None:
        if self.idle_scan_s <= 0:
            raise ConfigError(f"idle_scan_s must be more than 0, not {self.idle_scan_s}", setting="idle_scan_s")
        if self.held_max < 1:
            raise ConfigError(f"held_max must be at least 1, not {self.held_max}", setting="held_max")


class _Handler:
    """One receiver: the commits after `since` that match, whole or as notices."""

    def __init__(
        self,
        bus: "NATSEventBus",
        kind: str | None = None,
        key: str | None = None,
        *,
        commits: Callable[[StoredCommit], None] | None = None,
        notices: Callable[[EventStored], None] | None = None,
    ) -> None:
        self.since = 0
        self.kind = kind
        self.key = key
        self.commits = commits
        self.notices = notices
        self._bus = bus

    def wants(self, sequence: int, actor_id: ActorId) -> bool:
        """Whether a commit is for this receiver."""
        return (
            sequence > self.since
            and (self.kind is None or self.kind == actor_id.kind)
            and (self.key is None or self.key == actor_id.key)
        )

    def give(self, commit: StoredCommit) -> None:
        """Hand a commit over."""
        if self.commits is not None:
            self.commits(commit)
        if self.notices is not None:
            version = last_version(commit.payload, commit.actor_id, commit.position)
            self.notices(EventStored(commit.actor_id, version, commit.position))

    async def stop(self) -> None:
        """Hand over what was delivered, then nothing more. Idempotent."""
        await self._bus.leave(self)


class _Together:
    """Several subscriptions as one."""

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._subscriptions = subscriptions

    async def stop(self) -> None:
        await asyncio.gather(*(subscription.stop() for subscription in self._subscriptions))


class NATSEventBus:
    """`EventBus` of one namespace; it listens while it has a subscriber."""

    def __init__(
        self,
        connection: NatsConnection,
        names: Names,
        config: BusConfig | None = None,
        replicas: int = 1,
    ) -> None:
        self._durability: Durability | None = None
        self._notices = DurableNotices(self._hand_on, None)
        self._connection = connection
        self._names = names
        self._config = config or BusConfig()
        self._handlers: dict[_Handler, None] = {}
        self._changing = asyncio.Lock()
        self._standing: StandingSubscription | None = None
        self._unlisten: Callable[[], None] | None = None
        self._background = Background()
        self._filler: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._whole = asyncio.Event()
        self._last = 0
        self._heard_count = 0
        self._held: deque[tuple[int, str, bytes]] = deque()
        self._overflowed = False
        self._backwards, self._ended = Sustained(stale_s(replicas)), Sustained(stale_s(replicas))
        self._missed = Repeated(log, logging.INFO, "stored events cannot be looked for yet")

    def wait_for(self, durability: Durability) -> None:
        """Hand on what was stored once it is on the disk. To be called before the first subscription."""
        self._durability = durability
        self._notices = DurableNotices(self._hand_on, durability, self._read_again)

    @property
    def synced(self) -> bool:
        """Whether the commits of all notices are delivered and no connection was lost since."""
        return self._whole.is_set()

    async def subscribe(
        self, receive: Callable[[StoredCommit], None], *, kind: str | None = None, key: str | None = None
    ) -> Subscription:
        """Deliver commits stored from now on. Raises `Unavailable`."""
        return await self._join(_Handler(self, kind, key, commits=receive))

    async def subscribe_to_event_stored(self, receive: Callable[[EventStored], None]) -> Subscription:
        """Deliver a notice for each commit stored from now on. Raises `Unavailable`."""
        return await self._join(_Handler(self, notices=receive))

    async def follow_shards(self, shards: Sequence[int], receive: Callable[[StoredCommit], None]) -> Subscription:
        """Deliver the commits of some shards as they are stored; a lost one is not noticed. Raises `Unavailable`."""
        follower = Follower(self._names, receive, self._durability)
        standing: list[StandingSubscription] = []
        try:
            for shard in shards:
                subject = self._names.stored(self._names.events_of_shard(shard))
                standing.append(await self._connection.subscribe(subject, follower.receive))
        except BaseException:
            await _Together(standing).stop()
            raise
        return _Together(standing)

    async def close(self) -> None:
        """Stop listening, also for subscribers that are left. Idempotent."""
        self._handlers.clear()
        async with self._changing:
            await self._end()

    async def leave(self, handler: _Handler) -> None:
        """Hand over to a receiver what the server has delivered, then remove it."""
        standing = self._standing
        if handler in self._handlers and standing is not None:
            await standing.catch_up()
            # What was delivered may wait behind a gap.
            if self._connection.session is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LEAVE_TIMEOUT_S):
                        await self._whole.wait()
                        await self._notices.all_handed_on()
        self._handlers.pop(handler, None)
        async with self._changing:
            if not self._handlers:
                await self._end()

    async def _join(self, handler: _Handler) -> Subscription:
        async with self._changing:
            if self._standing is None:
                await self._begin()
            try:
                handler.since = await last_sequence(self._connection, self._names.stream)
            except BaseException:
                if not self._handlers:
                    await self._end()
                raise
            self._handlers[handler] = None
        return handler

    async def _begin(self) -> None:
        self._standing = await self._connection.subscribe(self._names.stored_all, self._hear)
        try:
            # Broadcasts of now and later are held until the filler has compared this with the first of them.
            self._last = await last_sequence(self._connection, self._names.stream)
        except BaseException:
            await self._end()
            raise
        self._unlisten = self._connection.listen(self._changed)
        self._filler = self._background.forever("aether event bus", self._fill_forever)
        self._wake.set()

    async def _end(self) -> None:
        filler, self._filler = self._filler, None
        if filler is not None:
            filler.cancel()
            await asyncio.wait((filler,))
        if self._unlisten is not None:
            self._unlisten()
        standing, self._standing = self._standing, None
        if standing is not None:
            await standing.stop()
        self._forget_held()

    def _changed(self, session: NatsSession | None) -> None:
        if session is None:
            self._forget_held()
        else:
            self._wake.set()

    def _read_again(self, first: Position) -> None:
        """Commits from this one on were not handed on: whether they are on the disk was not known."""
        self._last = min(self._last, first - 1)
        self._whole.clear()
        self._wake.set()

    def _forget_held(self) -> None:
        self._whole.clear()
        first = self._notices.forget()  # after a power cut there may be others in their places
        if first is not None:
            self._last = min(self._last, first - 1)
        self._held.clear()
        self._overflowed = False

    def _hear(self, _: NatsSession, message: Message) -> None:
        self._heard_count += 1
        sequence = message.integer(SEQUENCE)
        if self._whole.is_set() and sequence == self._last + 1:
            self._last = sequence
            self._deliver(sequence, message.subject, message.data)
        elif sequence > self._last:
            self._hold(sequence, message)
            if self._whole.is_set():
                self._whole.clear()
                self._wake.set()

    def _hold(self, sequence: int, message: Message) -> None:
        if len(self._held) < self._config.held_max:
            self._held.append((sequence, message.subject, message.data))
        else:
            self._overflowed = True

    async def _fill_forever(self) -> None:
        attempt = 0
        self._wake.set()  # what was being filled when it failed is still missing
        while True:
            heard_before = self._heard_count
            try:
                async with asyncio.timeout(self._config.idle_scan_s):
                    await self._wake.wait()
            except TimeoutError:
                if self._heard_count != heard_before:
                    continue
            self._wake.clear()
            try:
                await self._catch_up()
                attempt = 0
                self._missed.over()
            except Unavailable as error:
                self._missed.again(error=words(error))
                # Spreads the retries of many nodes; nothing depends on the value.
                await asyncio.sleep(RETRY.delay_s(attempt, random.random()))  # noqa: S311 - no secret
                attempt += 1
                self._wake.set()

    async def _catch_up(self) -> None:
        """Deliver all up to what is held or, with nothing held, up to the stream's end."""
        while True:
            session = self._connection.session
            if self._held:
                await self._fill(self._held[0][0] - 1)
            else:
                await self._fill(await self._end_of_stream())
            if session is None or session is not self._connection.session:
                raise Unavailable("the connection was lost meanwhile")
            if self._release():
                self._whole.set()
                return

    async def _end_of_stream(self) -> int:
        before = self._last
        end = await last_sequence(self._connection, self._names.stream)
        if end >= before:
            self._backwards.over()
        elif not self._backwards.observed(asyncio.get_running_loop().time()):
            raise Unavailable(f"the stream ends at {end}, before {before}: a leader that was replaced may say so")
        else:
            log.error("the stream went backwards", extra={"stream": self._names.stream, "from": before, "to": end})
            self._last = end
            if self._durability is not None:
                self._durability.forget()
            for handler in self._handlers:  # what is stored from now on is new to them, at a position that they had
                handler.since = min(handler.since, end)
        return end

    async def _fill(self, until: int) -> None:
        stream, subjects = self._names.stream, self._names.events_all
        while self._last < until:
            batch = await direct_batch(self._connection, stream, subjects, self._last + 1)
            found = batch.messages
            if not found or (not batch.more and found[-1].sequence < until):
                # The replica has no more; only the leader knows whether there is no more.
                following = await self._following((found[-1].sequence if found else self._last) + 1, until)
                if following is None or following.sequence > until:
                    self._take([(m.sequence, m.subject, m.payload) for m in found], until)
                    self._last = max(self._last, until)
                    return
                found = [*found, following]
            self._take([(m.sequence, m.subject, m.payload) for m in found], until)
            if found and found[-1].sequence > until:
                self._last = max(self._last, until)

    async def _following(self, sequence: int, until: int) -> StoredMessage | None:
        """The next commit from a sequence on, though a replaced leader lacks it: there was one at `until`, or after."""
        found = await leader_next(self._connection, self._names.stream, self._names.events_all, sequence)
        if found is None and not self._ended.observed(asyncio.get_running_loop().time()):
            raise Unavailable(f"the commits from {sequence} to {until} are not found")
        self._ended.over()
        return found

    def _take(self, found: Sequence[tuple[int, str, bytes]], until: int) -> None:
        for sequence, subject, payload in found:
            if self._last < sequence <= until:
                self._last = sequence
                self._deliver(sequence, subject, payload)

    def _release(self) -> bool:
        """Deliver what is held up to the next gap; whether nothing is missing now."""
        while self._held and self._held[0][0] <= self._last + 1:
            sequence, subject, payload = self._held.popleft()
            self._take([(sequence, subject, payload)], sequence)
        if self._held:
            return False
        overflowed, self._overflowed = self._overflowed, False
        return not overflowed

    def _deliver(self, sequence: int, subject: str, payload: bytes) -> None:
        commit = commit_of(self._names, sequence, subject, payload)
        if commit is not None:
            self._notices.add(commit)

    def _hand_on(self, commit: StoredCommit) -> None:
        sequence = commit.position
        for handler in list(self._handlers):
            if handler.wants(sequence, commit.actor_id):
                try:
                    handler.give(commit)
                except AetherError as error:
                    log.error("a stored commit cannot be read", extra={"position": sequence, "error": words(error)})
                except Exception:
                    log.exception("a receiver of stored events raised", extra={"position": sequence})
