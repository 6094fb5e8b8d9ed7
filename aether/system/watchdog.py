"""Notices an event loop that is silent: something in it does not give it back.

The loop moves twice within the time after which it counts as silent, and says when it will move next. A thread sleeps
until the loop would be late by that time, so that it mostly wakes to find a later time. While Python code blocks, or
waits without the interpreter's lock (`time.sleep`, a socket), the thread says so at once, with the line where that code
stands. A call of C that holds the lock stops this thread too: it says so when the call returns, and names what the loop
was doing; the line is then the one that Python has reached. It never touches the loop.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType

MOVES_PER_SILENCE = 2
"""How often the loop moves within the time after which it counts as silent. An idle worker wakes for each move."""

LOOK_EVERY_S = 0.5
"""Seconds between two looks of the thread, at most."""

LATE_SHARE = 0.75
"""A thread that wakes late by this share of a silence has not been let run: the whole process stood still."""

JOIN_TIMEOUT_S = 1.0

log = logging.getLogger("aether.watchdog")


class Watchdog:
    """Watches the loop that runs the thread which enters it, as a context manager.

    A loop that is late by `silent_s` is silent: what blocks it for one and a half times as long is always noticed, and
    named while it blocks. `doing` says what the loop does now, as fields for the log; `looked` is called in the thread
    at each of its looks, at least every `LOOK_EVERY_S`. `noticed` is called on the loop after each silence, with its
    length in seconds, at least.
    """

    def __init__(
        self,
        silent_s: float,
        doing: Callable[[], Mapping[str, str]],
        noticed: Callable[[float], None],
        looked: Callable[[], None] = lambda: None,
    ) -> None:
        self._silent_s = silent_s
        self._doing = doing
        self._noticed = noticed
        self._looked = looked
        self._move_due_s = 0.0
        self._logged_due_s = 0.0
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = 0

    def __enter__(self) -> "Watchdog":
        self._loop, self._watched = asyncio.get_running_loop(), threading.get_ident()
        self._move_later(time.monotonic())
        self._thread = threading.Thread(target=self._watch, name="aether watchdog", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT_S)  # it only has a line to finish

    # On the loop.

    def _move(self) -> None:
        now_s = time.monotonic()
        due_s, late_s = self._move_due_s, now_s - self._move_due_s
        self._move_later(now_s)
        if late_s > self._silent_s:
            fields = {} if self._logged_due_s == due_s else self._doing()
            log.warning("the event loop was silent", extra={**fields, "silent_s": f"{late_s:.3f}"})
            self._noticed(late_s)

    def _move_later(self, now_s: float) -> None:
        assert self._loop is not None
        delay_s = self._silent_s / MOVES_PER_SILENCE
        self._move_due_s = now_s + delay_s
        self._timer = self._loop.call_later(delay_s, self._move)

    # In the thread.

    def _watch(self) -> None:
        look_at_s = now_s = time.monotonic()
        while not self._ended.wait(max(0.0, look_at_s - now_s)):
            now_s = time.monotonic()
            self._looked()
            due_s = self._move_due_s
            silent_at_s = due_s + self._silent_s
            if now_s < silent_at_s:
                look_at_s = min(silent_at_s, now_s + LOOK_EVERY_S)
                continue
            if due_s != self._logged_due_s:
                self._logged_due_s = due_s
                stood_still = now_s - look_at_s > LATE_SHARE * self._silent_s
                self._log_silence(now_s - due_s, stood_still=stood_still)
            look_at_s = now_s + min(self._silent_s, LOOK_EVERY_S)

    def _log_silence(self, silent_s: float, stood_still: bool) -> None:
        doing = self._doing()
        where = {"at": _place(sys._current_frames().get(self._watched)), "silent_s": f"{silent_s:.3f}"}
        fields = {**doing, **where}
        if stood_still and "actor" not in doing:  # what ran last has ended, and is not to be searched for the fault
            text = "the whole process stood still while no handler ran: stopped, without CPU, or in a call of C"
            log.warning(text, extra=where)
        elif stood_still:  # no handler need be at fault
            log.warning("the whole process stood still: stopped, without CPU, or in a call of C", extra=fields)
        else:
            log.warning("the event loop is silent: something blocks it", extra=fields)


def _place(frame: FrameType | None) -> str:
    """The innermost line, as `file:line in function`."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" if frame is not None else ""
