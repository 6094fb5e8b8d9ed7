"""A real nats-server for a test: on loopback, on a free port, with a store of its own.

`NatsServer` is started, stopped, killed and frozen by its process, never by name. A missing binary is an error. It dies
with the thread that started it (see `tied`).
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.support.tied import command

START_TIMEOUT_S = 15.0


PORTS = range(10_000, 32_768)
"""Below those that the kernel gives to connections: one of them might take the port of a server that is away."""

CHANCE = random.SystemRandom()
"""Not the one that Hypothesis makes the same in each process."""


def free_port() -> int:
    """A port of loopback without a listener now; chance keeps it from other processes that look for one."""
    while True:
        port = CHANCE.choice(PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def nats_server_binary() -> str:
    """The nats-server beside this interpreter, else on the path."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise RuntimeError("nats-server is not installed; install the 'embedded' extra")
    return found


class NatsServer:
    """One server that can die and come back with its port and its store."""

    def __init__(
        self,
        *,
        jetstream: bool = True,
        options: Sequence[str] = (),
        config: str = "",
        binary: str | None = None,
        store: Path | None = None,
    ) -> None:
        self.port = free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="aether-nats-")
        self._store = store or Path(self._directory.name)
        self._arguments = [binary or nats_server_binary(), "-a", "127.0.0.1", "-p", str(self.port), *options]
        if jetstream:
            self._arguments += ["-js", "-sd", str(self._store)]
        if config:
            path = Path(self._directory.name) / "server.conf"
            path.write_text(config)
            self._arguments += ["-c", str(path)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        """Its `store_dir`."""
        return self._store

    def move(self, store: Path) -> None:
        """Have another store from the next start on."""
        self._arguments[self._arguments.index("-sd") + 1] = str(store)
        self._store = store

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        assert self._process is None
        self._process = subprocess.Popen(command(self._arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ends_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < ends_s:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    if connection.recv(5) == b"INFO ":
                        return
            except OSError:
                pass
            if self._process.poll() is not None:
                break
            # Nothing tells that another process listens; this is a start, not a test.
            time.sleep(0.01)
        self.kill()
        raise RuntimeError(f"nats-server did not start: {' '.join(self._arguments)}")

    def kill(self) -> None:
        """End it as a crash would. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def freeze(self) -> None:
        """Stop it from running, with its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)  # else it may still answer

    def thaw(self) -> None:
        """Let it run again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its store. Idempotent."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._directory.cleanup()

    def __enter__(self) -> "NatsServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
