"""Doors whose handlers end their process; a file `poison` in the current directory makes a replay do so."""

import asyncio
import ctypes
import os
import re
import signal
import sys
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

    @command(blocking=True)
    def fault_in_thread(self, address: int) -> int:
        """Read where nothing is."""
        ctypes.string_at(address)
        return 0

    @command(blocking=True)
    def leave_in_thread(self, code: int) -> int:
        """Exit."""
        os._exit(code)

    @command(blocking=True)
    def lose_a_child(self) -> int:
        """Have a process crash that this one has forked."""
        pid = os.fork()
        if pid == 0:
            ctypes.string_at(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    @command(blocking=True)
    def keep_the_lock(self, length: int) -> int:
        """Keep the interpreter's lock, and with it every thread."""
        return int(re.match("(a+)+$", "a" * length + "b") is None)

    @command(blocking=True)
    def wait_there(self, seconds: float) -> int:
        """Block a thread."""
        self.emit(Knocked(self.times + 1))
        print(f"{self.id.key} waits", file=sys.stderr, flush=True)
        time.sleep(seconds)
        return self.times

    @event
    def knocked(self, e: Knocked) -> None:
        """One more."""
        self.times = e.times
        if e.times == 3 and Path("poison").exists():
            os.kill(os.getpid(), signal.SIGSEGV)


model = Model("doors", actors=[Door])
