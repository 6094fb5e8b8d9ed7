"""Deadlocks between handlers that ask: who waits for whom, the circle in it, and which handler is put off.

The wait-for graph of the field (Chandy, Misra, Haas 1983, for processes that wait for all that they ask). An actor
whose handler asks waits for what it asks. An asked command either runs, or waits until its actor's own handler has
ended. A circle in which each runs what the one before it asked cannot be: the chain of an ask prevents it. So in every
circle an actor runs something else, and when its handler is put off, the command that waits for it can run.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias


class Ask(NamedTuple):
    """An ask without an answer: the actor that is asked (`kind/key`), and the id of the command."""

    actor: str
    command_id: str


class Waits(NamedTuple):
    """An actor whose handler waits: the id of the command that it runs, and its asks without an answer."""

    runs: str
    asks: tuple[Ask, ...]


class CircleStep(NamedTuple):
    """One actor of a circle: what it runs, and with which command it asks the next one."""

    actor: str
    runs: str
    asks: str


Circle: TypeAlias = tuple[CircleStep, ...]
"""Each asks the next one, the last one the first."""


def circle_through(actor: str, waits: Mapping[str, Waits]) -> Circle | None:
    """A circle that an actor is in, from it on; None when there is none among what is known."""
    came_from: dict[str, CircleStep] = {}
    stack = [actor]
    while stack:
        at = stack.pop()
        waiting = waits.get(at)
        for ask in () if waiting is None else waiting.asks:
            assert waiting is not None
            if ask.actor in came_from:
                continue
            came_from[ask.actor] = CircleStep(at, waiting.runs, ask.command_id)
            if ask.actor == actor:
                return _traced(actor, came_from)
            stack.append(ask.actor)
    return None


def _traced(actor: str, came_from: Mapping[str, CircleStep]) -> Circle:
    steps = [came_from[actor]]
    while steps[-1].actor != actor:
        steps.append(came_from[steps[-1].actor])
    return tuple(reversed(steps))


def put_off(circle: Circle) -> str:
    """The actor whose handler is put off, the same for all who see the circle; "" when there is none.

    It runs something else than what the one before it has asked, so that this can run when it is put off. Of several
    it is the one that runs the command with the last id.
    """
    pairs = zip((circle[-1], *circle), circle, strict=False)
    waited_for = [(step.runs, step.actor) for before, step in pairs if step.runs != before.asks]
    return max(waited_for)[1] if waited_for else ""
