"""Whether a worker's death is the fault of a handler that it was running, and of which.

Pure. A false blame refuses an innocent command, so it is laid only where nothing else explains the death: a signal that
code raises by itself, an exit out of the handler, a hang that the supervisor ended with that handler on the stack, and
a SIGKILL when the kernel has counted a process of our control group that it killed for want of memory. A SIGKILL that
nothing explains is an operator's. Never TERM, a drain that took too long, a disk that failed a sync, or a lost host.
Where more than one handler may have done it, it is laid to none.
"""

import signal

from aether.supervisor.state import Slot
from aether.worker_protocol import Loss, Noted, NotedHandler

FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)


def loss_of(slot: Slot, code: int, noted: Noted, out_of_memory: bool) -> Loss | None:
    """The loss that one of the noted handlers has caused; None when none did, or it is not known which."""
    cause, suspects = _cause(slot, code, noted, out_of_memory)
    if len(suspects) != 1:
        return None
    return Loss(handler=suspects[0], cause=cause, incarnation=slot.incarnation)


def _cause(slot: Slot, code: int, noted: Noted, out_of_memory: bool) -> tuple[str, tuple[NotedHandler, ...]]:
    """How the worker ended, and the handlers that may have ended it so."""
    if -code in FATAL:
        return signal.Signals(-code).name, noted.crash
    if slot.stopping_at_s is not None:
        return "", ()
    if slot.killed:
        return "a hang", noted.hang
    if code >= 0:
        return f"an exit with {code}", noted.active
    return "want of memory", noted.active if -code == signal.SIGKILL and out_of_memory else ()
