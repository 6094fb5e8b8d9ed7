"""What stands for a command that no handler is run for: the model does not take it, or it only ends something."""

from typing import Any

from aether.core.actor.agenda import is_bare_result, is_tick_or_result
from aether.errors import AetherError, UnknownCommand
from aether.model.definition import Scope, State
from aether.wire import NULL, TICK_COMMAND, Command


class UntakenCommand:
    """A `CommandType` for what the model does not take, and why. It is never invoked."""

    query = False
    blocking = False

    def __init__(self, name: str, error: AetherError) -> None:
        self.name = name
        self.error = error

    def invoke(self, state: State, scope: Scope, args: Any) -> Any:
        """Raises."""
        raise self.error

    def encode_reply(self, value: Any) -> bytes:
        """There is none."""
        return NULL


_TICK = UntakenCommand(TICK_COMMAND, UnknownCommand("a tick is for the actor that has set its schedule"))
"""Of a tick that is for another actor; it is never invoked."""

_BARE_RESULT = UntakenCommand("", UnknownCommand("the result of a task has no command"))
"""Of the result of a task that no command is run for; it is never invoked."""


def untaken_told(told: Command) -> UntakenCommand | None:
    """What stands for a command that was told and that no handler runs for; None for every other."""
    if is_bare_result(told.id, told.command):
        return _BARE_RESULT
    return _TICK if told.command == TICK_COMMAND and is_tick_or_result(told.id) else None
