"""What a machine waits for: its replay, with retries, and a user's asynchronous handler.

The coroutines of virtual machines and their turns. The rest of both is plain calls, which can be compiled; a coroutine
with `try` or `with` around an `await` must not be (docs/decisions.md).
"""

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

from aether.errors import Unavailable
from aether.ids import ActorId, Version
from aether.model.definition import ActorType, Scope
from aether.runtime.fold import Fold
from aether.runtime.host import Host


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


async def replay(machine: Replaying, host: Host, delay_s: float) -> None:
    """Replay until it succeeds, or nobody waits any more, or the history says that it cannot."""
    attempt = 0
    while True:
        if delay_s:
            await asyncio.sleep(delay_s)
        try:
            async with host.activations:
                started_s, seen = host.clock.boot_s(), machine.seen
                fold, version = await host.replayer.replay(machine.actor_id, machine.actor_type, machine)
            machine.replayed(fold, version, seen, host.clock.boot_s() - started_s)
            return
        except Unavailable as error:
            if not machine.still_wanted(error):
                return
            delay_s = host.retry_delay_s(attempt)
            attempt += 1
        except Exception as error:  # whatever it is, everybody who waits hears of it
            machine.failed(error)
            return


class Ended:
    """What an asynchronous handler came to: what it returned, or what it raised."""

    __slots__ = ("error", "result")

    def __init__(self, result: Any, error: BaseException | None) -> None:
        self.result = result
        self.error = error


async def to_its_end(handler: Awaitable[Any]) -> Ended:
    """Run a handler; raises nothing but CancelledError. A SystemExit in a task would end the event loop."""
    try:
        return Ended(await handler, None)
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return Ended(None, error)


def end_of(task: "asyncio.Task[Ended]") -> Ended:
    """What the handler of a task that is done came to."""
    try:
        return task.result()
    except asyncio.CancelledError as error:  # whose cancellation it was, the turn knows
        return Ended(None, error)


def where_it_stands(task: "asyncio.Task[Any]") -> str:
    """The innermost line that a task waits at, as `file:line in function`; empty when nobody knows."""
    waits: Any = task.get_coro()
    place = ""
    while waits is not None:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None)
        if frame is not None:
            place = f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
        waits = getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None)
    return place
