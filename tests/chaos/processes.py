"""The processes that faults befall: supervisors with their workers, and the load. Each by its pid, none by its name.

Workers are found in /proc as children of their supervisor; a worker says its slot in its process name. Everything here
dies with the process that started it.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.waiting import until
from tests.support.tied import command

ROOT = Path(__file__).parents[2]
MODEL = "tests.chaos.model:model"
SLOT_NAME = "aether-slot-"


def children(pid: int) -> dict[int, str]:
    """Live children of a process, with their names."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue  # it has ended
        name, _, rest = stat[stat.index("(") + 1 :].rpartition(")")
        state, parent = rest.split()[:2]
        if int(parent) == pid and state != "Z":
            found[int(entry.name)] = name
    return found


class Process:
    """A program with its output in a file; it can be started again after it has ended."""

    def __init__(self, program: Sequence[str], log: Path, variables: Mapping[str, str]) -> None:
        self._program = [sys.executable, "-P", "-m", *program]
        self._log = log
        self._variables = {**os.environ, **variables}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait for nothing."""
        assert not self.running
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command(self._program), cwd=ROOT, env=self._variables,
                                             stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # fmt: skip

    def send(self, number: signal.Signals) -> None:
        """Signal it; nothing happens when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would. Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def ended(self, within_s: float) -> int:
        """Its exit code, once it has one."""
        process = self._process
        assert process is not None
        await until(lambda: process.poll() is not None, within_s, f"the end of {self._program[3]}")
        assert process.returncode is not None
        return process.returncode


class Host:
    """One supervisor with its workers, as on a machine of its own: its node name and its data directory."""

    def __init__(self, name: str, url: str, namespace: str, directory: Path, *, workers: int, replicas: int,
                 variables: Mapping[str, str], model: str = MODEL) -> None:  # fmt: skip
        self.name = name
        self.wanted = workers
        self.log = directory / f"{name}.log"
        options = {
            "workers": workers,
            "nats": url,
            "namespace": namespace,
            "node": name,
            "data-dir": directory / name,
            "replicas": replicas,
        }
        program = ["aether.supervisor", model, *(f"--{option}={value}" for option, value in options.items())]
        self._started_with = workers
        self._process = Process(program, self.log, variables)

    @property
    def running(self) -> bool:
        return self._process.running

    def start(self) -> None:
        """Start it, and wait for nothing."""
        self.wanted = self._started_with
        self._process.start()

    def kill(self) -> None:
        """End the supervisor as a crash would; its workers must follow by themselves. Idempotent."""
        self._process.kill()

    def send(self, number: signal.Signals) -> None:
        """Signal the supervisor."""
        self._process.send(number)

    async def drained(self, within_s: float) -> int:
        """TERM it; its exit code."""
        self._process.send(signal.SIGTERM)
        return await self._process.ended(within_s)

    def workers(self) -> dict[int, int]:
        """The live workers: slot and pid."""
        if not self.running:
            return {}
        found = children(self._process.pid)
        return {int(name.removeprefix(SLOT_NAME)): pid for pid, name in found.items() if name.startswith(SLOT_NAME)}
