"""`Actor`, the base class of what users write, and the guard that keeps its state equal to its history.

An instance holds one actor's state. It is made by its `ActorType`, never by users, and lives on one event loop.
Assignments reach the state only while it is open (`set_open`), that is within an `@event` method.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, ParamSpec, Self, TypeVar, overload

from aether.errors import ActorFailed, StateChangedOutsideEvent
from aether.ids import ActorId, plain_text
from aether.model.annotations import annotations_of
from aether.model.decider import Decider
from aether.model.declared import Place, caller_frame, local_names, place_of_frame
from aether.model.definition import ActorCommand, Context, Detached, Scope
from aether.model.handlers import handler_of, role_of
from aether.model.methods import Command, checked_command, own_command
from aether.model.schedules import When, checked_name, checked_when
from aether.model.tasks import TaskCall, TaskFailed, checked_call

P = ParamSpec("P")

CLOSED: frozenset[str] = frozenset()
"""The fields that may be assigned outside an `@event` method: none."""

R = TypeVar("R")
A = TypeVar("A", bound="Actor")

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def snake_case(name: str) -> str:
    """`HTTPServer` as `http_server`."""
    return _WORD_START.sub("_", name).lower()


class Actor:
    """One actor: annotated fields are its state, marked methods its commands, events and queries.

    Every field needs a default, because an actor starts from nothing; mutable defaults are copied for each actor.
    `kind` defaults to the class's name in snake_case; set it with `class Account(Actor, kind="account")`.
    `command_window_s`, in seconds, says how long a command id that a caller gave is remembered; None is the worker's
    setting (120 s). `tells_in_order: ClassVar[bool] = False` lets tells go on while an earlier one that failed waits
    for its next try. `snapshot_version: ClassVar[int] = 2` makes the snapshots of earlier code invalid, where Aether
    cannot see that folding has changed.
    """

    __slots__ = ("__weakref__", "_aether_id", "_aether_open", "_aether_scope")

    kind: ClassVar[str] = ""
    snapshot_version: ClassVar[int] = 1
    command_window_s: ClassVar[float | None] = None
    tells_in_order: ClassVar[bool] = True
    _aether_place: ClassVar[Place] = Place("", 0)
    _aether_names: ClassVar[dict[str, Any]] = {}

    _aether_id: ActorId
    _aether_scope: Scope | None
    _aether_open: frozenset[str]

    def __init_subclass__(cls, kind: str | None = None, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if kind is None:
            kind = cls.__dict__.get("kind", snake_case(cls.__name__))
        cls.kind = plain_text(kind) if isinstance(kind, str) else kind
        frame = caller_frame(1, skip="__init_subclass__")
        cls._aether_place = place_of_frame(frame)
        cls._aether_names = local_names(frame, _annotations(cls))

    def __init__(self) -> None:
        raise TypeError(
            f"a {type(self).__name__} is not made by calling it: a client or a test kit reaches it by its key"
        )

    @property
    def id(self) -> ActorId:
        """Which actor this is."""
        return self._aether_id

    @property
    def version(self) -> int:
        """Events applied so far, those of this command included. Raises RuntimeError where no turn is open."""
        return self._aether_turn("version").version

    @property
    def context(self) -> Context:
        """The command that runs now. Raises RuntimeError outside a command or query."""
        return self._aether_turn("context").context

    @property
    def resources(self) -> Any:
        """What the model's `lifespan` made in this worker: connections, pools, clients.

        Raises RuntimeError for a model without a lifespan, and where no command runs; `ActorFailed` in an `@event`
        method, because replay has only the event.
        """
        return self._aether_turn("resources").resources

    def emit(self, event: object) -> None:
        """Record what happened and apply it at once; it is durable before the caller has its answer.

        Raises `ActorFailed` in a query, in an `@event` method, for an event that no `@event` method takes, and for one
        that would not come back equal from its JSON. Raises RuntimeError where no turn is open.
        """
        self._aether_turn("emit").emit(event)

    @overload
    def ask(self, kind: type[A], key: str) -> A: ...
    @overload
    def ask(self, kind: str | Decider[Any, Any, Any], key: str) -> Any: ...
    def ask(self, kind: Any, key: str) -> Any:
        """A proxy of another actor, for an asynchronous handler: `await self.ask(Account, "bob").statement()`.

        It is typed as a client's proxy is. The answer is waited for until the deadline of the running command, and this
        actor is held meanwhile. A handler that runs again asks with the same command ids, so that what it asked for
        happens once. Awaiting raises what the other actor answers; `ActorFailed` with the whole chain when that actor
        waits for this answer already; `DeadlineExceeded`; `ActorFailed` for a command that a query asks for.

        Raises `ActorFailed` in a plain or blocking handler and in an `@event` method, RuntimeError where no turn is
        open.
        """
        return self._aether_turn("ask").ask(kind, key)

    def tell(self, command: Command[Any, P, Any], key: str, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have the actor `key` run a command, some time after this one: `self.tell(Account.deposit, "bob", 5)`.

        The tell is stored with the events of this command, or not at all. The other actor runs it once, after earlier
        tells from this actor to it, whatever fails in between; one that fails is tried again (docs/guarantees.md).
        Raises `InvalidCommand` for arguments that the command does not take, and for a query; `ActorFailed` in a query
        and in an `@event` method, and while a worker of a version is there that does not know tells.
        """
        told = checked_command(command, "self.tell")
        self._aether_turn("tell").tell(told.kind, told.name, key, args, kwargs)

    def schedule(
        self, name: str, when: When, command: Command[Any, P, Any], key: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Have the actor `key` run a command at a time: `self.schedule("end", After(hours=1), Booking.expire, "b1")`.

        `when` is `At`, `After`, `Every` or `Cron`. The schedule is stored with the events of this command, or not at
        all, and takes the place of this actor's schedule of the same name. Each tick is run once, not before its time,
        though no worker may be there then; one that fails is tried again, as a tell. Raises `InvalidCommand` for a
        name of more than 100 bytes, for arguments that the command does not take, and for a query; `ActorFailed` in a
        query and in an `@event` method, and while a worker of a version is there that does not know schedules.
        """
        run = checked_command(command, "self.schedule")
        to = ActorCommand(run.kind, key, run.name)
        self._aether_turn("schedule").schedule(checked_name(name), checked_when(when), to, args, kwargs)

    def cancel_schedule(self, name: str, /) -> None:
        """Have no further ticks of this actor's schedule of this name: none is run once this command is stored.

        A name without a schedule is let be. Raises `ActorFailed` in a query and in an `@event` method.
        """
        self._aether_turn("cancel_schedule").cancel_schedule(checked_name(name))

    def start_task(
        self,
        call: TaskCall[R],
        /,
        *,
        then: Callable[[Self, R], object] | None = None,
        failed: Callable[[Self, TaskFailed], object] | None = None,
    ) -> str:
        """Have a worker call a task's function, some time after this command: `self.start_task(charge(5), then=...)`.

        The task is stored with the events of this command, or not at all. It runs at least once; its result comes back
        once, as the only argument of the command `then` of this actor, and a `TaskFailed` as that of `failed` when it
        is given up: `then=Booking.paid, failed=Booking.payment_failed`. Gives the task's id, which is the same on each
        attempt. Raises `InvalidCommand` for a task that the model does not have, for arguments that it does not take,
        and for commands that do not take what comes; `ActorFailed` in a query and in an `@event` method.
        """
        checked_call(call, "self.start_task")
        kind = self.kind
        then_name, failed_name = own_command(self, kind, then, "then"), own_command(self, kind, failed, "failed")
        return self._aether_turn("start_task").start_task(call, then_name, failed_name)

    def cancel_task(self, task_id: str) -> None:
        """Want no result of a task any more: none comes once this command is stored.

        A run that has begun is stopped, if it hears of it in time. A task that is over, or not of this actor, is let
        be. Raises `ActorFailed` in a query and in an `@event` method.
        """
        self._aether_turn("cancel_task").cancel_task(task_id)

    def _aether_turn(self, what: str) -> Scope:
        if self._aether_open:
            raise ActorFailed(
                f"self.{what} is used in an @event method: replay has only the event", str(self._aether_id)
            )
        scope = self._aether_scope
        if scope is None:
            raise RuntimeError(
                f"self.{what} needs a running command: this {self.kind} was only folded from its history"
            )
        return scope

    def __setattr__(self, name: str, value: object) -> None:
        if name in self._aether_open:
            set_field(self, name, value)
        else:
            raise self._aether_refusal(name, "assigned")

    def __delattr__(self, name: str) -> None:
        raise self._aether_refusal(name, "deleted")

    def _aether_refusal(self, name: str, how: str) -> StateChangedOutsideEvent:
        actor = str(self._aether_id)
        if self._aether_open:
            why = (
                "a state field cannot be deleted"
                if how == "deleted"
                else "it is not a declared field and would be lost"
            )
            return StateChangedOutsideEvent(f"{actor}: {name} was {how}; {why}", actor=actor, field=name)
        if isinstance(self._aether_scope, Detached):
            why = "this is a copy of the state, which is read-only"
            return StateChangedOutsideEvent(f"{actor}: {name} was {how}; {why}", actor=actor, field=name)
        why = "only an @event method changes state, so that replay can repeat it"
        return StateChangedOutsideEvent(f"{actor}: {name} was {how} outside an @event method; {why}", actor, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._aether_id}>"


set_field = object.__setattr__
"""Assigns past the guard."""

set_open = Actor.__dict__["_aether_open"].__set__
"""`set_open(state, fields)` lets these fields be assigned; `set_open(state, CLOSED)` ends it."""

_set_id = Actor.__dict__["_aether_id"].__set__
_set_scope = Actor.__dict__["_aether_scope"].__set__


def new_state(cls: type[Actor], actor_id: ActorId, scope: Scope | None) -> Actor:
    """An instance whose fields are still the class's defaults, closed."""
    state = cls.__new__(cls)
    _set_id(state, actor_id)
    _set_scope(state, scope)
    set_open(state, CLOSED)
    return state


def _annotations(cls: type) -> Iterable[Any]:
    """Every annotation of a class that may be a string: its fields' and its handlers'."""
    yield from annotations_of(cls).values()
    for member in cls.__dict__.values():
        if role_of(member) is not None:
            yield from annotations_of(handler_of(member)).values()
