"""The Committer: hands commits to the event store, a bounded number in flight, in the order they came.

Each actor has at most one commit in flight (its machine sees to that), so commits of different actors need no order.
"""

from collections import deque
from collections.abc import Callable

from aether.ids import ActorId, Position
from aether.ports import AppendOutcome, EventStore
from aether.runtime.counters import Counters

Done = Callable[[AppendOutcome], None]


class Committer:
    """One a runtime. Never blocks: beyond the bound commits wait in line, each actor with one at most."""

    def __init__(self, store: EventStore, counters: Counters, in_flight_max: int) -> None:
        self._store = store
        self._counters = counters
        self._in_flight_max = in_flight_max
        self._in_flight = 0
        self._line: deque[tuple[ActorId, bytes, Position, Done]] = deque()

    @property
    def open(self) -> int:
        """Commits in flight or in line."""
        return self._in_flight + len(self._line)

    def commit(self, actor_id: ActorId, payload: bytes, expected: Position, done: Done) -> None:
        """Append `payload` after `expected`; `done` gets the outcome, once."""
        if self._in_flight >= self._in_flight_max:
            self._line.append((actor_id, payload, expected, done))
            return
        self._publish(actor_id, payload, expected, done)

    def _publish(self, actor_id: ActorId, payload: bytes, expected: Position, done: Done) -> None:
        self._in_flight += 1
        self._counters.commits += 1

        def settled(outcome: AppendOutcome) -> None:
            self._in_flight -= 1
            if self._line and self._in_flight < self._in_flight_max:
                self._publish(*self._line.popleft())
            done(outcome)

        self._store.publish(actor_id, payload, expected, settled)
