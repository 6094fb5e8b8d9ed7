"""The sync barrier: one sync of the disk makes all durable that the server has acknowledged until it begins.

It says up to which position of the stream all is on the disk, and calls back who waits for one. What comes while a
sync runs is made durable by the next. A short sync is made in the event loop, where it costs less than to wake a
thread; when syncs take long, a thread makes them, and the loop goes on. One event loop; the thread only syncs.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from aether.ids import Position
from aether.system.block_files import SyncFailed

log = logging.getLogger("aether.barrier")

SHORT_S = 0.001
"""Syncs that take longer are made in the thread."""

TRY_AGAIN = 64
"""After so many syncs in the thread one is made in the loop again, which alone says how long it takes."""

CLOSE_TIMEOUT_S = 5.0
"""How long a sync may take at the end of a worker, whose disk may have stopped to answer."""

LAZY_S = 0.005
"""How long who is in no hurry waits for a sync that others need before one is made for it."""


class SyncBarrier:
    """`Durability` by syncs: `sync` returns when all that was written before is on the disk, or raises `OSError`.

    It says whether the stream is still the one of the sync before: in another one, positions mean something else.
    A sync that failed (`SyncFailed`) is final: `failed` is called, once, and nothing more is said to be durable.
    """

    def __init__(self, sync: Callable[[], bool], failed: Callable[[str], None]) -> None:
        self.position = Position(0)
        self._sync = sync
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._seen = 0
        self._waiting: list[Callable[[str], None]] = []
        self._due = False
        self._running = False
        self._broken = ""
        self._lazy: asyncio.TimerHandle | None = None
        self._in_loop = True
        self._in_thread = 0
        self._thread: threading.Thread | None = None
        self._asked: SimpleQueue[bool] = SimpleQueue()

    def after_write(self, position: Position, told: Callable[[str], None]) -> None:
        """Call `told("")` once a commit that the server has acknowledged is on the disk, else with the reason.

        It always takes a sync of its own time: where a stream was deleted, its positions begin anew.
        """
        self._wait(position, told)
        self._hurry()

    def after_read(self, position: Position, told: Callable[[str], None]) -> None:
        """The same for what was read up to a position; at once when that is known to be on the disk."""
        if position <= self.position:
            told(self._broken)
            return
        self._wait(position, told)
        self._hurry()

    def after_notice(self, position: Position, told: Callable[[str], None]) -> None:
        """The same for what was heard of; who hears is in no hurry, and a sync that others need will do."""
        if position <= self.position:
            told(self._broken)
            return
        self._wait(position, told)
        if self._lazy is None and not self._due and not self._running:
            self._lazy = self._loop.call_later(LAZY_S, self._begin)

    def after_question(self, position: Position, told: Callable[[str], None]) -> None:
        """The same for what somebody else says that he has read. What he says is believed for his sake only."""
        if position <= self.position:
            told(self._broken)
            return
        self._wait(Position(0), told)
        self._hurry()

    def forget(self) -> None:
        """Nothing is known any more: it may be another stream, or another server."""
        self.position, self._seen = Position(0), 0

    def _wait(self, position: int, told: Callable[[str], None]) -> None:
        if self._broken:
            told(self._broken)
            return
        self._waiting.append(told)
        if position > self._seen:
            self._seen = position

    def _hurry(self) -> None:
        if not self._due and not self._running and self._waiting:
            self._due = True
            self._loop.call_soon(self._begin)

    async def close(self) -> bool:
        """End; who still waits is told that it is not known. Whether no sync is under way any more."""
        if self._lazy is not None:
            self._lazy.cancel()
        self._broken = self._broken or "the worker has stopped"
        self._tell(self._take(), self._broken)
        if self._thread is None:
            return True
        self._asked.put(False)
        await asyncio.to_thread(self._thread.join, CLOSE_TIMEOUT_S)
        return not self._thread.is_alive()

    def _take(self) -> list[Callable[[str], None]]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _begin(self) -> None:
        """Sync for all who wait now."""
        self._due = False
        if self._lazy is not None:
            self._lazy.cancel()
            self._lazy = None
        if self._running or not self._waiting or self._broken:
            return
        waiting, until = self._take(), self._seen
        if self._in_loop:
            began_s = time.monotonic()
            outcome = self._synced()
            if time.monotonic() - began_s > SHORT_S:
                self._in_loop, self._in_thread = False, 0
            self._end(waiting, until, outcome)
            return
        self._running = True
        self._in_thread += 1
        self._in_loop = self._in_thread >= TRY_AGAIN
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="aether sync", daemon=True)
            self._thread.start()
        self._pending = (waiting, until)
        self._asked.put(True)

    def _serve(self) -> None:
        """The thread: sync whenever it is asked."""
        while self._asked.get():
            outcome = self._synced()
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._ended_in_thread, outcome)

    def _ended_in_thread(self, outcome: bool | Exception) -> None:
        self._running = False
        waiting, until = self._pending
        self._end(waiting, until, outcome)

    def _synced(self) -> bool | Exception:
        """Whether the stream is the same as before, or what the sync has raised."""
        try:
            return self._sync()
        except Exception as error:
            return error

    def _end(self, waiting: list[Callable[[str], None]], until: int, outcome: bool | Exception) -> None:
        why = ""
        if isinstance(outcome, Exception):
            why = f"it could not be synced: {outcome}"
            log.error("what the server has stored could not be synced to the disk", exc_info=outcome)
            if isinstance(outcome, SyncFailed):
                self._broken = self._broken or why
                self._failed(why)
        elif outcome:
            self.position = Position(max(self.position, until))
        else:
            self.forget()
        self._tell(waiting, why)
        self._hurry()

    def _tell(self, waiting: list[Callable[[str], None]], why: str) -> None:
        for told in waiting:
            try:
                told(why)
            except Exception:  # the others wait too
                log.exception("one who waited for a sync raised")
