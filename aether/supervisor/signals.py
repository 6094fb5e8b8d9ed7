"""Signals of the supervisor: the handlers only enqueue, the loop takes requests out of the queue.

The interpreter writes each signal's number into a pipe, which the loop waits for beside other descriptors. SIGHUP has
two meanings: by hand, or by `aether reload`, it asks for fresh code; the kernel sends it when the terminal is closed.
"""

import faulthandler
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

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

HANGUP_AFTER_S = 2.0
"""A shell passes the loss of its terminal on to its jobs within this time, in seconds."""

_HANDLED = frozenset({*REQUESTS, signal.SIGCHLD})


def block_signals() -> None:
    """Hold back the supervisor's signals, until `supervise` handles them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)


def unblock_signals() -> None:
    """Let the supervisor's signals in again."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)


def has_terminal() -> bool:
    """Whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


class Terminal:
    """Whether the terminal of this process was closed a moment ago; `look` says whether it is there."""

    def __init__(self, look: Callable[[], bool] = has_terminal) -> None:
        self._look = look
        self._there = look()
        self._lost_at_s = float("-inf")

    def lost(self, now_s: float) -> bool:
        """To be called more often than each `HANGUP_AFTER_S`, with the monotonic clock."""
        if self._there and not self._look():
            self._there, self._lost_at_s = False, now_s
        return now_s - self._lost_at_s <= HANGUP_AFTER_S


@dataclass(slots=True)
class SignalQueue:
    """The pipe in which signals queue. `nohup` set SIGHUP to be ignored: then a closed terminal asks for nothing."""

    read_fd: int = -1
    write_fd: int = -1
    nohup: bool = False
    terminal: Terminal = field(default_factory=Terminal)

    def __enter__(self) -> None:
        block_signals()
        self.read_fd, self.write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        for number in _HANDLED:
            signal.signal(number, _only_enqueue)
        signal.set_wakeup_fd(self.write_fd, warn_on_full_buffer=False)
        faulthandler.register(signal.SIGUSR1, all_threads=True, chain=True)
        unblock_signals()

    def __exit__(self, *_: object) -> None:
        block_signals()
        faulthandler.unregister(signal.SIGUSR1)
        self.leave_to_successor()
        signal.set_wakeup_fd(-1)
        os.close(self.read_fd)
        os.close(self.write_fd)

    def requests(self) -> list[Request]:
        """What was asked for since the last time, in order."""
        numbers = read_now(self.read_fd) or b""
        lost = self.terminal.lost(time.monotonic())
        return requests_of(numbers, terminal_lost=lost, nohup=self.nohup)

    def leave_to_successor(self) -> None:
        """Before an exec, with signals blocked: the next program learns from the action of SIGHUP what `nohup` set."""
        if self.nohup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def take_back(self) -> None:
        """After an exec that failed."""
        signal.signal(signal.SIGHUP, _only_enqueue)


def requests_of(numbers: bytes, *, terminal_lost: bool, nohup: bool) -> list[Request]:
    """What signals ask for, in order."""
    asked = dict(REQUESTS)
    if terminal_lost:
        del asked[signal.SIGHUP]
        if not nohup:
            asked[signal.SIGHUP] = Request.DRAIN
    return [asked[number] for number in numbers if number in asked]


def _only_enqueue(_number: int, _frame: object) -> None:
    """The interpreter has written the number into the pipe; there is nothing else to do."""
