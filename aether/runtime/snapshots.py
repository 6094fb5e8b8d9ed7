"""Snapshots: what one holds, and writing them in the background. Never authoritative: the history is.

A snapshot that cannot be read, or was made by another shape of the state, is as good as none. One that is over the
store's limit is compressed: earlier versions cannot read such a one.
"""

import asyncio
import logging
import zlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import DecodeError, Raw, Struct, field
from msgspec.json import Decoder, Encoder

from aether.core.actor.agenda import Agenda
from aether.core.health import Health, Need
from aether.errors import AetherError
from aether.ids import ActorId
from aether.log_lines import Repeated, words
from aether.model.definition import ActorType
from aether.ports import NotStored, SnapshotStore
from aether.runtime.counters import Counters
from aether.runtime.fold import Fold

log = logging.getLogger("aether.snapshots")


class Snapshot(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A fold at one position.

    The command log is not in it: history after `command_log_after` gives it back, and after `command_log_until_s`
    (Unix seconds) there is nothing to give back.
    """

    version: int
    position: int
    fingerprint: str
    state: Raw
    inboxseq: int = 0
    parked: tuple[int, ...] = ()
    agenda: Agenda | None = None
    command_log_after: int = field(name="record_after")
    command_log_until_s: float = field(name="record_until_s")


JSON_BEGINS = b"{"

TOO_LARGE = "a snapshot is over the limit, though compressed: each activation reads the history"

_encoder = Encoder()
_decoder = Decoder(Snapshot)


def _decoded(raw: bytes) -> Snapshot:
    """Raises `ValueError`."""
    try:
        return _decoder.decode(raw if raw.startswith(JSON_BEGINS) else zlib.decompress(raw))
    except zlib.error as error:
        raise ValueError(f"it is neither JSON nor compressed: {error}") from None


def encode_snapshot(fold: Fold) -> bytes:
    """The fold as a snapshot. Raises ValueError when the state is not of its declared types."""
    command_log_after, command_log_until_s = (
        fold.command_log.rebuild_from(fold.position) if fold.command_log else (fold.position, 0.0)
    )
    return _encoder.encode(
        Snapshot(
            version=fold.version,
            position=fold.position,
            inboxseq=fold.inboxseq,
            parked=tuple(fold.parked),
            agenda=fold.agenda or None,
            fingerprint=fold.actor_type.fingerprint,
            state=Raw(fold.actor_type.encode_state(fold.state)),
            command_log_after=command_log_after,
            command_log_until_s=command_log_until_s,
        )
    )


def describe_snapshot(raw: bytes, actor_type: ActorType | None) -> dict[str, Any]:
    """What a stored snapshot is, for people: `version`, `position` and the bytes of its `state`, or why there is none.

    With an `actor_type`, `usable` is whether that one's workers begin from it, and not from the start of the history.
    """
    try:
        snapshot = _decoded(raw)
    except (DecodeError, ValueError) as error:
        return {"bytes": len(raw), "unreadable": str(error)}
    found = {"version": snapshot.version, "position": snapshot.position, "bytes": len(raw)}
    if actor_type is None:
        return found
    return {**found, "usable": _is_usable(raw, snapshot, actor_type)}


def _is_usable(raw: bytes, snapshot: Snapshot, actor_type: ActorType) -> bool:
    if decode_snapshot(raw, actor_type.fingerprint) is None:
        return False
    try:
        actor_type.decode_state(bytes(snapshot.state), ActorId(actor_type.kind, "snapshot"))
    except BaseException:  # users' code too
        return False
    return True


def decode_snapshot(raw: bytes, fingerprint: str) -> Snapshot | None:
    """The snapshot, or None when it cannot be read or the state's shape has changed since."""
    try:
        snapshot = _decoded(raw)
    except (DecodeError, ValueError):
        return None
    return snapshot if snapshot.fingerprint == fingerprint and snapshot.version >= 1 else None


class SnapshotWriter:
    """Writes snapshots in the background, a bounded number at once; beyond that they are left out and counted."""

    def __init__(
        self,
        store: SnapshotStore,
        counters: Counters,
        in_flight_max: int,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        health: Health,
    ) -> None:
        self._store = store
        self._counters = counters
        self._in_flight_max = in_flight_max
        self._spawn = spawn
        self._health = health
        self._not_stored = Repeated(log, logging.WARNING, "snapshots were not stored")
        self._writing: set[asyncio.Task[None]] = set()
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def room(self) -> bool:
        """Whether another snapshot may be written now."""
        return len(self._writing) < self._in_flight_max

    async def until_room(self) -> None:
        """Wait until another snapshot may be written, behind those who wait already.

        However many wait, one of them is woken when there is room, and wakes the next if there is still some.
        """
        wait_in_line = self._waiting.append
        while not self.room:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            wait_in_line(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake_one()  # it may have been this one's turn
                raise
            wait_in_line = self._waiting.appendleft
        self._wake_one()

    async def flush(self) -> None:
        """Wait until none is being written."""
        if self._writing:
            await asyncio.wait(self._writing)

    def write(self, fold: Fold) -> asyncio.Task[None] | None:
        """Encode the fold now and store it in the background. None when it was left out, which is counted.

        Never raises: without a snapshot an actor only takes longer to activate.
        """
        if not fold.actor_type.fingerprint or not self._is_folded(fold):  # of a kind that is gone there is none
            return None
        if not self.room:
            self._counters.snapshots_left_out += 1
            return None
        try:
            return self._write(fold)
        except BaseException:  # users' code too
            self._counters.snapshots_failed += 1
            log.exception("a state cannot be snapshotted", extra={"actor": str(fold.actor_id)})
            return None

    def _is_folded(self, fold: Fold) -> bool:
        """Whether the state is what its events make of it; if it is not, the next command finds it and replays."""
        checker = fold.checker
        if checker is None:
            return True
        field = checker.changed(fold.state)
        actor = str(fold.actor_id)
        if field is not None:
            self._counters.states_changed += 1
            extra = {"actor": actor, "field": field}
            log.error("a state was changed outside an event method; it is not snapshotted", extra=extra)
        elif not checker.sound:
            self._counters.snapshots_failed += 1
            log.error("a state cannot be compared with its events; it is not snapshotted", extra={"actor": actor})
        return field is None and checker.sound

    def _write(self, fold: Fold) -> asyncio.Task[None]:
        task = self._spawn(self._save(fold.actor_id, encode_snapshot(fold)))
        self._writing.add(task)
        task.add_done_callback(self._written)
        return task

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        self._wake_one()

    def _wake_one(self) -> None:
        while self.room and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _save(self, actor_id: ActorId, raw: bytes) -> None:
        try:
            if len(raw) > self._store.snapshot_bytes_max:
                raw = await asyncio.to_thread(zlib.compress, raw, 1)
            if len(raw) > self._store.snapshot_bytes_max:
                self._counters.snapshots_too_large += 1
                log.warning(TOO_LARGE, extra={"actor": str(actor_id), "bytes": len(raw)})
                return
            await self._store.save(actor_id, raw)
            self._counters.snapshots_written += 1
            self._not_stored.over()
            self._health.well(Need.SNAPSHOTS)
        except AetherError as error:
            self._counters.snapshots_failed += 1
            if isinstance(error, NotStored):
                self._health.wrong(Need.SNAPSHOTS, words(error))
            else:
                self._not_stored.again(actor=str(actor_id), error=words(error))
        except Exception:
            self._counters.snapshots_failed += 1
            log.exception("a snapshot was not stored", extra={"actor": str(actor_id)})
