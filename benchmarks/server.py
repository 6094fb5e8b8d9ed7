"""One nats-server for a benchmark, on loopback, with a temporary store."""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def nats_server(sync: str) -> Iterator[tuple[str, int]]:
    """Run a server whose `sync_interval` is "default" or "always"; gives its URL and process id."""
    folder = Path(tempfile.mkdtemp(prefix="aether-bench-"))
    port = free_port()
    interval = 'sync_interval: "always"' if sync == "always" else ""
    config = folder / "nats.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\njetstream {{ store_dir: "{folder}/store"\n {interval} }}\n')
    binary = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or "nats-server"
    with subprocess.Popen([binary, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(port)
            yield f"nats://127.0.0.1:{port}", process.pid
        finally:
            process.terminate()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline_s = time.monotonic() + 10
    while time.monotonic() < deadline_s:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as found:
                if found.recv(4) == b"INFO":
                    return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nats-server did not listen on port {port}")
