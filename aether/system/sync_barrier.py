"""The sync barrier: one sync of the disk makes all durable that the server has acknowledged until it begins.

It says up to which position of the stream all is on the disk, and calls back who waits for one. What comes while a
sync runs is made durable by the next. A short sync is made in the event loop, where it costs less than to wake a
thread; when syncs take long, a thread makes them, and the loop goes on. One event loop; the thread only syncs.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeAlias

from aether.aio import joined
from aether.ids import Position
from aether.system.block_files import Identity, SyncFailed

log = logging.getLogger("aether.barrier")

SHORT_S = 0.001
"""Seconds. While the last syncs took longer on average, the thread makes them."""

MEAN_OF = 16
"""How many syncs that average is of: each new one has this part of its weight."""

CLOSE_TIMEOUT_S = 5.0
"""How long a sync may take at the end of a worker, whose disk may have stopped answering."""

LAZY_S = 0.005
"""Seconds that a waiter without a caller waits, twice at most, for a sync that others need; then one is made for it."""

Done: TypeAlias = Callable[[str], None]


class _Round(NamedTuple):
    """One sync: its waiters, the position up to which it makes commits durable, and the epoch of that position."""

    waiting: list[Done]
    until: int
    epoch: int


def _always() -> bool:
    return True


def _nothing() -> None:
    return


class SyncBarrier:
    """`Durability` by syncs: `sync` returns when all that was written before is on the disk, or raises `OSError`.

    It says of which stream that was, and `stream` says which one is there now: in another one, positions mean something
    else. A sync that failed (`SyncFailed`) is final: `failed` is called, once, and nothing more is said to be durable.
    """

    def __init__(
        self, sync: Callable[[], Identity], failed: Callable[[str], None], stream: Callable[[], Identity]
    ) -> None:
        self.position = Position(0)
        self.counts: Callable[[], bool] = _always
        """Asked after each sync: if it does not count, the barrier holds, and all who wait go on waiting."""
        self.unsure: Callable[[], None] = _nothing
        """Called when a sync could not be made and may be tried again: the files may be others, or elsewhere."""
        self._sync = sync
        self._failed = failed
        self._stream_now = stream
        self._stream = stream()
        self._loop = asyncio.get_running_loop()
        self._seen = 0
        self._epoch = 0
        self._waiting: list[Done] = []
        self._held = False
        self._due = False
        self._in_thread: _Round | None = None
        self._broken = ""
        self._lazy: asyncio.TimerHandle | None = None
        self._lazy_since = 0
        self._begun = 0
        self._mean_s = 0.0
        self._syncing: threading.Thread | None = None
        self._asked: SimpleQueue[bool] = SimpleQueue()

    def after_write(self, position: Position, done: Done) -> None:
        """Call `done("")` once a commit that the server has acknowledged is on the disk, else with the reason.

        It always takes a sync of its own time: where a stream was deleted, its positions begin anew.
        """
        self._wait(position, done)
        self._hurry()

    def after_read(self, position: Position, done: Done) -> None:
        """The same for what was read up to a position; at once when that is known to be on the disk."""
        if self._knows(position):
            done(self._broken)
            return
        self._wait(position, done)
        self._hurry()

    def after_notice(self, position: Position, done: Done) -> None:
        """The same for a notice. No caller waits for it, so it waits a while for a sync that others need."""
        if self._knows(position):
            done(self._broken)
            return
        self._wait(position, done)
        if self._lazy is None:  # it goes on when another sync has taken them along: to end it costs more than to let it
            self._wait_lazily()

    def after_question(self, position: Position, done: Done) -> None:
        """The same for a position that another program says it has read. It is believed for that program only."""
        if self._knows(position):
            done(self._broken)
            return
        self._wait(Position(0), done)
        self._hurry()

    def forget(self) -> None:
        """See `ports.Durability`."""
        self.position, self._seen = Position(0), 0
        self._epoch += 1

    def hold(self) -> None:
        """Forget what is known, and answer no waiter until `go_on`: it may be another server."""
        self.forget()
        self._held = True

    def go_on(self) -> None:
        """Syncs make durable what this server acknowledges."""
        self._held = False
        self._hurry()

    def close(self) -> Coroutine[Any, Any, bool]:
        """End; open waits end with the reason that it is not known. Awaited: whether no sync is under way any more."""
        if self._lazy is not None:
            self._lazy.cancel()
        self._broken = self._broken or "the worker has stopped"
        under_way, self._in_thread = self._in_thread, None
        self._answer([*(under_way.waiting if under_way is not None else ()), *self._waiting], self._broken)
        self._waiting = []
        if self._syncing is not None:
            self._asked.put(False)
        return joined(self._syncing, CLOSE_TIMEOUT_S)

    def _knows(self, position: int) -> bool:
        """Whether all up to a position is known to be on the disk, in the stream that is there now."""
        if position > self.position:  # most are: before they cost a look at the disk
            return False
        if self._stream_now() != self._stream:
            self.forget()
            return False
        return True

    def _wait(self, position: int, done: Done) -> None:
        if self._broken:
            done(self._broken)
            return
        self._waiting.append(done)
        if position > self._seen:
            self._seen = position

    def _hurry(self) -> None:
        if self._waiting and not self._due and self._in_thread is None and not self._held:
            self._due = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        """Sync for all who wait now."""
        self._due = False
        if self._in_thread is not None or not self._waiting or self._broken or self._held:
            return
        round_ = _Round(self._waiting, self._seen, self._epoch)
        self._waiting = []
        self._begun += 1
        if self._mean_s > SHORT_S:
            self._in_thread = round_
            self._syncing = self._syncing or self._started()
            self._asked.put(True)
            return
        self._end(round_, *self._synced())

    def _wait_lazily(self) -> None:
        self._lazy_since = self._begun
        self._lazy = self._loop.call_later(LAZY_S, self._begin_lazily)

    def _begin_lazily(self) -> None:
        self._lazy = None
        if self._waiting and self._begun != self._lazy_since:  # who waits now came later, and others hurry it on
            self._wait_lazily()
        else:
            self._begin()

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._serve, name="aether sync", daemon=True)
        thread.start()
        return thread

    def _serve(self) -> None:
        """The thread: sync whenever it is asked."""
        while self._asked.get():
            outcome, took_s = self._synced()
            with suppress(RuntimeError):  # the loop is closed: nothing waits
                self._loop.call_soon_threadsafe(self._ended_in_thread, outcome, took_s)

    def _ended_in_thread(self, outcome: Identity | Exception, took_s: float) -> None:
        round_, self._in_thread = self._in_thread, None
        if round_ is not None:
            self._end(round_, outcome, took_s)
        elif isinstance(outcome, SyncFailed):  # no other program hears of it: the kernel reports it once
            self._failed(f"it could not be synced: {outcome}")

    def _synced(self) -> tuple[Identity | Exception, float]:
        """Of which stream the sync was, or what it has raised; and how long it took."""
        began_s = time.monotonic()
        try:
            outcome: Identity | Exception = self._sync()
        except Exception as error:
            outcome = error
        return outcome, time.monotonic() - began_s

    def _end(self, round_: _Round, outcome: Identity | Exception, took_s: float) -> None:
        self._mean_s += (took_s - self._mean_s) / MEAN_OF
        why = ""
        if isinstance(outcome, Exception):
            why = f"it could not be synced: {outcome}"
            log.error("what the server has stored could not be synced to the disk", exc_info=outcome)
            if isinstance(outcome, SyncFailed):
                self._broken = self._broken or why
                self._failed(why)
                self._answer(self._waiting, why)
                self._waiting = []
            else:
                self.unsure()
        elif not self.counts():
            self._waiting = [*round_.waiting, *self._waiting]
            self.hold()
            return
        elif outcome != self._stream:
            self.forget()
            self._stream = outcome
        elif round_.epoch == self._epoch:
            self.position = Position(max(self.position, round_.until))
        self._answer(round_.waiting, why)
        self._hurry()

    def _answer(self, waiting: Iterable[Done], why: str) -> None:
        for done in waiting:
            try:
                done(why)
            except Exception:  # the others wait too
                log.exception("a receiver of a sync's outcome raised")
