"""Running a handler that is awaited or in a thread: its result as a value, where it stands, and its note in a crash.

The coroutines are apart from turns, which are plain calls and can be compiled (docs/decisions/compiled-hot-path.md).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from aether.ids import ActorId
from aether.ports import HandlerNote


class HandlerResult:
    """What an asynchronous handler came to: what it returned, or what it raised."""

    __slots__ = ("error", "result")

    def __init__(self, result: Any, error: BaseException | None) -> None:
        self.result = result
        self.error = error


def refuse_awaitable(result: Any, what: str, advice: str = "") -> None:
    """Raise TypeError for what a function in a thread gave to await, and close it: no loop runs there."""
    if hasattr(result, "__await__"):
        close = getattr(result, "close", None)
        if close is not None:
            close()
        raise TypeError(f"{what}, and this one gave something to await{advice}")


async def run_handler(handler: Awaitable[Any]) -> HandlerResult:
    """Run a handler; raises nothing but CancelledError. A SystemExit in a task would end the event loop."""
    try:
        return HandlerResult(await handler, None)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return HandlerResult(None, error)


def result_of(task: "asyncio.Task[HandlerResult]") -> HandlerResult:
    """What the handler of a task that is done came to."""
    try:
        return task.result()
    except asyncio.CancelledError as error:  # whose cancellation it was, the turn knows
        return HandlerResult(None, error)


def innermost_frame(task: "asyncio.Task[Any]") -> str:
    """The innermost line that a task waits at, as `file:line in function`; empty when that is not known."""
    waits: Any = task.get_coro()
    place = ""
    while waits is not None:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None)
        if frame is not None:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        waits = getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None)
    return place


class NotedCoroutine:
    """A handler's coroutine, noted whenever it is on the stack and not while it waits. Tasks that it starts are not."""

    __slots__ = ("_begin", "_end", "gi_yieldfrom")

    def __init__(self, handler: Coroutine[Any, Any, Any], begin: Callable[[], None], end: Callable[[], None]) -> None:
        self.gi_yieldfrom = handler  # as a generator names what it waits for
        self._begin = begin
        self._end = end

    def __await__(self) -> "NotedCoroutine":
        return self

    def __iter__(self) -> "NotedCoroutine":
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Go on with the handler."""
        self._begin()
        try:
            return self.gi_yieldfrom.send(value)
        finally:
            self._end()

    def throw(self, *error: Any) -> Any:
        """Go on with the handler where it stands, by an error."""
        self._begin()
        try:
            return self.gi_yieldfrom.throw(*error)
        finally:
            self._end()

    def close(self) -> None:
        """End the handler."""
        self.gi_yieldfrom.close()


def noted(
    result: Awaitable[Any], note: HandlerNote, actor_id: ActorId, command: str, command_id: str, correlation_id: str
) -> Awaitable[Any]:
    """The same handler, noted; one that is no coroutine is not."""
    if not isinstance(result, Coroutine):
        return result
    return NotedCoroutine(result, partial(note.begin, actor_id, command, command_id, correlation_id), note.end)
