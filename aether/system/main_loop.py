"""Runs a worker's main coroutine on an event loop that users' code cannot end.

An event loop stops when a task or a callback of any origin raises SystemExit or KeyboardInterrupt, or calls its `stop`;
what was ready then stays ready. So it is started again until the main coroutine is over. At the end the tasks that are
left are cancelled and waited for within a bound: no task and no thread of users keeps a process alive that has drained.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

CLOSE_TIMEOUT_S = 1.0

T = TypeVar("T")

log = logging.getLogger("aether.worker")


def run_to_end(make_loop: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, T]) -> T:
    """The result of `main`, or what it raises: SystemExit too. For the one thread of a worker process."""
    loop = make_loop()
    asyncio.set_event_loop(loop)
    try:
        return _run(loop, loop.create_task(main, name="aether worker"))
    finally:
        _close(loop)
        asyncio.set_event_loop(None)


def _run(loop: asyncio.AbstractEventLoop, task: "asyncio.Task[T]") -> T:
    while True:
        try:
            return loop.run_until_complete(task)
        except (SystemExit, KeyboardInterrupt) as error:
            if task.done() and not task.cancelled() and task.exception() is error:
                raise
            log.error("code that no command waits for tried to end the worker", exc_info=error)
            loop.call_soon(_look_for_signals)
        except RuntimeError:  # that of a loop that was stopped, or what the main coroutine raises
            if task.done():
                raise
            log.error("users' code stopped the event loop; it is started again")
            loop.call_soon(_look_for_signals)


def _look_for_signals() -> None:
    """Have the loop handle the signals that came while it stood still: it would wait for the next one to look."""
    fd = signal.set_wakeup_fd(-1)
    if fd != -1:
        signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
        os.write(fd, b"\0")


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what still runs, and close the loop if that helped."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    closing = loop.create_task(_closed(loop, left))
    _run(loop, closing)
    if not any(not task.done() for task in left):
        loop.close()


async def _closed(loop: asyncio.AbstractEventLoop, left: set["asyncio.Task[Any]"]) -> None:
    if left:
        await asyncio.wait(left, timeout=CLOSE_TIMEOUT_S)
    await loop.shutdown_asyncgens()
