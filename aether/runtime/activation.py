"""What a machine waits for: its replay, with retries, and a user's asynchronous handler.

The coroutines of virtual machines and their turns. The rest of both is plain calls, which can be compiled; a coroutine
with `try` or `with` around an `await` must not be (docs/decisions.md).
"""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, Protocol

from aether.errors import Unavailable
from aether.ids import ActorId, Version
from aether.model.definition import ActorType, Scope
from aether.ports import HandlerNote
from aether.runtime.fold import Fold
from aether.runtime.worker_context import WorkerContext


class Replaying(Scope, Protocol):
    """A machine whose history is read."""

    actor_id: ActorId
    actor_type: ActorType

    @property
    def stopped(self) -> bool:
        """Whether the machine has ended meanwhile."""
        ...

    @property
    def seen(self) -> int:
        """The latest position that was heard of and not applied."""
        ...

    def still_wanted(self, why: Unavailable) -> bool:
        """Whether somebody still waits: then the history is read again."""
        ...

    def replayed(self, fold: Fold, snapshot_version: Version, seen: int, took_s: float) -> None:
        """Go on with this fold. `seen` is what had been heard of when the read began. Raises `HistoryRegressed`."""
        ...

    def failed(self, error: Exception) -> None:
        """The history cannot be folded."""
        ...

    def fault(self, error: BaseException) -> None:
        """Something that has to do with no history raised."""
        ...


async def replay(machine: Replaying, worker: WorkerContext, delay_s: float) -> None:
    """Replay until it succeeds, or nobody waits any more, or the history says that it cannot."""
    try:
        await _replay(machine, worker, delay_s)
    except BaseException as error:
        if machine.stopped:  # and with it, this was cancelled
            raise
        machine.fault(error)


async def _replay(machine: Replaying, worker: WorkerContext, delay_s: float) -> None:
    attempt = 0
    while True:
        if delay_s:
            await asyncio.sleep(delay_s)
        try:
            async with worker.activations:
                started_s, seen = worker.clock.boot_s(), machine.seen
                fold, version = await worker.replayer.replay(machine.actor_id, machine.actor_type, machine)
            machine.replayed(fold, version, seen, worker.clock.boot_s() - started_s)
            return
        except Unavailable as error:
            if not machine.still_wanted(error):
                return
            delay_s = worker.retry_delay_s(attempt)
            attempt += 1
        except Exception as error:  # whatever it is, everybody who waits hears of it
            machine.failed(error)
            return


class HandlerResult:
    """What an asynchronous handler came to: what it returned, or what it raised."""

    __slots__ = ("error", "result")

    def __init__(self, result: Any, error: BaseException | None) -> None:
        self.result = result
        self.error = error


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
    """The innermost line that a task waits at, as `file:line in function`; empty when nobody knows."""
    waits: Any = task.get_coro()
    place = ""
    while waits is not None:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None)
        if frame is not None:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        waits = getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None)
    return place


class Noted:
    """A handler's coroutine, noted whenever it is on the stack and not while it waits. Tasks that it starts are not."""

    __slots__ = ("_actor_id", "_command", "_command_id", "_note", "gi_yieldfrom")

    def __init__(
        self, handler: Coroutine[Any, Any, Any], note: HandlerNote, actor_id: ActorId, command: str, command_id: str
    ) -> None:
        self.gi_yieldfrom = handler  # as a generator names what it waits for
        self._note = note
        self._actor_id = actor_id
        self._command = command
        self._command_id = command_id

    def __await__(self) -> "Noted":
        return self

    def __iter__(self) -> "Noted":
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def send(self, value: Any) -> Any:
        """Go on with the handler."""
        self._note.begin(self._actor_id, self._command, self._command_id)
        try:
            return self.gi_yieldfrom.send(value)
        finally:
            self._note.end()

    def throw(self, *error: Any) -> Any:
        """Go on with the handler where it stands, by an error."""
        self._note.begin(self._actor_id, self._command, self._command_id)
        try:
            return self.gi_yieldfrom.throw(*error)
        finally:
            self._note.end()

    def close(self) -> None:
        """End the handler."""
        self.gi_yieldfrom.close()


def noted(
    result: Awaitable[Any], note: HandlerNote, actor_id: ActorId, command: str, command_id: str
) -> Awaitable[Any]:
    """The same handler, noted; one that is no coroutine is not."""
    return Noted(result, note, actor_id, command, command_id) if isinstance(result, Coroutine) else result
