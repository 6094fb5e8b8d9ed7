"""State machines that are one literal table: what an illegal step raises, and the diagram that a table draws. Pure."""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

StateT = TypeVar("StateT", bound=Enum)
TriggerT = TypeVar("TriggerT", bound=Enum)


class IllegalTransition(Exception):
    """A step that the table does not have: a bug of the caller. The state is unchanged."""

    def __init__(self, state: Enum, trigger: Enum) -> None:
        super().__init__(f"{trigger.value} cannot happen while {state.value}")
        self.state = state
        self.trigger = trigger


def mermaid(transitions: Mapping[tuple[StateT, TriggerT], StateT], initial: StateT) -> str:
    """The table as a mermaid state diagram; a state that cannot be left is an end."""
    steps: dict[tuple[StateT, StateT], list[str]] = {}
    for (before, trigger), after in transitions.items():
        steps.setdefault((before, after), []).append(trigger.value)
    states = list(dict.fromkeys(state for (before, _), after in transitions.items() for state in (before, after)))
    left = {before for before, _ in steps}
    lines = ["stateDiagram-v2", *(f'    state "{state.value}" as {state.name}' for state in states)]
    lines.append(f"    [*] --> {initial.name}")
    lines += [
        f"    {before.name} --> {after.name}: {', '.join(triggers)}" for (before, after), triggers in steps.items()
    ]
    lines += [f"    {state.name} --> [*]" for state in states if state not in left]
    return "\n".join(lines)
