"""The checker of a state that can change in place: tells whether it still is the fold of the actor's events.

It keeps the state's JSON from a moment when it was the fold, and the events applied since. Folding these from that
JSON gives the state anew, whatever handlers, tasks or other code did to the one in use. It runs on the event loop,
belongs to one `Fold`, and is made when the fold has been replayed. States of immutable values have none.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from aether.errors import StateChangedOutsideEvent
from aether.ids import ActorId
from aether.model.definition import ActorType, EventType, State

EVENTS_MAX = 1_024
"""Events kept at most, whatever the checks: then the state is compared, and they are let go."""

_COMMANDS_MIN = 16
_BYTES_A_COMMAND = 64
"""Commands between two checks: some, and one more for so many bytes of state, so that checks cost a few percent."""


_SAVED_MAX_S = 0.02
"""So much time for checks is saved up at most: a burst of commands then pays for no more."""


class CheckBudget:
    """A worker's time for checks beyond the samples: a share of the time that passes.

    A worker with few commands checks each of them, a busy one as many as the share pays for.
    """

    __slots__ = ("_left_s", "_share", "_since_s", "now_s")

    def __init__(self, share: float, now_s: Callable[[], float]) -> None:
        self._share = share
        self.now_s = now_s
        self._since_s = now_s()
        self._left_s = _SAVED_MAX_S if share else 0.0

    def pays(self) -> bool:
        """Whether there is time left for a check."""
        now_s = self.now_s()
        self._left_s = min(_SAVED_MAX_S, self._left_s + (now_s - self._since_s) * self._share)
        self._since_s = now_s
        return self._left_s > 0.0

    def spend(self, began_s: float) -> None:
        """A check that began then has ended."""
        self._left_s -= self.now_s() - began_s


def changed_in_place(actor_id: ActorId, field: str) -> StateChangedOutsideEvent:
    """The error of the command that changed a field without an event."""
    why = "only an @event method changes state, the same way each time, so that replay can repeat it"
    return StateChangedOutsideEvent(
        f"{actor_id}: {field} was changed outside an @event method; {why}", actor=str(actor_id), field=field
    )


class StateChange(NamedTuple):
    """A field that is not what the events make of it; `certain` says that the latest command changed it."""

    field: str
    certain: bool


class StateChecker:
    """What one state was, and what has happened to it since.

    `checks` is "always" (each command), "sampled" (the first command, then a few percent of them, and each one that the
    worker's `CheckBudget` pays for) or "off". `sound` is False when the state can no longer be folded
    from what is kept: then no snapshot is written of it.
    """

    __slots__ = (
        "_actor_id",
        "_actor_type",
        "_commands",
        "_due",
        "_events",
        "_found",
        "_good",
        "always",
        "sampled",
        "sound",
    )

    def __init__(self, actor_id: ActorId, actor_type: ActorType, state: State, checks: str) -> None:
        self.always = checks == "always"
        self.sampled = checks == "sampled"
        self.sound = True
        self._actor_id = actor_id
        self._actor_type = actor_type
        self._commands = 0
        self._found = False
        self._due = 1 if checks != "off" else 0
        self._events: list[tuple[EventType, bytes, int]] = []
        self._good = b""
        try:
            self._good = actor_type.state_bytes(state)
        except BaseException:  # users' code too; or it is of another type than declared, and is not snapshotted either
            self.sound = False

    @property
    def events(self) -> int:
        """How many events are kept."""
        return len(self._events)

    def applied(self, event_type: EventType, body: bytes, schema_version: int) -> None:
        """An event was applied to the state."""
        self._events.append((event_type, body, schema_version))

    def begin(self, state: State) -> str | None:
        """A command or a query is about to run. The field in which the state is not the fold, where that is looked for.

        Such a command was not begun: the state has to be rebuilt before.
        """
        if self.always and (field := self.changed(state)) is not None:
            return field
        self._commands += 1
        return None

    @property
    def due(self) -> bool:
        """Whether to compare the state after this command: it is its turn, or a change was found already."""
        if self._found or len(self._events) >= EVENTS_MAX:
            return True
        return 0 < self._due <= self._commands and self.sound

    @property
    def certain(self) -> bool:
        """Whether only the latest command can have changed the state since it was compared last."""
        return self._commands <= 1 and not self._found

    def check(self, state: State, budget: CheckBudget) -> StateChange | None:
        """Compare the state after a command, if it is its turn or the budget pays: what was changed, if anything."""
        if not self.due and not (self.sampled and budget.pays()):
            return None
        certain, began_s = self.certain, budget.now_s()
        field = self.changed(state)
        budget.spend(began_s)
        return None if field is None else StateChange(field, certain)

    def changed(self, state: State) -> str | None:
        """The field in which the state is not what its events make of it, or None. From then on it is known to be."""
        live = self._written(state)
        if live != self._good or self._events:
            try:
                folded = self._folded()
                field = self._difference(folded, live, state)
            except BaseException:  # users' event handlers, or a state that they make otherwise than it is declared
                self.sound = False
                self._events.clear()
                return None
            if field is not None:
                self._found = True
                return field
        self._known(live or b"")
        return None

    def _written(self, state: State) -> bytes | None:
        try:
            return self._actor_type.state_bytes(state)
        except BaseException:  # users' code too
            return None

    def _difference(self, folded: bytes, live: bytes | None, state: State) -> str | None:
        if live is None:
            return self._actor_type.unwritable_field(state)
        return self._actor_type.state_difference(folded, live)

    def _folded(self) -> bytes:
        actor_type = self._actor_type
        state: Any = actor_type.decode_state(self._good, self._actor_id)
        for event_type, body, schema_version in self._events:
            state = actor_type.evolve(state, event_type.decode(body, schema_version))
        return actor_type.state_bytes(state)

    def _known(self, live: bytes) -> None:
        self._good = live
        self._events.clear()
        self._commands = 0
        if self._due:
            self._due = 1 if self.always else _COMMANDS_MIN + len(live) // _BYTES_A_COMMAND
