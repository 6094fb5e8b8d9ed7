"""One call of a task's function: on the event loop or in a thread, with a time-out, and whatever it does a value.

A function may raise what it likes, `SystemExit` and `CancelledError` too, go on after its time-out, or return what is
not of its type: all of that is the failure of this call, and of nothing else.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextvars import Context, copy_context
from typing import Any

from aether.model.task_type import TaskType
from aether.model.tasks import TaskContext
from aether.runtime.handler_task import HandlerResult, innermost_frame, refuse_awaitable, result_of, run_handler
from aether.runtime.running import running_task

AS_ASYNC = "; where a decorator is around an `async def`, the decorator gives an `async def`, too"

log = logging.getLogger("aether.tasks")


class TaskCalled:
    """What a call came to: the result as JSON, or an error. `returned` says that the function gave a result."""

    __slots__ = ("error", "raw", "returned")

    def __init__(self, raw: bytes, error: BaseException | None = None, *, returned: bool = False) -> None:
        self.raw = raw
        self.error = error
        self.returned = returned


class Stopped(Exception):
    """The call was stopped before it was over: its task was cancelled, or the worker leaves."""


def context_of(fields: Mapping[str, str]) -> Context:
    """A context in which log lines say for which task they are written."""
    context = copy_context()
    context.run(running_task.set, fields)
    return context


async def call(
    task_type: TaskType,
    context: TaskContext,
    arguments: Any,
    *,
    fields: Mapping[str, str],
    threads: Executor,
    stop: "asyncio.Future[None]",
    grace_s: float,
    left: Callable[[], None],
) -> TaskCalled:
    """Call the function, until `stop` at most; never raises but when it is cancelled itself.

    `left` is called once, when the function runs no more; that may be later than the end of this.
    """
    if stop.done():  # while what is written down of it was read
        left()
        return TaskCalled(b"", Stopped())
    around = context_of(fields)
    work: asyncio.Future[HandlerResult]
    if task_type.blocking:
        given_up: list[RuntimeError] = []
        try:
            work = asyncio.wrap_future(threads.submit(around.run, _call_plain, task_type, context, arguments, given_up))
        except RuntimeError as error:  # the system gives no further thread; one that is there may come to it yet
            given_up.append(error)
            left()
            return TaskCalled(b"", error)
    else:
        work = asyncio.get_running_loop().create_task(_call_async(task_type, context, arguments), context=around)
    work.add_done_callback(lambda _: left())
    try:
        await asyncio.wait((work, stop), timeout=task_type.timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            return await _end(task_type, work, stopped=stop.done(), grace_s=grace_s)
    except asyncio.CancelledError:
        work.cancel()
        raise
    return _came_to(task_type, work)


async def _call_async(task_type: TaskType, context: TaskContext, arguments: Any) -> HandlerResult:
    try:
        awaitable = task_type.invoke(context, arguments)
    except BaseException as error:
        return HandlerResult(None, error)
    return await run_handler(awaitable)


def _call_plain(
    task_type: TaskType, context: TaskContext, arguments: Any, given_up: Sequence[RuntimeError]
) -> HandlerResult:
    if given_up:
        return HandlerResult(None, given_up[0])
    try:
        return HandlerResult(task_type.invoke(context, arguments), None)
    except BaseException as error:
        return HandlerResult(None, error)


async def _end(
    task_type: TaskType, work: "asyncio.Future[HandlerResult]", *, stopped: bool, grace_s: float
) -> TaskCalled:
    """It is over, and the function is not: one in a thread is left alone."""
    where = ""
    if isinstance(work, asyncio.Task):
        where = innermost_frame(work)
        work.cancel()
        await asyncio.wait((work,), timeout=grace_s)
        if not work.done():
            log.error("a task goes on although it was cancelled", extra={"task": task_type.name, "at": where})
    else:
        log.warning("a plain task is over and goes on in its thread, which it keeps", extra={"task": task_type.name})
    if stopped:
        return TaskCalled(b"", Stopped())
    at = f", at {where}" if where else ""
    return TaskCalled(b"", TimeoutError(f"it took longer than {task_type.timeout_s:g} s{at}"))


def _came_to(task_type: TaskType, work: "asyncio.Future[HandlerResult]") -> TaskCalled:
    if isinstance(work, asyncio.Task):
        outcome = result_of(work)
    elif work.cancelled():
        return TaskCalled(b"", Stopped())
    else:
        outcome = work.result()
    if outcome.error is not None:
        return TaskCalled(b"", outcome.error)
    try:
        if task_type.blocking:
            refuse_awaitable(outcome.result, f"the task {task_type.name} is a plain function", AS_ASYNC)
        return TaskCalled(task_type.encode_result(outcome.result), returned=True)
    except BaseException as error:  # users' code, which encodes the result, too
        return TaskCalled(b"", error, returned=True)
