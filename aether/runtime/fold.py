"""The fold of one actor's history: state, version, position, and the log of its commands.

Replay and stored-event notices go through the same `apply`, so a state is the fold of the history however it came
about. It does no input or output.
"""

from collections.abc import Sequence

from aether.core.actor.agenda import Agenda, is_tick_or_result
from aether.core.actor.command_log import CommandLog
from aether.core.actor.commit_draft import committed_commands
from aether.errors import ActorFailed, HistoryRegressed, UnreadableEvent
from aether.ids import ActorId, Position, Version
from aether.log_lines import shown, words
from aether.model.definition import ActorType, EventType, Scope, State
from aether.ports import StoredCommit
from aether.runtime.state_checker import StateChecker
from aether.sends import Send, decode_sends
from aether.tells import Tell
from aether.wire import PARKED_EVENT, Event, decided, decode_commit, encode_error, is_system_event

LOST_ONCE = "\0lost once\0"
"""Before a command's id: the name under which the command log keeps that it has ended a worker."""


class _Rare:
    """What few folds have, in an object of its own: 100,000 active actors take 1.6 MB less."""

    __slots__ = ("agenda", "checker", "parked")

    def __init__(self) -> None:
        self.agenda: Agenda | None = None
        self.checker: StateChecker | None = None
        self.parked: frozenset[int] = frozenset()


class Fold:
    """What one actor's history comes to so far."""

    __slots__ = ("_rare", "actor_id", "actor_type", "command_log", "inboxseq", "position", "read_to", "state",
                 "version")  # fmt: skip

    def __init__(self, actor_id: ActorId, actor_type: ActorType, scope: Scope | None = None) -> None:
        """The fold of no events. Raises `ActorFailed` when the first state cannot be made."""
        self.actor_id = actor_id
        self.actor_type = actor_type
        self.state: State = _initial(actor_id, actor_type, scope)
        self.version = Version(0)
        self.position = Position(0)
        self.read_to = Position(0)
        """Up to here the history was read; commits after that are this machine's own."""
        self.inboxseq = 0
        """The last tell that was applied, by its sequence in the inbox."""
        self.command_log: CommandLog | None = None
        self._rare: _Rare | None = None

    @property
    def agenda(self) -> Agenda | None:
        """What is still to come of its schedules and tasks; None as long as it had none."""
        return None if self._rare is None else self._rare.agenda

    @agenda.setter
    def agenda(self, agenda: Agenda | None) -> None:
        if agenda is not None or self._rare is not None:
            self._made_rare().agenda = agenda

    @property
    def parked(self) -> frozenset[int]:
        """Tells up to `inboxseq` that have failed and are still tried."""
        return frozenset() if self._rare is None else self._rare.parked

    @parked.setter
    def parked(self, parked: frozenset[int]) -> None:
        if parked or self._rare is not None:
            self._made_rare().parked = parked

    @property
    def checker(self) -> StateChecker | None:
        """What looks for changes of the state outside events; None where it cannot change in place."""
        return None if self._rare is None else self._rare.checker

    def _made_rare(self) -> "_Rare":
        if self._rare is None:
            self._rare = _Rare()
        return self._rare

    def watch(self, checks: str) -> None:
        """Have a checker from now on, if the state can change in place."""
        if self.actor_type.mutable:
            self._made_rare().checker = StateChecker(self.actor_id, self.actor_type, self.state, checks)

    def check_continues(self, known: "Fold") -> None:
        """Raise `HistoryRegressed` if this fold of the actor's history ends before one that is known."""
        if self.position < known.position or self.version < known.version:
            raise HistoryRegressed(
                f"the history of {self.actor_id} ends at version {self.version}, position {self.position}; "
                f"it had version {known.version} at position {known.position}",
                actor=str(self.actor_id),
            )

    def apply(self, events: Sequence[Event], position: Position) -> None:
        """Add the next commit.

        Raises `HistoryRegressed` when it is not the next, `UnreadableEvent` when an event cannot be read,
        `ActorFailed` when its handler fails.
        """
        first = events[0].version
        if first != self.version + 1:
            raise HistoryRegressed(
                f"the history of {self.actor_id} goes on at position {position} with version {first}, "
                f"after version {self.version}",
                actor=str(self.actor_id),
            )
        for event in events:
            if not is_system_event(event):
                self._evolve(event, position)
            if event.inboxseq:
                self.applied(self._sequence(event, position), parked=event.type == PARKED_EVENT)
            done = event.inboxseq and event.type != PARKED_EVENT
            if event.sends or (done and self.agenda is not None):
                told = event.commandid if done else ""
                self.sent(told, decode_sends(event, self.actor_id, position) if event.sends else ())
        self.version = events[-1].version
        self.position = self.read_to = position

    def follow(self, commit: StoredCommit, now_s: float, margin_s: float) -> int:
        """Add a commit as it was stored, and remember its commands: how many events it has.

        Raises what `apply` raises, and `UnreadableEvent` when the commit cannot be decoded.
        """
        before = self.position
        events = decode_commit(commit.payload, commit.actor_id, commit.position)
        self.apply(events, commit.position)
        self.remember(events, commit.position, before, now_s, margin_s)
        return len(events)

    def applied(self, sequence: int, *, parked: bool = False) -> None:
        """The tell at this sequence is committed; or, `parked`, the ones behind it may be before it is."""
        if parked:
            self.parked |= {sequence}
        elif self.parked:
            self.parked -= {sequence}
        self.inboxseq = max(self.inboxseq, sequence)

    def expects(self, command_id: str) -> bool:
        """Whether a command that was told is to be run: False for a tick or a result that is not waited for."""
        if not is_tick_or_result(command_id):
            return True
        return self.agenda is not None and self.agenda.expects(command_id)

    def sent(self, told: str, sends: Sequence[Send]) -> None:
        """A command is committed: it opens what it sends.

        If it was told, `told` is its id, and it closes what it is the tick or the result of.
        """
        agenda = self.agenda
        if agenda is not None:
            agenda.close(told)
        if not all(isinstance(send, Tell) for send in sends):
            if agenda is None:
                agenda = self.agenda = Agenda()
            agenda.open(sends)

    def remember(
        self, events: Sequence[Event], position: Position, after: Position, now_s: float, margin_s: float
    ) -> None:
        """Remember the commands of a stored commit that may still be retried; `after` is the position before it."""
        for command_id, answer, expires_s, digest in committed_commands(events, position, now_s, margin_s):
            if self.command_log is None:
                self.command_log = CommandLog()
            if answer:
                self.command_log.add(command_id, answer, expires_s, after, digest)
            else:
                self._remember_loss(self.command_log, command_id, expires_s, after)

    def _remember_loss(self, command_log: CommandLog, command_id: str, expires_s: float, after: Position) -> None:
        """A command that has ended a worker for the second time has an answer: it is not run again."""
        once = f"{LOST_ONCE}{command_id}"
        if command_log.get(once) is None:
            command_log.add(once, b"lost", expires_s, after)
        elif command_log.get(command_id) is None:
            text = f"the command {command_id} has ended two workers and is not run again"
            error = ActorFailed(text, actor=str(self.actor_id), ended_workers=True)
            answer = decided(encode_error(error))
            command_log.add(command_id, answer, expires_s, after)

    def _evolve(self, event: Event, position: Position) -> None:
        event_type, read = read_event(event, position, self.actor_id, self.actor_type)
        try:
            self.state = self.actor_type.evolve(self.state, read)
        except BaseException as error:
            raise ActorFailed(
                f"the handler of {event.type} failed on version {event.id} of {self.actor_id}: {shown(error)}",
                actor=str(self.actor_id),
            ) from error
        if self.checker is not None:
            self.checker.applied(event_type, bytes(event.data), event.schemaversion)

    def _sequence(self, event: Event, position: Position) -> int:
        if not event.inboxseq.isdecimal():
            why = f"inboxseq is {event.inboxseq!r:.40}, not a number"
            raise _unreadable(why, event, position, self.actor_id)
        return int(event.inboxseq)


def read_event(event: Event, position: Position, actor_id: ActorId, actor_type: ActorType) -> tuple[EventType, object]:
    """The type of a stored event and its value, upcast where it is older. Raises `UnreadableEvent` with the reason."""
    event_type = actor_type.events.get(event.type)
    if event_type is None:
        known = ", ".join(sorted(actor_type.events))
        why = f"no event type {event.type!r} in the model; its {actor_type.kind} takes: {known}"
        raise _unreadable(why, event, position, actor_id)
    try:
        return event_type, event_type.decode(bytes(event.data), event.schemaversion)
    except ValueError as error:
        raise _unreadable(words(error), event, position, actor_id) from error
    except BaseException as error:  # users' code: an upcast, a validator, a constructor
        raise _unreadable(shown(error), event, position, actor_id) from error


def _unreadable(why: str, event: Event, position: Position, actor_id: ActorId) -> UnreadableEvent:
    where = f" at position {position}" if position else ""
    return UnreadableEvent(
        f"version {event.id} of {actor_id}{where} cannot be read: {event.type}: {why}",
        actor=str(actor_id),
        position=position,
    )


def _initial(actor_id: ActorId, actor_type: ActorType, scope: Scope | None) -> State:
    try:
        return actor_type.initial(actor_id, scope)
    except BaseException as error:  # users' code: the factories of fields
        raise ActorFailed(
            f"the first state of {actor_id} could not be made: {shown(error)}", actor=str(actor_id)
        ) from error
