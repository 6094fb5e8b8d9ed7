"""Signals of the supervisor: the handlers only enqueue, the loop takes requests out of the queue.

The interpreter writes each signal's number into a pipe, which the loop waits for beside other descriptors.
"""

import faulthandler
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass

from aether.supervisor.state import Request
from aether.supervisor.worker_pipes import read_now

REQUESTS: Mapping[int, Request] = {
    signal.SIGTERM: Request.DRAIN,
    signal.SIGINT: Request.INTERRUPT,
    signal.SIGHUP: Request.RELOAD,
    signal.SIGTTIN: Request.MORE,
    signal.SIGTTOU: Request.LESS,
    signal.SIGUSR1: Request.DUMP,
}

_HANDLED = frozenset({*REQUESTS, signal.SIGCHLD})


def block_signals() -> None:
    """Hold back the supervisor's signals, until `supervise` handles them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)


def unblock_signals() -> None:
    """Let the supervisor's signals in again."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)


@dataclass(slots=True)
class SignalQueue:
    """The pipe in which signals queue."""

    read_fd: int = -1
    write_fd: int = -1

    def __enter__(self) -> None:
        block_signals()
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in _HANDLED:
            signal.signal(number, _only_enqueue)
        signal.set_wakeup_fd(self.write_fd, warn_on_full_buffer=False)
        faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)
        unblock_signals()

    def __exit__(self, *_: object) -> None:
        block_signals()
        faulthandler.unregister(signal.SIGUSR1)
        signal.set_wakeup_fd(-1)
        os.close(self.read_fd)
        os.close(self.write_fd)

    def requests(self) -> list[Request]:
        """What was asked for since the last time, in order."""
        return [REQUESTS[number] for number in read_now(self.read_fd) or b"" if number in REQUESTS]


def _only_enqueue(_number: int, _frame: object) -> None:
    """The interpreter has written the number into the pipe; there is nothing else to do."""
