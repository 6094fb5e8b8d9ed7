"""PostgreSQL and Restate as processes of a benchmark: on loopback, in a temporary directory, ended by their id.

Both write as they do by default: PostgreSQL with fsync and synchronous commits, Restate with its log synced.
"""

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.server import free_port

PEERS = Path(".venv-peers")
PYTHON = PEERS / "bin" / "python"
HYPERCORN = PEERS / "bin" / "hypercorn"
RESTATE = PEERS / "restate" / "node_modules" / "@restatedev"

START_TIMEOUT_S = 60.0
EXIT_TIMEOUT_S = 20.0
USER = "postgres"
"""Who runs PostgreSQL when we are root, which it refuses."""


def why_no_postgres() -> str | None:
    """What is missing to run it, or None."""
    return None if shutil.which("initdb") and shutil.which("postgres") else "initdb and postgres are not on the path"


def why_no_restate() -> str | None:
    """What is missing to run it, or None."""
    return None if _restate_binaries() else f"there is no server in {RESTATE}: see what benchmarks/peers/run said"


def _restate_binaries() -> list[Path]:
    """The server of this platform itself, not the script that starts it."""
    return [path.resolve() for path in RESTATE.glob("restate-server-*/bin/restate-server")]


@contextlib.contextmanager
def process_of(
    command: Sequence[str | Path], variables: Mapping[str, str] | None = None, user: str | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in a session of its own, ended on the way out."""
    environment = {**os.environ, **(variables or {})}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [str(part) for part in command],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            user=user,
            start_new_session=True,
        )
        try:
            yield process
        except BaseException:
            log.seek(0)
            print(log.read()[-2000:].decode(errors="replace"))
            raise
        finally:
            process.terminate()
            try:
                process.wait(EXIT_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def postgres() -> Iterator[tuple[Mapping[str, str], int]]:
    """A fresh PostgreSQL: what `eventsourcing` and DBOS need to know of it, and its process."""
    user = USER if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="aether-bench-postgres-"))
    try:
        if user:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        port, store = free_port(), folder / "store"
        made = ["initdb", "--auth=trust", "--username=bench", "--no-locale", "--encoding=UTF8", f"--pgdata={store}"]
        subprocess.run(made, check=True, user=user, cwd=folder, stdout=subprocess.DEVNULL)
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder}
        options |= {"fsync": "on", "synchronous_commit": "on", "max_connections": 100}
        command = ["postgres", "-D", str(store), *(f"--{name}={value}" for name, value in options.items())]
        with process_of(command, user=user) as process:
            _until(lambda: subprocess.run(
                ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode == 0)  # fmt: skip
            yield (
                {
                    "DATABASE_URL": f"postgresql+psycopg://bench:bench@127.0.0.1:{port}/postgres",
                    "PERSISTENCE_MODULE": "eventsourcing.postgres",
                    "POSTGRES_DBNAME": "postgres",
                    "POSTGRES_HOST": "127.0.0.1",
                    "POSTGRES_PORT": str(port),
                    "POSTGRES_USER": "bench",
                    "POSTGRES_PASSWORD": "bench",
                    "POSTGRES_POOL_SIZE": "20",
                },
                process.pid,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def sqlite() -> Iterator[Mapping[str, str]]:
    """A fresh SQLite file: what `eventsourcing` needs to know of it."""
    with tempfile.TemporaryDirectory(prefix="aether-bench-sqlite-") as folder:
        yield {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": f"{folder}/bank.sqlite"}


@contextlib.contextmanager
def restate() -> Iterator[tuple[str, int, int]]:
    """A fresh Restate with the account registered: its ingress, and the processes of server and service."""
    ingress, admin, node, service = (f"127.0.0.1:{free_port()}" for _ in range(4))
    variables = {
        "RESTATE_INGRESS__BIND_ADDRESS": ingress,
        "RESTATE_ADMIN__BIND_ADDRESS": admin,
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "warn",
    }
    with tempfile.TemporaryDirectory(prefix="aether-bench-restate-") as folder, contextlib.ExitStack() as stack:
        served: list[str | Path] = [HYPERCORN, "--bind", service, "--workers", "1", "benchmarks.peers.restate_bank:app"]
        bank = stack.enter_context(process_of(served))
        command: list[str | Path] = [_restate_binaries()[0], "--no-logo", "--listen-mode", "tcp", "--base-dir", folder]
        command += ["--bind-address", node, "--advertised-address", f"http://{node}", "--node-name", "bench"]
        server = stack.enter_context(process_of(command, variables))
        _until(lambda: _answers(f"http://{admin}/health"))
        _until(lambda: _registered(f"http://{admin}/deployments", f"http://{service}"))
        yield f"http://{ingress}", server.pid, bank.pid


def _registered(url: str, service: str) -> bool:
    body = json.dumps({"uri": service}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})  # noqa: S310 - loopback
    return _answers(request)


def _answers(request: "str | urllib.request.Request") -> bool:
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
            return bool(answer.status < 300)
    except (urllib.error.URLError, OSError):
        return False


def _until(ready: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if time.monotonic() > ends_s:
            raise RuntimeError("a server did not get ready")
        time.sleep(0.1)
