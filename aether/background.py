"""Tasks that are not awaited: each has a name, and a policy for an error that it does not expect.

The one place where Aether starts such tasks. A task that should never end is started again, with back-off (`forever`),
or its end is reported to the owner, which fails with it (`vital`); one that is over soon harms only what it was for,
and its error is logged (`once`). None ends unnoticed. Tasks run on the event loop that was running when they were
started.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from aether.core.backoff import Backoff

AGAIN = Backoff(first_s=0.05, cap_s=5.0)
STEADY_S = 10.0
"""A task that ran for so long before it failed is started again as if it were for the first time."""

Work: TypeAlias = Coroutine[Any, Any, Any]

log = logging.getLogger("aether.background")


class Background:
    """The background tasks of one owner. `failed` gets the error that ended a vital one."""

    def __init__(self, failed: Callable[[BaseException], None] | None = None) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self._failed = failed

    def forever(self, name: str, make: Callable[[], Awaitable[None]]) -> "asyncio.Task[None]":
        """Run what `make` gives, and run it anew whenever it ends, until the task is cancelled."""
        return self._start(name, _again_and_again(name, make))

    def vital(self, name: str, work: Work) -> "asyncio.Task[Any]":
        """Run what cannot be started again: `failed` is called if it raises."""
        task = self._start(name, work)
        task.add_done_callback(self._end_of_vital)
        return task

    def once(self, name: str, work: Work) -> "asyncio.Task[Any]":
        """Run something that ends; if it raises, that is logged. The task may also be awaited."""
        task = self._start(name, work)
        task.add_done_callback(_log_failure)
        return task

    async def stop(self, timeout_s: float | None = None) -> None:
        """Cancel all that runs, and wait for it."""
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=timeout_s)

    def _start(self, name: str, work: Work) -> "asyncio.Task[Any]":
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _end_of_vital(self, task: "asyncio.Task[Any]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self._failed is not None:
            self._failed(error)


async def _again_and_again(name: str, make: Callable[[], Awaitable[None]]) -> None:
    loop, attempt = asyncio.get_running_loop(), 0
    while True:
        began_s = loop.time()
        try:
            await make()
            log.error("a background task has ended and is started again", extra={"task": name})
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            log.error("a background task failed and is started again", exc_info=error, extra={"task": name})
        attempt = 0 if loop.time() - began_s > STEADY_S else attempt + 1
        # Spreads what many processes do at once; nothing depends on the value.
        await asyncio.sleep(AGAIN.delay_s(max(0, attempt - 1), random.random()))  # noqa: S311 - no secret


def _is_cancelled() -> bool:
    """Whether the running task was cancelled, and did not only wait for something that was."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _log_failure(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background task failed", exc_info=error, extra={"task": task.get_name()})
