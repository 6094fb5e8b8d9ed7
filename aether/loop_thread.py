"""A thread with an event loop in which a client lives, for threads that have none.

Any thread may have work run in it, several at once; each waits for its own work only. It ends with its process, and
when nothing refers to it any more.
"""

import asyncio
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, TypeVar

import uvloop

from aether.client import Client
from aether.errors import ClientUnusable

T = TypeVar("T")


class LoopThread:
    """A client and the thread of its event loop. Closed when nothing refers to it any more: the thread does not."""

    def __init__(self, opening: AbstractAsyncContextManager[Client]) -> None:
        opened: Future[tuple[Client, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._over = False
        self._thread = threading.Thread(target=_run, args=(opening, opened), name="aether client", daemon=True)
        self._thread.start()
        try:
            self.client, self._loop, self._closing = opened.result()
        except BaseException:
            if not opened.cancel():  # an interrupt came first; what is opened later is closed again
                if opened.exception() is None:
                    _, loop, closing = opened.result()
                    loop.call_soon_threadsafe(closing.set)
                self._thread.join()
            raise
        self._when_dropped = weakref.finalize(self, _drop, self._pid, self._loop, self._closing)
        self._when_dropped.atexit = False

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the coroutine gives, or raises. An interrupt of this thread cancels it."""
        if os.getpid() != self._pid:
            raise ClientUnusable("this client belongs to the process that it was made in; connect anew after a fork")
        check_no_loop()
        with self._lock:  # what begins before it closes ends with an error
            if self._over:
                raise _closed()
            future = asyncio.run_coroutine_threadsafe(_made(work), self._loop)
        try:
            return future.result()
        except CancelledError:
            raise _closed() from None
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Close the client; a call that waits for an answer gets `ClientUnusable`. Idempotent."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            if not self._over:
                self._over = True
                self._when_dropped.detach()
                self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()


def _run(
    opening: AbstractAsyncContextManager[Client],
    opened: "Future[tuple[Client, asyncio.AbstractEventLoop, asyncio.Event]]",
) -> None:
    """The thread: hold the client open until `closing`, which comes with it."""

    async def hold() -> None:
        async with opening as client:
            if opened.set_running_or_notify_cancel():
                closing = asyncio.Event()
                opened.set_result((client, asyncio.get_running_loop(), closing))
                await closing.wait()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(hold())
    except BaseException as error:
        if opened.done():
            raise  # the thread's own traceback is all that says so
        opened.set_exception(error)


def _drop(pid: int, loop: asyncio.AbstractEventLoop, closing: asyncio.Event) -> None:
    if os.getpid() == pid:
        warnings.warn(
            "a blocking client was dropped while it was open: leave its `with`", ResourceWarning, stacklevel=2
        )
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(closing.set)


async def _made(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Called in the loop: what makes a coroutine may touch what belongs to it."""
    return await work()


def _closed() -> ClientUnusable:
    return ClientUnusable("this client is closed")


def check_no_loop() -> None:
    """Raise `ClientUnusable` where an event loop runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    text = "a blocking client would stop the event loop that runs here: use `async with aether.connect(...)` instead"
    raise ClientUnusable(text)
