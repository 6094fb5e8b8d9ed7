"""State machines that are one literal table: what an illegal step raises. Pure."""

from enum import Enum


class IllegalTransition(Exception):
    """A step that the table does not have: a bug of the caller. The state is unchanged."""

    def __init__(self, state: Enum, trigger: Enum) -> None:
        super().__init__(f"{trigger.value} cannot happen while {state.value}")
        self.state = state
        self.trigger = trigger
