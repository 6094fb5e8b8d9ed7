"""Child processes that cannot outlive their parent, by pid.

Owns the few Linux calls that Python lacks. Call from the main thread of a process without other threads: the kernel
ties `PR_SET_PDEATHSIG` to the thread that forked, and a forked child runs Python before it executes a program. It does
not reap children of other code: the code that started a child waits for it.
"""

import ctypes
import errno
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_EXEC_FAILED = 127
TERMINAL_SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU)
"""What a terminal sends to all processes at once, those of one supervisor among them."""

_KEEP_ENVIRONMENT = "SPT_NOENV"

_setproctitle: Callable[[str], None] | None = None
with suppress(ImportError):
    from setproctitle import setproctitle as _setproctitle

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies; leave at once when it is dead already."""
    if _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    if os.getppid() != parent_pid:
        os._exit(_EXEC_FAILED)


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose parent dies. It lasts over an exec."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_process_name(name: str, title: str) -> None:
    """Show as `name` in `ps -o comm` and `top`, where the kernel keeps 15 bytes, and as `title` in `ps aux`.

    The title needs the package setproctitle and has the place of the command line, so a long one is cut off.
    """
    if _setproctitle is not None:
        # Else it would take the place of the environment too, which is worth seeing in /proc.
        os.environ[_KEEP_ENVIRONMENT] = "1"
        _setproctitle(title)
        del os.environ[_KEEP_ENVIRONMENT]
    _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def mend_standard_streams() -> None:
    """Put the null device where standard input, output or error is closed or has lost its reader.

    A descriptor that is opened later must not get their numbers, and what is printed then must not fail.
    """
    for fd, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
        if _is_usable(fd):
            continue
        null_fd = os.open(os.devnull, os.O_RDONLY if fd == 0 else os.O_WRONLY)
        os.dup2(null_fd, fd)
        if null_fd != fd:
            os.close(null_fd)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, "r" if fd == 0 else "w", closefd=False))


def leave(code: int) -> NoReturn:
    """End this process now, whatever its threads do; what was printed is printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)


def _is_usable(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    if fd == 0:
        return True
    poller = select.poll()
    poller.register(fd, 0)
    return not any(events & select.POLLERR for _, events in poller.poll(0))


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` in the block when it takes longer. Main thread only; code in C that never waits goes on."""

    def interrupt(_number: int, _frame: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def spawn(arguments: Sequence[str], *, output_fd: int | None = None, new_session: bool = False,
          keep_fds: Sequence[int] = (), directory: Path | None = None,
          variables: Mapping[str, str] | None = None, ignores_terminal: bool = False) -> int:  # fmt: skip
    """Start a program that dies with this process; the pid.

    With `output_fd` its stdout and stderr go there. With `new_session` signals to this process's group or terminal do
    not reach it; with `ignores_terminal` it ignores `TERMINAL_SIGNALS` from its first moment on. Its other signals are
    unblocked and at their defaults; `keep_fds` stay open in it, all other descriptors above 2 that are not inheritable
    are closed. It runs in `directory` with the environment `variables`, by default those of this process. A program
    that cannot be executed exits with 127.
    """
    parent_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(arguments, parent_pid, output_fd, new_session, keep_fds, directory, variables, ignores_terminal)
    return pid


def _become(arguments: Sequence[str], parent_pid: int, output_fd: int | None, new_session: bool,
            keep_fds: Sequence[int], directory: Path | None,
            variables: Mapping[str, str] | None, ignores_terminal: bool) -> NoReturn:  # fmt: skip
    try:
        reset_signals()
        if ignores_terminal:
            ignore_terminal()
        if new_session:
            os.setsid()
        die_with_parent(parent_pid)
        null_fd = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null_fd, 0)
        if output_fd is not None:
            os.dup2(output_fd, 1)
            os.dup2(output_fd, 2)
        for fd in keep_fds:
            os.set_inheritable(fd, True)
        if directory is not None:
            os.chdir(directory)
        os.execve(arguments[0], list(arguments), dict(os.environ if variables is None else variables))
    finally:
        os._exit(_EXEC_FAILED)


def ignore_terminal() -> None:
    """Leave the signals of this process's terminal to the one that started it; programs it executes do so, too."""
    for number in TERMINAL_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def reset_signals() -> None:
    """Default action for every signal that had a Python handler, and none blocked; for a child just forked."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def wait_exit(pid: int, timeout_s: float) -> int | None:
    """Reap a child: its exit code (negative for the signal that killed it), or None when it runs on.

    A child that someone else has reaped counts as exited with 0.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ESRCH:
            return 0
        raise
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        poller.poll(max(0, round(timeout_s * 1000)))
    finally:
        os.close(pidfd)
    try:
        reaped, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 0
    return os.waitstatus_to_exitcode(status) if reaped else None


def stop(pid: int, timeout_s: float) -> int:
    """Ask a child to end, kill it after `timeout_s`; its exit code once it is reaped."""
    send_signal(pid, signal.SIGTERM)
    code = wait_exit(pid, timeout_s)
    while code is None:
        send_signal(pid, signal.SIGKILL)
        code = wait_exit(pid, timeout_s=1.0)
    return code


def send_signal(pid: int, number: int) -> bool:
    """Signal a process that has not been reaped; False when it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
