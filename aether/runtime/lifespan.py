"""The lifespan of a model in one worker: what it makes before the first command and ends after the last.

A user's context manager, entered and exited in one task of its own, whatever task starts and stops the runtime. So a
task group or a cancel scope in it belongs to one task, and the end of it can be waited for with a bound.
"""

import asyncio
import inspect
import logging
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from aether.aio import first_of
from aether.errors import AetherError
from aether.log_lines import type_name, words
from aether.runtime.handler_task import innermost_frame

CANCEL_TIMEOUT_S = 0.5
"""How long a lifespan that was cancelled is waited for."""

log = logging.getLogger("aether.lifespan")


class Lifespan:
    """Enter it once, exit it once. `failed` is called if it ends by itself in between."""

    def __init__(
        self,
        make: Callable[[], AbstractAsyncContextManager[Any]],
        model: str,
        exit_timeout_s: float,
        failed: Callable[[AetherError], None],
    ) -> None:
        self._make = make
        self._model = model
        self._exit_timeout_s = exit_timeout_s
        self._failed = failed
        self._resources: Any = None
        self._entered = asyncio.Event()
        self._leaving = asyncio.Event()
        self._task: asyncio.Task[BaseException | None] | None = None

    @property
    def resources(self) -> Any:
        """What the context manager gave. Raises RuntimeError before it was entered and after it has ended."""
        task = self._task
        if not self._entered.is_set() or task is None or task.done():
            raise RuntimeError(f"the lifespan of the model {self._model} has ended, and its resources with it")
        return self._resources

    async def enter(self) -> None:
        """Enter the context manager. Raises `AetherError` with the user's line when it cannot be entered."""
        task = self._task = asyncio.create_task(self._live(), name="aether lifespan")
        try:
            await first_of(task, self._entered.wait())
        except asyncio.CancelledError:
            self._task = None
            await self._cancel(task)
            raise
        if self._entered.is_set():
            task.add_done_callback(self._ended)
        else:
            self._task = None
            error = _end_of(task)
            failure = self._failure("failed", error)
            log.error("%s", failure.message, exc_info=error)
            raise failure from error

    async def exit(self) -> None:
        """Exit the context manager, and give it up after the time-out. What it raises is logged. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        self._leaving.set()
        try:
            await asyncio.wait((task,), timeout=self._exit_timeout_s)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if not task.done():
            await self._cancel(task)
            extra = {"seconds": self._exit_timeout_s, "at": self._place_of(task)}
            log.error("the lifespan did not end in time, and was cancelled", extra=extra)
        elif (error := _end_of(task)) is not None:
            log.error("%s", self._failure("failed at its end", error).message, exc_info=error)

    async def _live(self) -> BaseException | None:
        """Its whole life; gives the error that ended it. A SystemExit that left a task would end the event loop."""
        try:
            manager = self._make()
            if not hasattr(manager, "__aenter__"):
                raise TypeError(f"it gave a {type(manager).__name__}, not an asynchronous context manager")
            async with manager as self._resources:
                self._entered.set()
                await self._leaving.wait()
        except BaseException as error:
            return error
        return None

    def _ended(self, task: "asyncio.Task[BaseException | None]") -> None:
        if not self._leaving.is_set():
            error = _end_of(task)
            failure = self._failure("has ended by itself", error)
            failure.__cause__ = error
            log.error("%s", failure.message, exc_info=error)
            self._failed(failure)

    async def _cancel(self, task: "asyncio.Task[BaseException | None]") -> None:
        self._leaving.set()
        task.cancel()
        await asyncio.wait((task,), timeout=CANCEL_TIMEOUT_S)
        if not task.done():
            log.error("the lifespan goes on although it was cancelled", extra={"at": self._place_of(task)})

    def _place_of(self, task: "asyncio.Task[BaseException | None]") -> str:
        """`file:line` where a task that was cancelled has stood, or stands."""
        error = _end_of(task) if task.done() else None
        return innermost_frame(task) if error is None else _place(error, self._make)

    def _failure(self, how: str, error: BaseException | None) -> AetherError:
        text = f"the lifespan of the model {self._model} {how}"
        if error is None:
            return AetherError(text)
        place = _place(error, self._make)
        return AetherError(f"{text}: {type_name(error)}: {words(error)}{f' ({place})' if place else ''}")


def _end_of(task: "asyncio.Task[BaseException | None]") -> BaseException | None:
    return asyncio.CancelledError() if task.cancelled() else task.result()


def _place(error: BaseException, make: Callable[..., Any]) -> str:
    """`file:line`: where the error came out of the lifespan's own file, else where it was raised."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    code = getattr(inspect.unwrap(make), "__code__", None)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    named = own or frames
    return f"{named[-1].filename}:{named[-1].lineno}" if named else ""
