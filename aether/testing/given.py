"""Given these events, when this command, then those events: tests of one actor's decisions, without a runtime.

    given(Account, Deposited(10)).when("withdraw", 4).then(Withdrawn(4), reply=6)
    given(Account).when("withdraw", 4).then_rejected("insufficient funds", balance=0)
    given(Account, stored="alice.jsonl").when("withdraw", 4).then(Withdrawn(4))  # what aether history wrote

Arguments, events and replies go by way of their JSON and are checked as in a pool, and so is that only events change
the state. Nothing is stored; a handler runs in the test's own thread.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Generic, ParamSpec, TypeVar, overload

from aether.errors import ActorFailed, AetherError, InvalidCommand, Rejected, StateChangedOutsideEvent, UnknownCommand
from aether.ids import ActorId, Position
from aether.model.actor import Actor
from aether.model.decider import Decider
from aether.model.definition import ActorCommand, ActorType, CommandType, Context, DeclaredCommand, PolicyType, State
from aether.model.methods import ActorMethod, Command, checked_command
from aether.model.model import Declared, Model
from aether.model.schedules import When
from aether.model.tasks import TaskCall
from aether.runtime.fold import Fold
from aether.testing.stored import Stored, stored_history
from aether.wire import Event

P = ParamSpec("P")
R = TypeVar("R")
A = TypeVar("A")
D = TypeVar("D", bound=Actor)

NOT_STORED = Position(0)
START = datetime(2026, 1, 1, tzinfo=UTC)
FAILURES = (SystemExit, GeneratorExit, asyncio.CancelledError)
"""What a handler may raise that is no `Exception` and its command's failure. Ctrl-C and a test's own end are not."""

ANY: Any = object()
"""A reply that is not looked at."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a handler finds: its actor's key and stored history, the time, the caller, and its resources."""

    key: str
    now: datetime
    caller: str
    resources: Any
    stored: Sequence[Event] = ()
    model: Model | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What a handler has told another actor: the arguments as the handler gave them."""

    kind: str
    key: str
    command: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __repr__(self) -> str:
        args = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.kind}/{self.key}: {self.command}({', '.join(args)})"


def told(command: Command[Any, P, Any], key: str, /, *args: P.args, **kwargs: P.kwargs) -> Told:
    """What a handler or a policy has told: `told(Room.confirm, "12", by="alice")`, to compare with `Outcome.tells`.

    Arguments compare as they were given, by position or by name.
    """
    return Told(command.kind, key, command.name, args, dict(kwargs))


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A schedule that a handler has set: its name, when it is due, and what is run then."""

    name: str
    when: When
    told: Told

    def __repr__(self) -> str:
        return f"{self.name!r}: {self.when!r}: {self.told!r}"


def scheduled(
    name: str, when: When, command: Command[Any, P, Any], key: str, /, *args: P.args, **kwargs: P.kwargs
) -> Scheduled:
    """What a handler has scheduled: `scheduled("expiry", After(minutes=15), Booking.expire, "b1")`, to compare with
    `Outcome.schedules`.
    """
    return Scheduled(name, when, told(command, key, *args, **kwargs))


@dataclass(frozen=True, slots=True)
class Started:
    """A task that a handler has started: its name, its arguments as they were given, and the names of its commands."""

    task: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    then: str = ""
    failed: str = ""

    def __repr__(self) -> str:
        args = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.task}({', '.join(args)}) then {self.then or 'nothing'}, failed {self.failed or 'nothing'}"


def started(
    call: TaskCall[Any],
    *,
    then: Callable[..., object] | None = None,
    failed: Callable[..., object] | None = None,
) -> Started:
    """What a handler has started: `started(charge(5), then=Booking.paid)`, to compare with `Outcome.tasks`."""
    names = ["" if one is None else checked_command(one, "started").name for one in (then, failed)]
    return Started(call.task.name, call.args, call.kwargs, *names)


class _Turn:
    """The `Scope` of one run of a handler over a state of its own."""

    def __init__(self, actor_type: ActorType, setting: Setting, history: tuple[object, ...]) -> None:
        self._actor_type = actor_type
        self._setting = setting
        self.events: list[object] = []
        self.tells: list[Told] = []
        self.tasks: list[Started] = []
        self.cancelled: list[str] = []
        self.schedules: dict[str, Scheduled] = {}
        self.cancelled_schedules: list[str] = []
        self.running: CommandType | None = None
        self._policy: PolicyType | None = None
        self.broken: BaseException | None = None
        """Why nothing more can be emitted: an event has failed. Its command fails whatever the handler makes of it."""
        self._actor_id = ActorId(actor_type.kind, setting.key)
        fold = Fold(self._actor_id, actor_type, self)
        if setting.stored:
            fold.apply(setting.stored, NOT_STORED)
        self.state: State = fold.state
        self._before = fold.version + len(history)
        for event in history:
            self._apply(event)

    @property
    def version(self) -> int:
        """Events applied so far."""
        return self._before + len(self.events)

    @property
    def context(self) -> Context:
        """A command of the test's."""
        now = self._setting.now
        return Context(command_id="test", correlation_id="test", caller=self._setting.caller,
                       deadline=now + timedelta(seconds=10), now=now)  # fmt: skip

    @property
    def resources(self) -> Any:
        """What the test gave."""
        if self._setting.resources is None:
            raise RuntimeError("self.resources needs what a lifespan makes: given(..., resources=...)")
        return self._setting.resources

    def emit(self, event: object) -> None:
        """Apply it, as a runtime does."""
        if self.running is None:
            raise RuntimeError("an event can only be emitted by a running command handler")
        if self.running.query:
            raise ActorFailed(f"the query {self.running.name} emitted an event")
        if self._policy is not None:
            raise self._policy.refusal(self._actor_id)
        if self.broken is not None:
            raise self.broken
        try:
            same = self._apply(event)
            self.events.append(same)
            for policy in self._actor_type.event_type_of(same).policies:
                self._policy = policy
                policy.run(same, self._actor_id, self.state, self)
        except BaseException as error:
            self.broken = error
            raise
        finally:
            self._policy = None

    def ask(self, kind: Any, key: str) -> Any:
        """Raises: there is no other actor here."""
        if self._policy is not None:
            raise self._policy.refusal(self._actor_id)
        raise RuntimeError("given() runs one actor alone: test what it asks of others with aether.testing.local_pool")

    def tell(self, kind: str, command: str, key: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Keep it: there is no other actor here."""
        if self.running is None:
            raise RuntimeError("something can only be told by a running command handler")
        if self.running.query:
            raise ActorFailed(f"the query {self.running.name} told something")
        if self._policy is not None:
            self._policy.check_tell(kind, command)
        if self._setting.model is not None:
            target = self._setting.model.actor_type(ActorId(kind, key).kind)
            _command(target, command).encode_args(args, kwargs)
        self.tells.append(Told(kind, key, command, args, dict(kwargs)))

    def schedule(
        self, name: str, when: When, to: ActorCommand, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Keep it: no time passes here."""
        if self.running is None:
            raise RuntimeError("a schedule can only be set by a running command handler")
        if self.running.query:
            raise ActorFailed(f"the query {self.running.name} set a schedule")
        if self._policy is not None:
            self._policy.check_tell(to.kind, to.command)
        if self._setting.model is not None:
            target = self._setting.model.actor_type(ActorId(to.kind, to.key).kind)
            _command(target, to.command).encode_args(args, kwargs)
        when.first(self._setting.now)
        self.schedules.pop(name, None)
        self.schedules[name] = Scheduled(name, when, Told(to.kind, to.key, to.command, args, dict(kwargs)))

    def cancel_schedule(self, name: str) -> None:
        """Keep it."""
        if self.running is None:
            raise RuntimeError("a schedule can only be cancelled by a running command handler")
        self.schedules.pop(name, None)
        self.cancelled_schedules.append(name)

    def start_task(self, call: TaskCall[Any], then: str, failed: str) -> str:
        """Keep it: no task runs here. The ids count from `test-task-1`."""
        if self.running is None:
            raise RuntimeError("a task can only be started by a running command handler")
        if self.running.query:
            raise ActorFailed(f"the query {self.running.name} started a task")
        if self._setting.model is not None:
            self._setting.model.task_type(call.task).encode_args(call.args, call.kwargs)
        self.tasks.append(Started(call.task.name, call.args, call.kwargs, then, failed))
        return f"test-task-{len(self.tasks)}"

    def cancel_task(self, task_id: str) -> None:
        """Keep it."""
        if self.running is None:
            raise RuntimeError("a task can only be cancelled by a running command handler")
        self.cancelled.append(task_id)

    def _apply(self, event: object) -> object:
        same = self._actor_type.event_type_of(event).encode_checked(event)[1]
        self.state = self._actor_type.evolve(self.state, same)
        return same


class Given(Generic[A]):
    """An actor with a history. `when` runs a command on it, any number of times; each run begins from the history."""

    def __init__(self, actor_type: ActorType, events: tuple[object, ...], setting: Setting) -> None:
        self._actor_type = actor_type
        self._events = events
        self._setting = setting
        _Turn(actor_type, setting, events)  # whose errors are those of what was given

    @property
    def state(self) -> dict[str, Any]:
        """The state's fields as typed values, as a client sees them."""
        return _values(self._actor_type, _Turn(self._actor_type, self._setting, self._events).state)

    @overload
    def when(self, command: ActorMethod[A, P, R], /, *args: P.args, **kwargs: P.kwargs) -> "Outcome[A, R]": ...
    @overload
    def when(self, command: str, /, *args: Any, **kwargs: Any) -> "Outcome[A, Any]": ...
    def when(self, command: Any, /, *args: Any, **kwargs: Any) -> "Outcome[A, Any]":
        """Run a command or query, by its name or as `Account.deposit`, with its arguments; what comes of it.

        Raises `UnknownCommand`.
        """
        name = command.name if isinstance(command, ActorMethod) else str(command)
        command_type = _command(self._actor_type, name)
        turn = _Turn(self._actor_type, self._setting, self._events)
        turn.running = command_type
        reply: Any = None
        error: BaseException | None = None
        try:
            decoded = command_type.decode_args(command_type.encode_args(args, kwargs))
            result = _waited(command_type.invoke(turn.state, turn, decoded))
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

    def _changed_in_place(self, turn: _Turn) -> StateChangedOutsideEvent | None:
        """The error of a handler whose state is not what its events make of it."""
        again = _Turn(self._actor_type, self._setting, (*self._events, *turn.events))
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
        turn: _Turn | None = None,
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

    def then(self, *events: object, reply: R = ANY, told: Sequence[Told] = ANY) -> Given[A]:
        """It emitted exactly these events, in this order, gave this reply, and told exactly this, in this order.

        `told=[told(Room.confirm, "12")]`, with `aether.testing.told`; [] for nothing. Replies and tells that are not
        given are not looked at. What policies told is among them: `given(..., model=model)`.
        """
        if self.error is not None:
            raise AssertionError(f"{self._command} raised {_shown(self.error)}") from self.error
        if list(self.events) != list(events):
            expected = "\n  ".join(map(repr, events)) or "nothing"
            emitted = "\n  ".join(map(repr, self.events)) or "nothing"
            raise AssertionError(f"{self._command} emitted\n  {emitted}\nand not\n  {expected}")
        if reply is not ANY and self.reply != reply:
            raise AssertionError(f"{self._command} replied {self.reply!r}, not {reply!r}")
        if told is not ANY and list(self.tells) != list(told):
            expected = "\n  ".join(map(repr, told)) or "nothing"
            found = "\n  ".join(map(repr, self.tells)) or "nothing"
            raise AssertionError(f"{self._command} told\n  {found}\nand not\n  {expected}")
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
    caller: str = "",
    resources: Any = None,
    model: Model | None = None,
) -> Given[Any]:
    """An actor, an `Actor` class or a `Decider`, to which these events have happened.

    `stored` is a history as a pool stored it: the path of a file with what `aether history` wrote, or CloudEvents, as
    in `[{"type": "Renamed", "schemaversion": 1, "data": {"name": "Ada"}}]`. It is decoded and upcast as a worker does,
    and comes before `events`. `key` is the actor's, by default that of the stored history, else `test`. `now` is what
    its handlers find in `self.context`, `resources` what its model's lifespan would give. With `model=`, the
    policies of that model run, and what is told is checked against its commands.

    Raises `ModelError` for what cannot be an actor, `ActorFailed` for an event that it does not take, `UnreadableEvent`
    for a stored one that it cannot read, `ValueError` for what is no whole history of one such actor.
    """
    actor_type = model.actor_type(kind) if model is not None else _compiled(kind)  # type: ignore[arg-type]  # hashed by identity, which a Protocol does not promise
    if now.tzinfo is None:
        raise ValueError(f"now={now!r} has no time zone, and a handler's now is in UTC: datetime(..., tzinfo=UTC)")
    history, stored_key = stored_history(stored, actor_type.kind)
    return Given(actor_type, events, Setting(key or stored_key or "test", now, caller, resources, history, model))


def _command(actor_type: ActorType, name: str) -> DeclaredCommand:
    found = actor_type.commands.get(name)
    if found is None:
        kind, known = actor_type.kind, ", ".join(sorted(actor_type.commands))
        raise UnknownCommand(f"{kind} has no command {name!r}; it has: {known}", kind=kind, command=name)
    return found


@lru_cache(256)
def _compiled(kind: Declared) -> ActorType:
    return Model("given", actors=[kind]).actor_type(kind)


def _values(actor_type: ActorType, state: State) -> dict[str, Any]:
    return actor_type.state_values(state)


def _waited(result: Any) -> Any:
    """What an asynchronous handler gives; it runs in an event loop of its own, beside the test's if there is one."""
    if not hasattr(result, "__await__"):
        return result

    async def awaited() -> Any:
        return await result

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(awaited())
    return _in_thread(awaited())


def _in_thread(work: Coroutine[Any, Any, Any]) -> Any:
    ended: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            ended.append((asyncio.run(work), None))
        except BaseException as error:
            ended.append((None, error))

    thread = threading.Thread(target=run, name="aether given")
    thread.start()
    thread.join()
    [(result, error)] = ended
    if error is not None:
        raise error
    return result


def _shown(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
