"""How a supervisor becomes a fresh interpreter without letting go of its workers.

`exec` keeps the process: its pid, its children, its locks and the descriptors named here; only the code is new. The
state travels through an anonymous file whose descriptor is in one environment variable. Called from the supervisor's
loop only, with its signals blocked, so that none is lost between the two programs.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from aether.errors import ConfigError
from aether.supervisor.state import State
from aether.system.embedded import EmbeddedServer
from aether.system.node_claim import NodeClaim

VARIABLE = "AETHER_SUPERVISOR_HANDOVER"
_BYTES_MAX = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What the next interpreter takes over: state, node name with its lock, descriptors by the pid they listen to."""

    state: State
    node: NodeClaim
    status_fds: dict[str, int]
    note_fds: dict[str, int] = field(default_factory=dict)
    parent_read_fd: int
    parent_write_fd: int
    server: EmbeddedServer | None
    gateway_fd: int | None = None
    sync_failure_fd: int | None = None

    def descriptors(self) -> list[int]:
        """All that must stay open."""
        others = [fd for fd in (self.node.lock_fd, self.gateway_fd, self.sync_failure_fd) if fd is not None]
        if self.server is not None:
            others.append(self.server.lock_fd)
        return [*self.status_fds.values(), *self.note_fds.values(), self.parent_read_fd, self.parent_write_fd, *others]


def hand_over(handover: Handover, arguments: Sequence[str], directory: Path, variables: Mapping[str, str]) -> None:
    """Become `arguments`, in `directory`, with the handover; comes back, by `OSError`, only when that failed."""
    carrier_fd = os.memfd_create("aether-handover", 0)
    try:
        os.write(carrier_fd, msgspec.json.encode(handover, enc_hook=str))
        os.lseek(carrier_fd, 0, os.SEEK_SET)
        _set_inheritable(handover, True)
        os.chdir(directory)
        os.execve(arguments[0], list(arguments), {**variables, VARIABLE: str(carrier_fd)})
    finally:
        _set_inheritable(handover, False)
        os.close(carrier_fd)


def take_over(carrier: str | None) -> Handover | None:
    """The handover behind the variable's value, or None for a first start. Raises `ConfigError` for one unreadable."""
    if not carrier:
        return None
    try:
        carrier_fd = int(carrier)
        content = os.read(carrier_fd, _BYTES_MAX)
        os.close(carrier_fd)
        handover = msgspec.json.decode(content, type=Handover, dec_hook=_decode)
        _set_inheritable(handover, False)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise ConfigError(f"{VARIABLE} is set, but not by a supervisor: {error}", setting=VARIABLE) from None
    return handover


def _decode(kind: type, value: object) -> object:
    return kind(value)


def _set_inheritable(handover: Handover, inheritable: bool) -> None:
    for fd in handover.descriptors():
        os.set_inheritable(fd, inheritable)
