"""The one place that reads the environment, the host and the boot, and that claims this node's name.

Everything is read when asked and handed on as a value. A claimed name is held through a file lock until the process and
all it forked have gone, so a name is never in use twice on one data directory.
"""

import fcntl
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aether.config import NATS_URL_DEFAULT
from aether.errors import ConfigError

DATA_DIRECTORY_DEFAULT = Path(".aether")
URL_FILE = "nats.url"
"""In the data directory: where the embedded server listens, so that commands of the same directory find it."""

CLAIMS_MAX = 64
"""Supervisors that may share one data directory, each with a node name of its own."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def environment() -> Mapping[str, str]:
    """A copy of the environment variables."""
    return dict(os.environ)


def take_variable(name: str) -> str | None:
    """The value of a variable, which is then gone from the environment, so that no child inherits it."""
    return os.environ.pop(name, None)


def host_name() -> str:
    """The machine's name."""
    return socket.gethostname()


def boot_id() -> str:
    """Unique to this boot of the machine; empty where the kernel does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def usable_processors() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0))


def nats_url(variables: Mapping[str, str], data_directory: Path = DATA_DIRECTORY_DEFAULT) -> str:
    """Where a client finds NATS: `AETHER_NATS_URL`, else this directory's embedded server, else the usual port."""
    return variables.get("AETHER_NATS_URL") or recorded_url(data_directory) or NATS_URL_DEFAULT


def recorded_url(data_directory: Path) -> str | None:
    """The URL that the embedded server of a data directory has or last had."""
    try:
        return (data_directory / URL_FILE).read_text().strip() or None
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class NodeClaim:
    """A node name and the lock that holds it; None for a name that nothing could be locked for."""

    name: str
    lock_fd: int | None


def claim_node(data_directory: Path, given: str | None = None) -> NodeClaim:
    """A name for this supervisor that no other has: the first free one of the data directory, the same again later.

    A `given` name is taken at its word. Where the directory cannot be written the name is random, so that a container
    with a read-only disk works; its slots are then new ones after every restart.
    Raises `ConfigError` when all names of the directory are taken.
    """
    if given:
        return NodeClaim(given, None)
    try:
        nodes = make_directory(data_directory) / "nodes"
        nodes.mkdir(exist_ok=True)
    except (ConfigError, OSError):
        return NodeClaim(_new_node_name(), None)
    for number in range(CLAIMS_MAX):
        lock_fd = lock_file(nodes / str(number))
        if lock_fd is not None:
            return NodeClaim(_name_in(lock_fd), lock_fd)
    raise ConfigError(f"{CLAIMS_MAX} supervisors run in {data_directory} already", setting="data_dir")


def make_directory(directory: Path) -> Path:
    """The directory's absolute path, made and found writable, or `ConfigError`."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        resolved = directory.resolve(strict=True)
    except OSError as error:
        raise ConfigError(f"the data directory {directory} cannot be made: {error.strerror}",
                          setting="data_dir") from None  # fmt: skip
    if not os.access(resolved, os.W_OK | os.X_OK):
        raise ConfigError(f"the data directory {directory} is not writable", setting="data_dir")
    return resolved


def lock_file(path: Path) -> int | None:
    """A descriptor that holds the exclusive lock of a file, or None when another process holds it.

    The lock is shared with forked children and ends with the last of them that keeps the descriptor.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _name_in(fd: int) -> str:
    recorded = os.pread(fd, 200, 0).decode(errors="replace").strip()
    if recorded:
        return recorded
    name = _new_node_name()
    os.pwrite(fd, name.encode(), 0)
    return name


def _new_node_name() -> str:
    return f"{host_name()}-{secrets.token_hex(4)}"
