"""What the supervisor says: to people about its workers, and to systemd about itself.

Pure. Every line here is something an operator reads; the plan decides when.
"""

import signal
from collections.abc import Sequence

from aether.log_lines import printable
from aether.supervisor.rolling_restart import staying
from aether.supervisor.state import Check, Phase, Slot, State, SupervisorConfig
from aether.worker_protocol import Loss, Noted, NotedHandler


def ended(code: int) -> str:
    """How a process ended, from its exit code (negative for the signal that killed it)."""
    return f"exited with {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"


def while_running(noted: Noted, loss: Loss | None) -> str:
    """Which handlers the worker was running, and whether one of them is held against it."""
    if not noted.active:
        return ""
    if loss is None:
        unknown = "; which of them ended it, if one did, is not known" * (len(noted.active) > 1)
        return f" while it ran {_listed(noted.active)}{unknown}"
    beside = tuple(other for other in noted.active if other != loss.handler)
    others = f"; beside it ran {_listed(beside)}" if beside else ""
    return f" while it ran {_handler(loss.handler)}; it is noted as ended by that: {loss.cause}{others}"


def _listed(handlers: Sequence[NotedHandler]) -> str:
    return ", ".join(_handler(handler) for handler in handlers)


def _handler(noted: NotedHandler) -> str:
    what = f"{noted.command} (command id {noted.command_id})" if noted.command else "its replay"
    return printable(f"{noted.kind}/{noted.key} {what}")


def overdue_why(slot: Slot, silent: bool) -> str:
    """What a worker whose time is up has failed to do; `silent`: to say that its loop runs."""
    if silent:
        return "is silent: its event loop hangs"
    return "does not become ready" if slot.stopping_at_s is None else "does not finish draining"


def check_why(check: Check, code: int | None, config: SupervisorConfig) -> str:
    """Why the code of a reload did not pass; `code` is None when the check could not be started."""
    if check.dumped_at_s is not None:
        return f"the new code is not imported within {config.check_timeout_s:g} s"
    if code is None:
        return "the new code cannot be checked"
    return "the new code does not load" if code > 0 else f"the check of the new code {ended(code)}"


def workers(count: int) -> str:
    """A number of workers."""
    return f"{count} worker{'s' * (count != 1)}"


def status(state: State) -> str:
    """One line about the pool, as `systemctl status` shows it."""
    if state.phase is not Phase.RUNNING:
        return "draining"
    asked_for = staying(state.slots)
    if state.check is not None or any(slot.stale for slot in asked_for):
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
