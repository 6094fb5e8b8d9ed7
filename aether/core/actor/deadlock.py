"""Deadlocks between handlers that ask: who waits for whom, who of them wait for each other, which handler is put off.

The wait-for graph of the field (Chandy, Misra, Haas 1983, for processes that wait for all that they ask). An actor
whose handler asks waits for what it asks. An asked command either runs, or waits until its actor's own handler has
ended. A handler with several asks may be in several circles. So what is looked at are all actors that wait for each
other (a strongly connected component of the graph): each of them sees the same ones, and chooses the same handlers.

Who yields is decided by paths, which say for whom a command runs: of two that are in each other's way the one with the
greater path (as in wound-wait; Rosenkrantz, Stearns, Lewis 1978). An ask may also wait behind a handler that runs for
the asking command itself, which waits for it anyway; that one does not yield. Every deadlock has a handler that yields:
seen from the last command that all of it runs for, a circle leads through several branches, and from one branch into
another only by an ask that waits. The command with the smallest path never yields, so it ends, and then the next one.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

PUT_OFF_MAX = 8
"""At most so many handlers of one deadlock are put off at once."""


class Ask(NamedTuple):
    """An ask without an answer: the actor that is asked (`kind/key`), and the id of the command."""

    actor: str
    command_id: str


class Waits(NamedTuple):
    """An actor whose handler waits: the id of the command that it runs, and its asks without an answer.

    `path` is the correlation id of the command, then the actors that wait for it, outermost first, and this actor.
    Workers of earlier versions do not say it.
    """

    runs: str
    asks: tuple[Ask, ...]
    path: tuple[str, ...] = ()


WaitGraph: TypeAlias = Mapping[str, Waits]
"""What actors wait for, as far as it is known."""


def lasting(before: WaitGraph, now: WaitGraph) -> WaitGraph:
    """What actors wait for in both of two looks, for the same commands."""
    found = {}
    for actor, waits in now.items():
        earlier = before.get(actor)
        if earlier is not None and earlier.runs == waits.runs:
            asked = set(earlier.asks)
            found[actor] = waits._replace(asks=tuple(ask for ask in waits.asks if ask in asked))
    return found


def deadlock_of(actor: str, waits: WaitGraph) -> WaitGraph:
    """The actors that wait for each other, this one among them, with their asks of each other; empty without any."""
    asked = {one: [ask.actor for ask in waiting.asks] for one, waiting in waits.items()}
    asked_by: dict[str, list[str]] = {}
    for one, targets in asked.items():
        for target in targets:
            asked_by.setdefault(target, []).append(one)
    among = _reached(actor, asked) & _reached(actor, asked_by)
    return {
        one: waits[one]._replace(asks=tuple(ask for ask in waits[one].asks if ask.actor in among))
        for one in waits
        if one in among
    }


def _reached(actor: str, steps: Mapping[str, Iterable[str]]) -> set[str]:
    """What is one or more steps from an actor; itself, if there is a way back."""
    reached: set[str] = set()
    stack = [actor]
    while stack:
        for following in steps.get(stack.pop(), ()):
            if following not in reached:
                reached.add(following)
                stack.append(following)
    return reached


def put_off(actor: str, waits: WaitGraph) -> bool:
    """Whether the handler of this actor is one that is put off, so that all who wait for each other go on.

    Of those that a command with a smaller path waits for it is the one with the greatest path. Others follow while some
    wait for each other without it.
    """
    left = dict(waits)
    for _ in range(PUT_OFF_MAX):
        left = dict(deadlock_of(actor, left))
        yielding = [
            (_path(left[ask.actor]), ask.actor)
            for waiting in left.values()
            for ask in waiting.asks
            if ask.command_id != left[ask.actor].runs and _goes_first(_path(waiting), _path(left[ask.actor]))
        ]
        if not yielding:
            return False
        chosen = max(yielding)[1]
        if chosen == actor:
            return True
        del left[chosen]
    return False


def _path(waits: Waits) -> tuple[str, ...]:
    return waits.path or (waits.runs,)


def _goes_first(path: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether a path is smaller than another one that does not run for it."""
    return path < other and other[: len(path)] != path
