"""Replay: from a snapshot and the history after it to a fold that has reached the stream's last position.

Snapshot and last commit are asked for at once; when they match, or the history is that one commit, nothing more is
read. The last position comes from the stream's leader, and a replay is complete only when it has reached it.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from aether.errors import ActorFailed, AetherError, HistoryRegressed
from aether.ids import ActorId, Position, Version
from aether.log_lines import Repeated, words
from aether.model.definition import ActorType, Scope
from aether.ports import START, EventStore, StoredCommit
from aether.runtime.fold import Fold
from aether.runtime.snapshots import Snapshot, decode_snapshot
from aether.runtime.surroundings import Surroundings
from aether.wire import Event, decode_commit

log = logging.getLogger("aether.replay")


class Replayer:
    """Replays actors of one runtime."""

    def __init__(self, around: Surroundings) -> None:
        self._store = around.event_store
        self._snapshots = around.connection.snapshots
        self._clock = around.clock
        self._counters = around.counters
        self._margin_s = around.config.command_log_margin_s
        self._note = None if around.note is None else around.note.loop
        self._halts = around.halts
        self._not_read = Repeated(log, logging.WARNING, "snapshots were not read")

    async def replay(self, actor_id: ActorId, actor_type: ActorType, scope: Scope | None) -> tuple[Fold, Version]:
        """The actor's fold at the stream's last position, and the version of the snapshot it started from.

        Raises `HistoryRegressed`, `UnreadableEvent`, `ActorFailed`, or `Unavailable` when the store cannot answer.
        """
        why = self._halts.halted(actor_id) if self._halts is not None else None
        if why is not None:
            raise ActorFailed(f"{actor_id} is not activated for a while: {why}", actor=str(actor_id))
        raw, last = await asyncio.gather(self._load(actor_id), self._store.last(actor_id))
        snapshot = decode_snapshot(raw, actor_type.fingerprint) if raw else None
        fold = Fold(actor_id, actor_type, scope)
        if raw and (snapshot is None or not self._restore(fold, snapshot, scope)):
            self._counters.snapshots_ignored += 1
            snapshot = None
        if snapshot is not None and fold.position > (last.position if last else START):
            # Both were asked for at once, so another owner may have committed and snapshotted between the answers.
            last = await self._store.last(actor_id)
        if last is None:
            if snapshot is not None:
                raise self._regressed(fold, "has no history but a snapshot")
            return fold, Version(0)
        events = decode_commit(last.payload, actor_id, last.position)
        if snapshot is not None:
            self._check(fold, last.position, events)
        await self._read(fold, snapshot, last, events)
        return fold, Version(snapshot.version if snapshot else 0)

    async def _load(self, actor_id: ActorId) -> bytes | None:
        try:
            return await self._snapshots.load(actor_id)
        except AetherError as error:
            self._not_read.again(actor=str(actor_id), error=words(error))
            return None
        except Exception:
            log.exception("a snapshot was not read", extra={"actor": str(actor_id)})
            return None

    def _restore(self, fold: Fold, snapshot: Snapshot, scope: Scope | None) -> bool:
        with self._noted(fold):
            return self._restored(fold, snapshot, scope)

    def _restored(self, fold: Fold, snapshot: Snapshot, scope: Scope | None) -> bool:
        try:
            fold.state = fold.actor_type.decode_state(bytes(snapshot.state), fold.actor_id, scope)
        except BaseException:  # users' code too: then the history says what the state is
            return False
        fold.version = Version(snapshot.version)
        fold.position = fold.read_to = Position(snapshot.position)
        fold.inboxseq, fold.parked = snapshot.inboxseq, frozenset(snapshot.parked)
        fold.agenda = snapshot.agenda
        return True

    def _check(self, fold: Fold, last_position: Position, last_events: list[Event]) -> None:
        if fold.position > last_position:
            raise self._regressed(fold, f"ends at position {last_position}, before its snapshot")
        if fold.position == last_position and fold.version != last_events[-1].version:
            raise self._regressed(fold, f"has another version at position {last_position} than its snapshot")

    async def _read(self, fold: Fold, snapshot: Snapshot | None, last: StoredCommit, events: list[Event]) -> None:
        now_s = self._clock.wall_s()
        rebuild = snapshot is not None and snapshot.command_log_until_s > now_s
        after = Position(snapshot.command_log_after) if snapshot is not None and rebuild else fold.position
        if after >= last.position:
            return
        previous = after
        if events[0].version == fold.version + 1 and after == fold.position:
            self._add(fold, events, last.position, previous, now_s)
            return
        async for commit in self._store.read(fold.actor_id, after=after, until=last.position):
            found = events if commit.position == last.position else None
            found = found or decode_commit(commit.payload, fold.actor_id, commit.position)
            self._add(fold, found, commit.position, previous, now_s)
            previous = commit.position
        if fold.position < last.position:
            raise self._regressed(fold, f"cannot be read up to position {last.position}")

    def _add(self, fold: Fold, events: list[Event], position: Position, previous: Position, now_s: float) -> None:
        if position > fold.position:
            with self._noted(fold):
                fold.apply(events, position)
            self._counters.events_replayed += len(events)
        fold.remember(events, position, previous, now_s, self._margin_s)

    @contextmanager
    def _noted(self, fold: Fold) -> Iterator[None]:
        """Users' event handlers are on the stack."""
        note = self._note
        if note is not None:
            note.begin(fold.actor_id, "", "", "")
        try:
            yield
        finally:
            if note is not None:
                note.end()

    def _regressed(self, fold: Fold, what: str) -> HistoryRegressed:
        return HistoryRegressed(f"the history of {fold.actor_id} {what}", actor=str(fold.actor_id))


async def fold_until(store: EventStore, actor_id: ActorId, actor_type: ActorType, version: int) -> Fold:
    """The actor's fold at an earlier version, from its history alone; at most as far as the history goes."""
    fold = Fold(actor_id, actor_type)
    async for commit in store.read(actor_id, after=START):
        events = decode_commit(commit.payload, actor_id, commit.position)
        wanted = [event for event in events if event.version <= version]
        if wanted:
            fold.apply(wanted, commit.position)
        if len(wanted) < len(events):
            break
    return fold
