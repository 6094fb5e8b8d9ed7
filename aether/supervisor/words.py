"""What the supervisor says: to people about its workers, and to systemd about itself.

Pure. Every line here is something an operator reads; the plan decides when.
"""

import signal

from aether.supervisor.roll import staying
from aether.supervisor.state import Phase, Slot, State


def ended(code: int) -> str:
    """How a process ended, from its exit code (negative for the signal that killed it)."""
    return f"exited with {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"


def overdue_why(slot: Slot) -> str:
    """What a worker whose time is up has failed to do."""
    if slot.stopping_at_s is not None:
        return "does not finish draining"
    return "does not become ready" if slot.ready_at_s is None else "is silent: its event loop hangs"


def workers(count: int) -> str:
    """A number of workers."""
    return f"{count} worker{'s' * (count != 1)}"


def status(state: State) -> str:
    """One line about the pool, as `systemctl status` shows it."""
    if state.phase is not Phase.RUNNING:
        return "draining"
    asked_for = staying(state.slots)
    if state.checking or any(slot.stale for slot in asked_for):
        return "reloading"
    ready = sum(slot.ready for slot in asked_for)
    of = f"{ready} of " * (ready < len(asked_for))
    called_off = "; the last reload was called off" * state.called_off
    return f"{of}{workers(len(asked_for))} ready{called_off}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
