"""The one place that reads the environment, the host and the boot, and the files of a data directory that describe it.

Everything is read when asked and handed on as a value.
"""

import fcntl
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import aether.core.actor.commit_draft
from aether.config import NATS_URL_DEFAULT
from aether.errors import ConfigError

DATA_DIRECTORY_DEFAULT = Path(".aether")
URL_VARIABLE = "AETHER_NATS_URL"
NAMESPACE_VARIABLE = "AETHER_NAMESPACE"
POOL_MODEL_VARIABLE = "AETHER_POOL_MODEL"
"""Set by a worker: the name of the model that its pool runs."""

URL_FILE = "nats.url"
"""In the data directory: where the embedded server listens, so that commands of the same directory find it."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def environment() -> Mapping[str, str]:
    """A copy of the environment variables."""
    return dict(os.environ)


def take_variable(name: str) -> str | None:
    """The value of a variable, which is then gone from the environment, so that no child inherits it."""
    return os.environ.pop(name, None)


def is_compiled() -> bool:
    """Whether the hot path runs as C, which binary wheels have, or as Python."""
    return not str(aether.core.actor.commit_draft.__file__).endswith(".py")


def current_directory() -> Path:
    """Where this process is now; `ConfigError` when the directory is gone."""
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError(f"the current directory cannot be read: {error.strerror}", setting="data_dir") from None


def import_from_here() -> None:
    """Put the current directory first on the import path.

    First, because a package of the user's project comes before one of the same name that is installed beside Aether.
    Raises `ConfigError` when the directory is gone.
    """
    directory = str(current_directory())
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)


def host_name() -> str:
    """The machine's name."""
    return socket.gethostname()


def boot_id() -> str:
    """Unique to this boot of the machine; empty where the kernel does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def usable_processors() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0))


def nats_url(variables: Mapping[str, str], data_directory: Path = DATA_DIRECTORY_DEFAULT) -> str:
    """Where a client finds NATS: `AETHER_NATS_URL`, else this directory's embedded server, else the usual port."""
    return variables.get(URL_VARIABLE) or recorded_url(data_directory) or NATS_URL_DEFAULT


def namespace_of(variables: Mapping[str, str], model: str | None = None) -> str | None:
    """The namespace that a client of a model (or of none) means: `AETHER_NAMESPACE`, else the model's name.

    In a worker, and in children of its handlers, `AETHER_NAMESPACE` is for clients of the worker's own model only.
    """
    if model is not None and variables.get(POOL_MODEL_VARIABLE, model) != model:
        return model
    return variables.get(NAMESPACE_VARIABLE) or model


def join_pool(url: str, namespace: str, model: str) -> None:
    """Say to this process and its children which pool they belong to, for clients that name none."""
    os.environ.update({URL_VARIABLE: url, NAMESPACE_VARIABLE: namespace, POOL_MODEL_VARIABLE: model})


def recorded_url(data_directory: Path) -> str | None:
    """The URL that the embedded server of a data directory has or last had."""
    try:
        return (data_directory / URL_FILE).read_text().strip() or None
    except OSError:
        return None


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

    The lock is shared with forked children and ends with the last of them that keeps the descriptor; programs that are
    executed do not inherit it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:  # a file system without locks
        os.close(fd)
        raise
    return fd
