"""The check of fresh code: a program that imports the model and proves that it came to the end of that.

An exit code proves nothing, because a module may end the process while it is imported. So the check gets the write end
of a pipe, by the variable `AETHER_CHECK_FD`, and writes the proof there when the model has been loaded. Started by the
supervisor's loop only, one at a time.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from aether.config import EXIT_CANNOT_BOOT
from aether.errors import ConfigError
from aether.system.process import leave, spawn

VARIABLE = "AETHER_CHECK_FD"
_PROOF = b"loaded"


@dataclass(frozen=True, slots=True)
class RunningCheck:
    """The check as a process, and the read end of its pipe."""

    pid: int
    proof_fd: int

    def ended(self, code: int) -> int:
        """The exit code to believe, once the process is reaped: 0 with the proof only. Closes the pipe."""
        try:
            proof = os.read(self.proof_fd, len(_PROOF))
        except BlockingIOError:  # a process that the module forked has the other end
            proof = b""
        os.close(self.proof_fd)
        return code if code != 0 or proof == _PROOF else EXIT_CANNOT_BOOT


def start_check(program: Sequence[str], directory: Path, variables: Mapping[str, str]) -> RunningCheck:
    """Start the check as users start their pool: in that directory, with these variables. Raises `OSError`."""
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        given = {**variables, VARIABLE: str(write_fd)}
        pid = spawn(program, keep_fds=(write_fd,), directory=directory, variables=given, ignores_terminal=True)
    except OSError:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    return RunningCheck(pid, read_fd)


def prove(variable: str) -> NoReturn:
    """Write the proof to the descriptor that `AETHER_CHECK_FD` named, and leave: threads of the model go on for ever.

    Raises `ConfigError` for a value that a supervisor did not set.
    """
    try:
        os.write(int(variable), _PROOF)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{VARIABLE} is set, but not by a supervisor: {error}", setting=VARIABLE) from None
    leave(0)
