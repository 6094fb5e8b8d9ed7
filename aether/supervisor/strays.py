"""Processes that handlers have forked and that have lost their parent: they end with their worker.

The supervisor is a subreaper (prctl(2)), so a process below it that loses its parent becomes its child. What appears
with the end of a worker, or of a stray that was ended, was that process's child and is killed. What was there before
has been detached by a handler on purpose; it goes on until the supervisor leaves. Called from the supervisor's loop
only.
"""

import os
import signal
import time
from collections.abc import Collection

from aether.system.process import adopt_orphans, send_signal, wait_exit

END_TIMEOUT_S = 2.0
"""A process that is not gone after so long waits in the kernel, for a disk perhaps: nothing can end it."""

_TASKS = "/proc/self/task"


class Strays:
    """The children of this process that it did not start."""

    def __init__(self) -> None:
        self._detached: set[int] = set()
        self._there: set[int] = set()
        self._ended: set[int] = set()
        adopt_orphans()

    def look(self, ours: Collection[int]) -> None:
        """Remember who is there when all that died have been reaped; `ours` are the children that we started.

        A process that is there for the first time may have lost a worker that died just now: it counts from the next
        time on.
        """
        there = children() - set(ours) - self._ended
        self._detached, self._there = there & self._there, there

    def end_those_of(self, dead_pid: int, ours: Collection[int], was_worker: bool) -> None:
        """Kill what a process has left behind that has just been reaped, if it was a worker or an ended stray."""
        if was_worker or dead_pid in self._ended:
            self._end(children() - set(ours) - self._detached - self._ended)
        self._ended.discard(dead_pid)

    def end_all(self, ours: Collection[int]) -> None:
        """Kill every stray, because the supervisor leaves; they are reaped here, and their children with them."""
        give_up_s = time.monotonic() + END_TIMEOUT_S
        while (strays := children() - set(ours)) and time.monotonic() < give_up_s:
            self._end(strays)
            for pid in strays:
                wait_exit(pid, give_up_s - time.monotonic())

    def _end(self, pids: set[int]) -> None:
        for pid in pids:
            send_signal(pid, signal.SIGKILL)
        self._ended |= pids


def children() -> set[int]:
    """The pids of this process's children; none where the kernel does not say."""
    found: set[int] = set()
    # An idle supervisor does little else, and pathlib takes three times as long.
    for task in os.listdir(_TASKS):  # noqa: PTH208 - see above
        try:
            with open(f"{_TASKS}/{task}/children", "rb", buffering=0) as pids:  # noqa: PTH123 - see above
                found.update(map(int, pids.read().split()))
        except OSError:  # a kernel without them, or a thread that has just ended
            continue
    return found
