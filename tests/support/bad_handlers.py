"""A model whose handlers try to hurt the worker that runs them."""

import asyncio
import sys
import time
from dataclasses import dataclass

from aether import Actor, Model, command, event, query


@dataclass(frozen=True, slots=True)
class Tried:
    """Something was tried."""


class Bad(Actor):
    """Tries to end its worker."""

    count: int = 0

    @command
    def leave(self) -> None:
        """At once."""
        self.emit(Tried())
        sys.exit()

    @command
    async def leave_later(self) -> None:
        """From an asynchronous handler."""
        self.emit(Tried())
        await asyncio.sleep(0)
        sys.exit(1)

    @command
    async def leave_behind(self) -> int:
        """From a task, a callback and a timer that are still there when the handler is over."""
        loop = asyncio.get_running_loop()
        KEPT.append(loop.create_task(self._leave_soon()))
        loop.call_soon(sys.exit)
        loop.call_later(0.01, sys.exit, 3)
        self.emit(Tried())
        return self.count

    async def _leave_soon(self) -> None:
        await asyncio.sleep(0)
        sys.exit(2)

    @command
    async def stay(self) -> None:
        """Do not end, however often it is cancelled, and leave a task behind that is like this."""
        KEPT.append(asyncio.create_task(_stay_for_ever()))
        await _stay_for_ever()

    @command
    def block(self) -> None:
        """Keep the event loop."""
        time.sleep(0.5)

    @command(blocking=True)
    def work(self) -> int:
        """Block where that is allowed."""
        time.sleep(0.5)
        self.emit(Tried())
        return self.count

    @command(blocking=True)
    def stay_in_thread(self) -> None:
        """Keep a thread for longer than any test waits."""
        time.sleep(600)

    @query
    def say(self) -> int:
        """How often something was tried."""
        return self.count

    @event
    def tried(self, e: Tried) -> None:
        """Count it."""
        self.count += 1


async def _stay_for_ever() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


KEPT: list[asyncio.Task[None]] = []
model = Model("bad", actors=[Bad])
