"""The command or task on whose behalf code runs: a context variable, and what log lines say of it.

A turn sets it before it calls a handler. Tasks that a handler starts, and its thread, inherit it, so they still have
their command when it is over. The stage that runs turns ends it, so that what the runtime does next has none.
"""

from collections.abc import Mapping
from contextvars import ContextVar

from aether.runtime.pending_command import PendingCommand

running: ContextVar[PendingCommand | None] = ContextVar("running", default=None)

running_task: ContextVar[Mapping[str, str] | None] = ContextVar("running_task", default=None)
"""What log lines say of the task on whose behalf code runs."""


def log_fields() -> dict[str, str]:
    """The actor, command, command id and correlation id of the command for which this code runs; empty without one.

    Of a task: its name, id and attempt, and actor, command id and correlation id of the command that has started it.
    """
    one = running.get()
    if one is None:
        return dict(running_task.get() or {})
    command = one.command
    return {
        "actor": str(one.deliveries[0].actor_id),
        "command": one.type.name,
        "command_id": command.id,
        "correlation_id": command.correlationid or command.id,
    }
