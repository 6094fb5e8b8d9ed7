"""Doors whose handlers end their process; a file `poison` in the current directory makes a replay do so."""

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from aether import Actor, Model, command, event


@dataclass
class Knocked:
    """Somebody was there."""

    times: int


class Door(Actor):
    """One door."""

    times: int = 0

    @command
    def knock(self) -> int:
        """Count."""
        self.emit(Knocked(self.times + 1))
        return self.times

    @command
    def crash(self, how: int) -> int:
        """Raise a signal."""
        os.kill(os.getpid(), how)
        return 0

    @command
    def block(self, seconds: float) -> int:
        """Block the event loop."""
        time.sleep(seconds)
        return 0

    @command
    async def leave_later(self, code: int) -> int:
        """Exit, after a pause."""
        await asyncio.sleep(0.01)
        os._exit(code)

    @event
    def knocked(self, e: Knocked) -> None:
        """One more."""
        self.times = e.times
        if e.times == 3 and Path("poison").exists():
            os.kill(os.getpid(), signal.SIGSEGV)


model = Model("doors", actors=[Door])
