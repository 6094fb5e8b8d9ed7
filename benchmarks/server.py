"""One nats-server for a benchmark, on loopback, with a temporary store."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

START_TIMEOUT_S = 10.0


class Server:
    """A server that can be killed and started again on its store.

    `sync` says who makes what is stored durable: "default" no process, "always" the server, for each message; "barrier"
    who uses it, by syncs of its files in `store`. A `monitored` one tells its connections.
    """

    def __init__(self, sync: str, *, monitored: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="aether-bench-"))
        self._port = free_port()
        interval = 'sync_interval: "always"' if sync == "always" else ""
        self._config = self._folder / "nats.conf"
        self.sync = sync
        self.store = self._folder / "store"
        self._config.write_text(
            f'listen: "127.0.0.1:{self._port}"\njetstream {{ store_dir: "{self.store}"\n {interval} }}\n'
        )
        self._monitor = free_port() if monitored else 0
        if monitored:
            self._config.write_text(f'{self._config.read_text()}http: "127.0.0.1:{self._monitor}"\n')
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def connections(self) -> list[dict[str, Any]]:
        """What a monitored server says of its connections: `cid`, `in_msgs` and more of each."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/connz?limit=100000") as answer:
            found: list[dict[str, Any]] = json.load(answer)["connections"]
        return found

    def start(self) -> None:
        """Start it and wait until it listens."""
        binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
        command = [binary, "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for(self._port)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def nats_server(sync: str) -> Iterator[tuple[str, int]]:
    """Run a server; gives its URL and process id."""
    with Server(sync) as server:
        yield server.url, server.pid


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as found:
                if found.recv(4) == b"INFO":
                    return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nats-server did not listen on port {port}")
