"""Given these events, when this command, then those events: tests of one actor's decisions, without a runtime.

    given(Account, Deposited(10)).when("withdraw", 4).then(Withdrawn(4), reply=6)
    given(Account).when("withdraw", 4).then_rejected("insufficient funds", balance=0)
    given(Account, stored="alice.jsonl").when("withdraw", 4).then(Withdrawn(4))  # what aether history wrote

Arguments, events and replies go by way of their JSON and are checked as in a pool, and so is that only events change
the state. Nothing is stored; a handler runs in the test's own thread.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, ParamSpec, TypeVar, overload

from aether.errors import AetherError, InvalidCommand, Rejected, StateChangedOutsideEvent
from aether.model.actor import Actor
from aether.model.decider import Decider
from aether.model.definition import ActorType
from aether.model.methods import ActorMethod
from aether.model.model import Declared, Model
from aether.testing.sent import Scheduled, Started, Told
from aether.testing.stored import Stored, stored_history
from aether.testing.turn import GivenTurn, Setting, declared_command, waited

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
D = TypeVar("D", bound=Actor)

START = datetime(2026, 1, 1, tzinfo=UTC)
FAILURES = (SystemExit, GeneratorExit, asyncio.CancelledError)
"""What a handler may raise that is no `Exception` and its command's failure. Ctrl-C and a test's own end are not."""

ANY: Any = object()
"""A reply that is not looked at."""


class Given(Generic[A]):
    """An actor with a history. `when` runs a command on it, any number of times; each run begins from the history."""

    def __init__(self, actor_type: ActorType, events: tuple[object, ...], setting: Setting) -> None:
        self._actor_type = actor_type
        self._events = events
        self._setting = setting
        self._turn()  # whose errors are those of what was given

    @property
    def state(self) -> dict[str, Any]:
        """The state's fields as typed values, as a client sees them."""
        return self._actor_type.state_values(self._turn().state)

    @overload
    def when(self, command: ActorMethod[A, P, R], /, *args: P.args, **kwargs: P.kwargs) -> "Outcome[A, R]": ...
    @overload
    def when(self, command: str, /, *args: Any, **kwargs: Any) -> "Outcome[A, Any]": ...
    def when(self, command: Any, /, *args: Any, **kwargs: Any) -> "Outcome[A, Any]":
        """Run a command or query, by its name or as `Account.deposit`, with its arguments; what comes of it.

        Raises `UnknownCommand`.
        """
        name = command.name if isinstance(command, ActorMethod) else str(command)
        command_type = declared_command(self._actor_type, name)
        turn = self._turn()
        turn.running = command_type
        reply: Any = None
        error: BaseException | None = None
        try:
            decoded = command_type.decode_args(command_type.encode_args(args, kwargs))
            result = waited(command_type.invoke(turn.state, turn, decoded))
            reply = command_type.decode_reply(command_type.encode_reply(result))
        except (Exception, *FAILURES) as raised:
            error = raised
        turn.running = None
        error = turn.broken or error
        if error is None or isinstance(error, Rejected | InvalidCommand):
            error = self._changed_in_place(turn) or error
        emitted = () if error is not None else tuple(turn.events)
        after: Given[A] = Given(self._actor_type, (*self._events, *emitted), self._setting)
        if error is not None:
            return Outcome(after, name, emitted, reply, error)
        return Outcome(after, name, emitted, reply, error, turn)

    def _turn(self, *further: object) -> GivenTurn:
        return GivenTurn(self._actor_type, self._setting, (*self._events, *further))

    def _changed_in_place(self, turn: GivenTurn) -> StateChangedOutsideEvent | None:
        """The error of a handler whose state is not what its events make of it."""
        again = self._turn(*turn.events)
        folded = self._actor_type.state_bytes(again.state)
        try:
            live = self._actor_type.state_bytes(turn.state)
        except Exception:  # users' code, too
            field: str | None = self._actor_type.unwritable_field(turn.state)
        else:
            field = self._actor_type.state_difference(folded, live)
        if field is None:
            return None
        actor = f"{self._actor_type.kind}/{self._setting.key}"
        return StateChangedOutsideEvent(f"{actor}: {field} was changed outside an @event method", actor, field)


class Outcome(Generic[A, R]):
    """What came of a command: its `events`, its `reply` or its `error`, its `tells`, and the `state` after it.

    `tasks` are those that it has started, `cancelled_tasks` the ids of those that it has cancelled; `schedules` are
    those that it has set, `cancelled_schedules` the names of those that it has cancelled.

    The `then` methods raise AssertionError with what came instead. Each gives the actor with what happened, for the
    next `when`.
    """

    def __init__(
        self,
        after: Given[A],
        command: str,
        events: tuple[object, ...],
        reply: Any,
        error: BaseException | None,
        turn: GivenTurn | None = None,
    ) -> None:
        self._after = after
        self._command = command
        self.events = events
        self.tells: tuple[Told, ...] = tuple(turn.tells) if turn is not None else ()
        self.tasks: tuple[Started, ...] = tuple(turn.tasks) if turn is not None else ()
        self.cancelled_tasks: tuple[str, ...] = tuple(turn.cancelled) if turn is not None else ()
        self.schedules: tuple[Scheduled, ...] = tuple(turn.schedules.values()) if turn is not None else ()
        self.cancelled_schedules: tuple[str, ...] = tuple(turn.cancelled_schedules) if turn is not None else ()
        self.reply: R = reply
        self.error = error

    @property
    def state(self) -> dict[str, Any]:
        """The state's fields after the command."""
        return self._after.state

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<Outcome of {self._command}: {_shown(self.error)}>"
        told = f", {len(self.tells)} told" if self.tells else ""
        return f"<Outcome of {self._command}: events {list(self.events)}, reply {self.reply!r}{told}>"

    def then(self, *events: object, reply: R = ANY, told: Sequence[Told] = ANY) -> Given[A]:
        """It emitted exactly these events, in this order, gave this reply, and told exactly this, in this order.

        `told=[told(Room.confirm, "12")]`, with `aether.testing.told`; [] for nothing. Replies and tells that are not
        given are not looked at. What policies told is among them: `given(..., model=model)`.
        """
        if self.error is not None:
            raise AssertionError(f"{self._command} raised {_shown(self.error)}") from self.error
        if list(self.events) != list(events):
            raise AssertionError(f"{self._command} emitted\n  {_listed(self.events)}\nand not\n  {_listed(events)}")
        if reply is not ANY and self.reply != reply:
            raise AssertionError(f"{self._command} replied {self.reply!r}, not {reply!r}")
        if told is not ANY and list(self.tells) != list(told):
            raise AssertionError(f"{self._command} told\n  {_listed(self.tells)}\nand not\n  {_listed(told)}")
        return self._after

    def then_rejected(self, message: str | None = None, **details: Any) -> Given[A]:
        """It raised `Rejected`, with this text in its message and with these among its details."""
        error = self._raised(Rejected)
        if message is not None and message not in str(error):
            raise AssertionError(f"{self._command} was rejected with {str(error)!r}, not {message!r}") from error
        found = getattr(error, "details", {})
        if any(name not in found or found[name] != value for name, value in details.items()):
            raise AssertionError(f"{self._command} was rejected with {found}, not {details}") from error
        return self._after

    def then_failed(self, error: type[BaseException] = AetherError) -> Given[A]:
        """It raised such an error: `InvalidCommand`, or whatever its handler raised, `SystemExit` too."""
        self._raised(error)
        return self._after

    def _raised(self, expected: type[BaseException]) -> BaseException:
        if self.error is None:
            raise AssertionError(f"{self._command} succeeded, and did not raise {expected.__name__}")
        if not isinstance(self.error, expected):
            text = f"{self._command} raised {_shown(self.error)}, not {expected.__name__}"
            raise AssertionError(text) from self.error
        return self.error


@overload
def given(
    kind: type[D],
    *events: object,
    stored: Stored = ...,
    key: str | None = ...,
    now: datetime = ...,
    scheduled_for: datetime | None = ...,
    caller: str = ...,
    resources: Any = ...,
    model: Model | None = ...,
) -> Given[D]: ...
@overload
def given(
    kind: Decider[Any, Any, Any],
    *events: object,
    stored: Stored = ...,
    key: str | None = ...,
    now: datetime = ...,
    scheduled_for: datetime | None = ...,
    caller: str = ...,
    resources: Any = ...,
    model: Model | None = ...,
) -> Given[Any]: ...
def given(
    kind: Declared,
    *events: object,
    stored: Stored = (),
    key: str | None = None,
    now: datetime = START,
    scheduled_for: datetime | None = None,
    caller: str = "",
    resources: Any = None,
    model: Model | None = None,
) -> Given[Any]:
    """An actor, an `Actor` class or a `Decider`, to which these events have happened.

    `stored` is a history as a pool stored it: the path of a file with what `aether history` wrote, or CloudEvents, as
    in `[{"type": "Renamed", "schemaversion": 1, "data": {"name": "Ada"}}]`. It is decoded and upcast as a worker does,
    and comes before `events`. `key` is the actor's, by default that of the stored history, else `test`. `now` is what
    its handlers find in `self.context`, as `scheduled_for` where they are run by a schedule; `resources` is what its
    model's lifespan would give. With `model=`, the policies of that model run, and what is told is checked against its
    commands.

    Raises `ModelError` for what cannot be an actor, `ActorFailed` for an event that it does not take, `UnreadableEvent`
    for a stored one that it cannot read, `ValueError` for what is no whole history of one such actor.
    """
    actor_type = model.actor_type(kind) if model is not None else _compiled(kind)  # type: ignore[arg-type]  # hashed by identity, which a Protocol does not promise
    for name, time in (("now", now), ("scheduled_for", scheduled_for)):
        if time is not None and time.tzinfo is None:
            text = f"{name}={time!r} has no time zone, and a handler's is in UTC: datetime(..., tzinfo=UTC)"
            raise ValueError(text)
    history, stored_key = stored_history(stored, actor_type.kind)
    actor_key = key or stored_key or "test"
    setting = Setting(actor_key, now, caller, resources, history, model, scheduled_for)
    return Given(actor_type, events, setting)


@lru_cache(256)
def _compiled(kind: Declared) -> ActorType:
    return Model("given", actors=[kind]).actor_type(kind)


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _listed(items: Sequence[object]) -> str:
    return "\n  ".join(map(repr, items)) or "nothing"
