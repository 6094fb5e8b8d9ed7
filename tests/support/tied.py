"""Runs a program that dies with the process that started it, also when a test run is killed and cleans up nothing.

`command` gives the command line: this file, run as a script, ties itself to its parent and then becomes the program, so
the process id stays. The kernel ties it to the *thread* that started it: start from a thread that lives as long as the
program should.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def command(program: Sequence[str]) -> list[str]:
    """The command line that runs `program` tied to this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *program]


def _become(parent_pid: int, program: Sequence[str]) -> None:
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError("this process cannot be tied to its parent")
    if os.getppid() == parent_pid:
        os.execv(program[0], list(program))


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
