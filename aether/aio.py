"""Waiting in asyncio, in the forms that the package needs again and again. It owns nothing; one event loop.

Compiled modules await nothing themselves (see `docs/hot-path.md`): they return what waits here.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def set_once(future: asyncio.Future[T], result: T) -> None:
    """Resolve a future unless it is resolved or cancelled."""
    if not future.done():
        future.set_result(result)


class Waiters:
    """Tasks that wait for the next `wake`. It wakes all of them, and none that comes later."""

    __slots__ = ("_futures",)

    def __init__(self) -> None:
        self._futures: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        return len(self._futures)

    async def wait(self, timeout_s: float | None = None) -> None:
        """Return at the next `wake`, or after `timeout_s`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._futures.add(waiter)
        try:
            await asyncio.wait((waiter,), timeout=timeout_s)
        finally:
            self._futures.discard(waiter)

    def wake(self) -> None:
        """End every wait that has begun."""
        for waiter in self._futures:
            set_once(waiter, None)


class Room:
    """So many bytes are taken at once. What goes beyond that waits in line; what is larger than all goes alone."""

    __slots__ = ("_left", "_line", "_most")

    def __init__(self, most: int) -> None:
        self._left = self._most = most
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Return when there is room, which is to be given back."""
        size = min(size, self._most)
        if not self._line and size <= self._left:
            self._left -= size
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append((size, waiting))
        try:
            await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled():  # it was given to us in the same turn of the loop
                self._left += size
            self._go_on()  # those behind may be smaller
            raise

    def give_back(self, size: int) -> None:
        """What was taken is free again."""
        self._left += min(size, self._most)
        self._go_on()

    def _go_on(self) -> None:
        line = self._line
        while line and (line[0][1].done() or line[0][0] <= self._left):
            size, waiting = line.popleft()
            if not waiting.done():
                self._left -= size
                waiting.set_result(None)


async def first_of(*waits: asyncio.Future[Any] | Coroutine[Any, Any, Any], timeout_s: float | None = None) -> None:
    """Return when the first of these is done, or after `timeout_s`.

    A coroutine is run here, and cancelled at the end; a future or a task is its owner's, and is left as it is. What the
    first one came to is for the caller to look at.
    """
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, wait in zip(tasks, waits, strict=True):
            if task is not wait:
                task.cancel()


async def after(awaited: Awaitable[T], then: Callable[[T], R]) -> R:
    """What `then` makes of what is awaited."""
    return then(await awaited)


async def joined(thread: Thread | None, timeout_s: float) -> bool:
    """Wait for the end of a thread, if there is one; whether it has ended in time."""
    if thread is None:
        return True
    await asyncio.to_thread(thread.join, timeout_s)
    return not thread.is_alive()
