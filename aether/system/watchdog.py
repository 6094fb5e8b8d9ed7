"""Notices an event loop that is silent: something in it does not give it back.

A thread looks whether the loop has moved since it looked last. While Python code blocks, or waits without the
interpreter's lock (`time.sleep`, a socket), the thread says so at once, with the line where that code stands. A call of
C that holds the lock stops this thread too: it says so when the call returns, and names what the loop was doing; the
line is then the one that Python has reached. It never touches the loop but by asking it to move.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType, TracebackType

LOOKS_PER_SILENCE = 4
"""How often it looks within the time after which a loop counts as silent."""

JOIN_TIMEOUT_S = 1.0

log = logging.getLogger("aether.watchdog")


class Watchdog:
    """Watches the loop that runs the thread which enters it, as a context manager.

    `doing` says what the loop does now, as fields for the log; `looked` is called at each look. Both are called in the
    watchdog's thread. `noticed` is called on the loop after each silence, with its length in seconds.
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
        self._beat = 0
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched = 0

    def __enter__(self) -> "Watchdog":
        self._loop, self._watched = asyncio.get_running_loop(), threading.get_ident()
        self._move()
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

    def _move(self) -> None:
        assert self._loop is not None
        self._beat += 1
        self._timer = self._loop.call_later(self._silent_s / LOOKS_PER_SILENCE, self._move)

    def _watch(self) -> None:
        """In the thread."""
        assert self._loop is not None
        seen, since_s, logged = self._beat, self._loop.time(), False
        now_s = since_s
        while not self._ended.wait(self._silent_s / LOOKS_PER_SILENCE):
            looked_s, now_s = now_s, self._loop.time()
            self._looked()
            if self._beat != seen:
                if logged or now_s - since_s > 2 * self._silent_s:
                    self._over(now_s - since_s, logged)
                seen, since_s, logged = self._beat, now_s, False
            elif not logged and now_s - since_s > self._silent_s:
                logged = True
                self._log_silence(now_s - since_s, stood_still=now_s - looked_s > self._silent_s)

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

    def _over(self, silent_s: float, logged: bool) -> None:
        assert self._loop is not None
        fields = {} if logged else self._doing()
        log.warning("the event loop was silent", extra={**fields, "silent_s": f"{silent_s:.3f}"})
        try:
            self._loop.call_soon_threadsafe(self._noticed, silent_s)
        except RuntimeError:  # the loop is closed
            return


def _place(frame: FrameType | None) -> str:
    """The innermost line, as `file:line in function`."""
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" if frame is not None else ""
