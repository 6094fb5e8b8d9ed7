"""Whether a worker's death is the fault of the handler that it was running, and of which.

Pure. A false blame refuses an innocent command, so it is laid only where nothing else explains the death: a signal that
code raises by itself, an exit out of the handler, a hang that the supervisor ended with that handler on the stack, and
a SIGKILL when the kernel has counted a process of our control group that it killed for want of memory. A SIGKILL that
nothing explains is an operator's. Never TERM, a drain that took too long, a disk that failed a sync, or a lost host.
"""

import signal

from aether.config import EXIT_SYNC_FAILED, Loss, NotedHandler
from aether.supervisor.state import Slot

FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)


def loss_of(slot: Slot, code: int, noted: NotedHandler | None, out_of_memory: bool) -> Loss | None:
    """The loss that the noted handler has caused; None when it did not."""
    cause = None if noted is None else _cause(slot, code, out_of_memory)
    if noted is None or cause is None:
        return None
    return Loss(handler=noted, cause=cause, incarnation=slot.incarnation)


def _cause(slot: Slot, code: int, out_of_memory: bool) -> str | None:
    if -code in FATAL:
        return signal.Signals(-code).name
    if slot.stopping_at_s is not None or code == EXIT_SYNC_FAILED:
        return None
    if slot.killed:
        return "a hang"
    if code >= 0:
        return f"an exit with {code}"
    return "want of memory" if -code == signal.SIGKILL and out_of_memory else None
