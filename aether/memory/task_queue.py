"""What the server knows of the starts of tasks: which are handed out, to be handed out again, or done.

One queue is one task's consumer of the inbox stream, as JetStream has it. Each method is one synchronous step.
"""

from collections.abc import Callable

from aether.memory.clock import AlarmClock
from aether.ports import TaskClaim


class Handed:
    """A start that was handed out: how often, and when it is to be handed out again."""

    __slots__ = ("deliveries", "due_s", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.deliveries = 0
        self.due_s = 0.0


class TaskQueue:
    """The starts of one task, by their sequences in the inbox stream."""

    def __init__(self, clock: AlarmClock) -> None:
        self.ttl_s = 0.0
        self.wakers: dict[Callable[[], None], None] = {}
        self._clock = clock
        self._new: dict[int, bytes] = {}
        self._handed: dict[int, Handed] = {}

    @property
    def waiting(self) -> int:
        """How many were never handed out."""
        return len(self._new)

    @property
    def taken(self) -> int:
        """How many were handed out and are not done."""
        return len(self._handed)

    @property
    def first(self) -> int:
        """The first that is not done; 0 for none."""
        return min([*self._new, *self._handed], default=0)

    def add(self, sequence: int, payload: bytes) -> None:
        """A start was stored."""
        self._new[sequence] = payload
        self._wake()

    def take(self, most: int) -> list[TaskClaim]:
        """Hand some out: first those that are due again."""
        now_s = self._clock.boot_s()
        due = sorted(sequence for sequence, one in self._handed.items() if one.due_s <= now_s)[:most]
        for sequence in list(self._new)[: most - len(due)]:
            self._handed[sequence] = Handed(self._new.pop(sequence))
            due.append(sequence)
        return [self._hand_out(sequence) for sequence in due]

    def done(self, sequence: int) -> None:
        """It is over."""
        self._handed.pop(sequence, None)

    def put_off(self, sequence: int, delay_s: float) -> None:
        """It is handed out again after so long."""
        one = self._handed.get(sequence)
        if one is None:
            return
        one.due_s = self._clock.boot_s() + delay_s
        if delay_s > 0:
            self._clock.call_after(delay_s, self._wake)
        else:
            self._wake()

    def _hand_out(self, sequence: int) -> TaskClaim:
        one = self._handed[sequence]
        one.deliveries += 1
        self.put_off(sequence, self.ttl_s)
        return TaskClaim(sequence, one.payload, one.deliveries, str(sequence))

    def _wake(self) -> None:
        for wake in list(self.wakers):
            wake()
