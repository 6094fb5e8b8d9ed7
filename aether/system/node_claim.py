"""A supervisor's name in the cluster, and the lock that proves that no other supervisor of this machine has it.

Owns `<data directory>/node.id` and `<data directory>/nodes/<namespace>/<name>.lock`. The lock is held by the supervisor
and, because its workers are forked, by each of them for as long as it lives; no program that they execute inherits it.
So the process that gets the lock knows that every process that had it before is dead. The claim puts that into words
that fit in a row: equal claims name the same lock on the same boot of the same machine, so the reader of a row with its
own claim knows that the writer was forked by this supervisor or is dead. Synchronous; the lock file is never removed.
"""

import hashlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from aether.errors import ConfigError
from aether.names import encode_token
from aether.system.environment import boot_id, host_name, lock_file, make_directory
from aether.system.running_supervisor import NODES_DIRECTORY, record_supervisor

ID_FILE = "node.id"
NAME_BYTES_MAX = 128
LOCK_WAIT_S = 2.0
"""How long a predecessor that is just dying may hold the lock."""

_LOCK_EVERY_S = 0.02
_FILE_NAME_MAX = 200
_ID_BYTES_MAX = 200


@dataclass(frozen=True, slots=True)
class NodeClaim:
    """A node name, the descriptor of the lock that holds it, and the claim; None and "" where nothing can be locked."""

    name: str
    lock_fd: int | None = None
    claim: str = ""


def claim_node(
    data_directory: Path, namespace: str, given: str | None = None, lock_wait_s: float = LOCK_WAIT_S
) -> NodeClaim:
    """Lock the name of a supervisor of this namespace: the `given` one, else `<host name>-<id>`, the same again later.

    Where the directory cannot be written or locked, as in a container with a read-only disk, a given name is taken at
    its name and the default is random; there is no claim then. Raises `ConfigError` for a name that another supervisor
    holds for longer than `lock_wait_s`, and for one that cannot be a name.
    """
    if given:
        _check(given)
    try:
        directory = make_directory(data_directory)
        name = given or f"{host_name()}-{_id_of(directory)}"
        locks = directory / NODES_DIRECTORY / namespace
        locks.mkdir(parents=True, exist_ok=True)
        lock_path = locks / _file_name(name)
        lock_fd = _lock(lock_path, lock_wait_s)
    except (ConfigError, OSError):
        return NodeClaim(given or f"{host_name()}-{_new_id()}")
    if lock_fd is None:
        raise ConfigError(
            f"the node {name!r} of namespace {namespace!r} runs in {directory} already: stop that supervisor, or give "
            "this one another --node or another --data-dir",
            setting="node",
        )
    record_supervisor(lock_path)
    return NodeClaim(name, lock_fd, _claim_of(lock_fd))


def claim_text(identity: str, device: int, inode: int, boot: str) -> str:
    """The claim of a lock file: its recorded id, its place on this machine (a copied directory has the same id), and
    the boot; empty where the kernel does not say which boot it is, because a lock proves nothing about another machine.
    """
    if not boot:
        return ""
    return hashlib.sha256(f"{identity} {device} {inode} {boot}".encode()).hexdigest()[:32]


def _lock(path: Path, wait_s: float) -> int | None:
    give_up_s = time.monotonic() + wait_s
    while True:
        lock_fd = lock_file(path)
        if lock_fd is not None:
            if _is_still(path, lock_fd):
                return lock_fd
            os.close(lock_fd)
        elif time.monotonic() >= give_up_s:
            return None
        else:
            time.sleep(_LOCK_EVERY_S)


def _is_still(path: Path, fd: int) -> bool:
    """Whether the file was not removed between its opening and its lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _claim_of(lock_fd: int) -> str:
    try:
        identity = _recorded(lock_fd)
    except OSError:  # a full disk: the lock holds, and that it was ours cannot be proved later
        return ""
    place = os.fstat(lock_fd)
    return claim_text(identity, place.st_dev, place.st_ino, boot_id())


def _id_of(directory: Path) -> str:
    """The id of the data directory, made once. Its lock is held for moments only."""
    fd = _lock(directory / ID_FILE, LOCK_WAIT_S)
    if fd is None:
        raise ConfigError(f"{directory / ID_FILE} is locked by another program", setting="data_dir")
    try:
        return _recorded(fd)
    finally:
        os.close(fd)


def _recorded(fd: int) -> str:
    """The id in a locked file, which gets one when it has none, or only what a power cut has left of one."""
    recorded = os.pread(fd, _ID_BYTES_MAX, 0).decode(errors="replace").strip()
    if not recorded or not recorded.isascii() or not recorded.isprintable():
        recorded = _new_id()
        os.pwrite(fd, f"{recorded}\n".encode(), 0)
        os.ftruncate(fd, len(recorded) + 1)
    return recorded


def _new_id() -> str:
    return secrets.token_hex(4)


def _file_name(name: str) -> str:
    token = encode_token(name)
    if len(token) > _FILE_NAME_MAX:
        token = hashlib.sha256(token.encode()).hexdigest()
    return f"{token}.lock"


def _check(name: str) -> None:
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise ConfigError(f"a node's name is text, not {name!r}", setting="node") from None
    if length > NAME_BYTES_MAX:
        raise ConfigError(f"a node's name has at most {NAME_BYTES_MAX} bytes, this one {length}", setting="node")
