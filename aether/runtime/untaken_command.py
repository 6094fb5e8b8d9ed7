"""What stands for a command that no handler is run for: the model does not take it, or it only ends something."""

from typing import Any

from aether.errors import AetherError
from aether.model.definition import Scope, State
from aether.wire import NULL


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
