"""Admission: how many commands may wait for an answer in one worker. The one writer of that number."""

from collections.abc import Sequence

from aether.errors import Overloaded
from aether.runtime.counters import Counters

CHAIN_MAX = 32
"""How many actors may wait for each other's answers in one chain."""


class Admission:
    """One a worker. `waiting` commands were admitted and have no answer yet; queries and readings of states count too.

    It runs on the event loop only.
    """

    __slots__ = ("_counters", "_waiting_max", "waiting")

    def __init__(self, waiting_max: int, counters: Counters) -> None:
        self._waiting_max = waiting_max
        self._counters = counters
        self.waiting = 0

    def admit(self, chain: Sequence[str] = ()) -> None:
        """Count one more command, for which the actors of `chain` wait. Raises `Overloaded` at `waiting_max`.

        For each actor that waits so many more are admitted. Else commands that have been admitted could wait for
        others that never are.
        """
        if self.waiting >= self._waiting_max and self.waiting >= self._waiting_max * (1 + min(len(chain), CHAIN_MAX)):
            raise self.refusal(f"the worker has {self._waiting_max} commands waiting", "waiting_max")
        self.waiting += 1

    def release(self, commands: int = 1) -> None:
        """So many admitted commands have their answers, or will get none here."""
        self.waiting -= commands

    def refusal(self, why: str, limit: str) -> Overloaded:
        """The error of a command that is refused at a bound, counted; `limit` names the setting."""
        self._counters.overloaded += 1
        return Overloaded(why, limit=limit)
