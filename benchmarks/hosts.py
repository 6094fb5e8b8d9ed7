"""Supervisors of the benchmark's model as processes, each a host of its own to the cluster."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from benchmarks.processes import children_of

NAMESPACE = "bench"
READY = re.compile(r"aether: (\d+) workers? ready")
READY_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 60.0


class Host:
    """One supervisor with its workers; used as a context manager it is drained, or killed, at the end."""

    def __init__(
        self,
        url: str,
        node: str,
        workers: int,
        ttl_s: int = 5,
        variables: Mapping[str, str] | None = None,
        model: str = "benchmarks.bank:model",
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="aether-bench-host-")
        self.log = Path(self._directory.name) / "log"
        self.node = node
        arguments = ["--workers", str(workers), "--nats", url, "--namespace", NAMESPACE, "--node", node]
        self._command = [sys.executable, "-m", "aether.supervisor", model, *arguments]
        self._command += ["--data-dir", self._directory.name]
        self._variables = {**os.environ, "AETHER_MEMBER_TTL_S": str(ttl_s), **(variables or {})}
        self.process = self._start()

    def again(self) -> None:
        """Start it once more, as its init system would."""
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self._command, stderr=log, env=self._variables)

    @property
    def workers(self) -> list[int]:
        """The pids of its workers."""
        return children_of(self.process.pid)[1:]

    def said_ready(self) -> int:
        """How often it has said that all its workers are ready."""
        return len(READY.findall(self.log.read_text()))

    def wait_ready(self, times: int = 1) -> None:
        """Wait until it has said so that many times."""
        give_up_s = time.monotonic() + READY_TIMEOUT_S
        while self.said_ready() < times:
            if time.monotonic() > give_up_s or self.process.poll() is not None:
                raise RuntimeError(f"host {self.node} is not ready:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.01)

    def kill(self) -> None:
        """End the supervisor as a crash of its host would; its workers die with it."""
        self.process.kill()
        self.process.wait(EXIT_TIMEOUT_S)

    def drain(self) -> int:
        """Ask it to drain; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(EXIT_TIMEOUT_S)

    def __enter__(self) -> "Host":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.log.read_text()[-4000:], file=sys.stderr)
        self.drain()
        self._directory.cleanup()
