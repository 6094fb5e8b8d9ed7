"""A real pool as users run it: `python -m aether.supervisor` in a process, on a server of the test's choice."""

import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

READY = re.compile(r"aether: (\d+) workers? ready")
DRAINED = re.compile(r"INFO aether\.worker: drained")
SERVING = re.compile(r"-(\d+)\[(\d+)\] INFO aether\.worker: serving")


class Pool:
    """Used as a context manager: started and ready inside, drained after it. `lines` is its log so far."""

    def __init__(
        self,
        model: str,
        *options: str,
        directory: Path | None = None,
        program: Sequence[str] = ("aether.supervisor",),
        variables: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        stdout: int | None = None,
        data: Path | None = None,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="aether-pool-")
        self.data_dir = str(data or self._directory.name)
        command = [*prefix, sys.executable, "-P", "-m", *program, model, "--data-dir", self.data_dir, *options]
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            command, cwd=directory or root, stdout=stdout, stderr=subprocess.PIPE, text=True, env=variables
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def data(self) -> Path:
        """Its data directory."""
        return Path(self._directory.name)

    def wait_for(self, pattern: re.Pattern[str], count: int = 1) -> list[re.Match[str]]:
        """The first `count` matches in its log, when they have come; an error when it ends before."""
        with self._changed:
            while len(found := [m for line in self.lines if (m := pattern.search(line))]) < count:
                assert self._reader.is_alive(), "the pool ended:\n" + "".join(self.lines)
                self._changed.wait(timeout=1)
            return found[:count]

    def worker_pids(self, count: int) -> dict[int, int]:
        """The newest process of each slot, once `count` workers in all have said that they serve."""
        return {int(m[1]): int(m[2]) for m in self.wait_for(SERVING, count)}

    def reload(self) -> None:
        """HUP it, and wait for nothing."""
        self.process.send_signal(signal.SIGHUP)

    def drain(self) -> int:
        """TERM it; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def __enter__(self) -> "Pool":
        self.wait_for(READY)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.drain()
        self.close()

    def close(self) -> None:
        """Forget a process that has ended."""
        self._reader.join(timeout=10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        self._directory.cleanup()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
