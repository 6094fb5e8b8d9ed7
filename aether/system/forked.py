"""What a process that a handler forks keeps of its worker: its memory, and nothing by which it could be taken for the
worker.

A worker calls `part_with_children` once. The hook runs in every child that Python forks in it, `multiprocessing` and
`os.fork` included. It does not run in a child that a C library forks, nor where a program is executed without Python in
between (`subprocess`), which keeps neither descriptors nor names. Those end with the worker because the supervisor ends
them, as do children of children.
"""

import faulthandler
import os
import threading
from collections.abc import Sequence

from aether.system.process import die_with_parent, reset_signals, set_process_name

_STDERR_FD = 2


def part_with_children(close_fds: Sequence[int], name: str, title: str) -> None:
    """Have each process that this one forks close these descriptors and show as `name` and `title`.

    Its signals are at their defaults: a SIGTERM for it would else be written into its parent's pipe. A direct child of
    the main thread dies with this process; the kernel would kill that of another thread when the thread ends.
    """
    parent_pid = os.getpid()
    of_main_thread = False

    def before() -> None:
        nonlocal of_main_thread
        of_main_thread = threading.get_native_id() == parent_pid

    def after_in_child() -> None:
        if faulthandler.is_enabled():
            faulthandler.enable(_STDERR_FD)  # not where its parent's stacks go
        for fd in close_fds:
            _close(fd)
        reset_signals()
        set_process_name(name, title)
        if of_main_thread:
            die_with_parent(parent_pid)

    os.register_at_fork(before=before, after_in_child=after_in_child)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        return  # a grandchild: its parent has closed it
