"""A worker's end of the pipes to its supervisor: ready, alive twice a second, and gone with it.

Owned by one worker and its event loop; nothing here waits. What is written comes from the loop itself, so a loop that
hangs falls silent, and that is the point.
"""

import asyncio
import os
from collections.abc import Callable

from aether.config import EXIT_CANNOT_BOOT
from aether.worker_protocol import (
    WORKER_ALIVE,
    WORKER_ALIVE_EVERY_S,
    WORKER_JOINED,
    WORKER_LEFT,
    WORKER_READY,
    WORKER_STUCK,
    WORKER_UNREADY,
    WorkerSpec,
)


def _leave_at_once() -> None:
    os._exit(EXIT_CANNOT_BOOT)


class Lifeline:
    """From `open` on the worker dies with its supervisor; from `joined` on it says twice a second that its loop runs.

    `orphaned` is called when the supervisor is gone; by default the process exits at once, because its slot may be
    given to another. `close` ends both, idempotently.
    """

    __slots__ = ("_loop", "_next", "_orphaned", "_ready", "_spec")

    def __init__(self, spec: WorkerSpec, orphaned: Callable[[], None] = _leave_at_once) -> None:
        self._spec = spec
        self._orphaned = orphaned
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next: asyncio.TimerHandle | None = None
        self._ready = False

    def open(self) -> None:
        """Watch the supervisor, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._spec.parent_fd, self._parent_gone)

    def joined(self) -> None:
        """Notify the supervisor from now on that the loop runs, which may run handlers. Call after `open`."""
        if self._next is None:
            self._beat()

    def ready(self) -> None:
        """Notify the supervisor that the worker serves, and from now on that it lives. Call after `open`."""
        self._ready = True
        self._write(WORKER_READY)
        if self._next is None:
            self._schedule()

    def unready(self) -> None:
        """Notify the supervisor that the worker, which was ready, does not serve now."""
        if self._ready:
            self._write(WORKER_UNREADY)

    def alive(self) -> None:
        """Notify the supervisor that the worker lives, though it is not ready yet."""
        self._write(WORKER_ALIVE)

    def stuck(self) -> None:
        """Notify the supervisor that the server does not answer writes, though the connection to it lasts."""
        self._write(WORKER_STUCK)

    def close(self) -> None:
        """Stop both, for the end of the loop."""
        if self._next is not None:
            self._next.cancel()
            self._next, self._ready = None, False
            self._write(WORKER_LEFT)
        if self._loop is not None:
            self._loop.remove_reader(self._spec.parent_fd)
            self._loop = None

    def _parent_gone(self) -> None:
        if os.read(self._spec.parent_fd, 1) == b"":
            self.close()
            self._orphaned()

    def _schedule(self) -> None:
        assert self._loop is not None
        self._next = self._loop.call_later(WORKER_ALIVE_EVERY_S, self._beat)

    def _beat(self) -> None:
        self._write(WORKER_ALIVE if self._ready else WORKER_JOINED)
        self._schedule()

    def _write(self, status: bytes) -> None:
        try:
            os.write(self._spec.status_fd, status)
        except BlockingIOError:
            return  # the pipe is full of beats that the supervisor has yet to read
        except BrokenPipeError:
            return  # it is gone; the parent pipe says so
