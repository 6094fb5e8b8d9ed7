"""Policies: whenever this event, then these commands. The declaration, and its compiled form in a model.

A policy is a plain function of an event and a `PolicyContext`. It runs in the turn that emits the event, right after
the event was applied, so that what it tells is stored with the event or not at all. It decides nothing of its own
actor: it emits nothing and asks no actor. Replay runs no policies.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import update_wrapper
from types import FunctionType
from typing import Any, Generic, ParamSpec, Protocol, TypeAlias, TypeVar, get_args, get_origin, overload

from aether.errors import ActorFailed, StateChangedOutsideEvent
from aether.ids import ActorId
from aether.log_lines import type_name, words
from aether.model.annotations import annotations_of
from aether.model.class_kind import ActorKind
from aether.model.decider_kind import DeciderKind
from aether.model.declared import Place, caller_frame, local_names, place_of_frame, place_of_function, resolve_signature
from aether.model.definition import ActorCommand, JsonSchema, Scope, State
from aether.model.event_types import members_of
from aether.model.messages import TypedEvent
from aether.model.methods import Command, checked_command, own_command
from aether.model.schedules import When, checked_name, checked_when
from aether.model.tasks import TaskCall, TaskFailed, checked_call

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E")
S = TypeVar("S")
E_contra = TypeVar("E_contra", contravariant=True)
S_co = TypeVar("S_co", covariant=True)

Kinds: TypeAlias = Mapping[str, ActorKind | DeciderKind]

_UNTYPED = inspect.Parameter.empty


class PolicyContext(Generic[S_co]):
    """What a policy knows of the actor that emitted the event, and what it may do.

    Generic in the `Actor` class, or in the type of a `Decider`'s state: that says for which kind of actors the policy
    is. `PolicyContext[Any]` is for every kind that has the event. `state` is the actor's state after the event:
    assigning to it raises `StateChangedOutsideEvent`.
    """

    __slots__ = ("_scope", "id", "state")

    def __init__(self, actor_id: ActorId, state: S_co, scope: Scope) -> None:
        self.id = actor_id
        self.state = state
        self._scope = scope

    @property
    def version(self) -> int:
        """The version of the event: how many events the actor has with it."""
        return self._scope.version

    @property
    def now(self) -> datetime:
        """The time of the event, in UTC."""
        return self._scope.context.now

    @property
    def scheduled_for(self) -> datetime | None:
        """When the tick was due whose command emitted the event, in UTC; None for any other command."""
        return self._scope.context.scheduled_for

    @property
    def command_id(self) -> str:
        """The id of the command that emitted the event."""
        return self._scope.context.command_id

    @property
    def correlation_id(self) -> str:
        """What that command belongs to; what the policy tells belongs to it, too."""
        return self._scope.context.correlation_id

    @property
    def caller(self) -> str:
        """Who sent that command, "" when that is not known."""
        return self._scope.context.caller

    def tell(self, command: Command[Any, P, Any], key: str, /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Have the actor `key` run a command after this commit, as `Actor.tell`: `context.tell(Room.confirm, "12")`.

        The command that emitted the event fails with `ActorFailed` when the arguments are wrong, and when the policy
        has a list of what it `tells` without this command.
        """
        told = checked_command(command, "context.tell")
        self._scope.tell(told.kind, told.name, key, args, kwargs)

    def schedule(
        self, name: str, when: When, command: Command[Any, P, Any], key: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Have the actor `key` run a command at a time, as `Actor.schedule`: a schedule of the actor of the event."""
        run = checked_command(command, "context.schedule")
        to = ActorCommand(run.kind, key, run.name)
        self._scope.schedule(checked_name(name), checked_when(when), to, args, kwargs)

    def cancel_schedule(self, name: str, /) -> None:
        """Have no further ticks of a schedule of the actor of the event, as `Actor.cancel_schedule`."""
        self._scope.cancel_schedule(checked_name(name))

    def start_task(
        self,
        call: TaskCall[R],
        /,
        *,
        then: Callable[[S_co, R], object] | None = None,
        failed: Callable[[S_co, TaskFailed], object] | None = None,
    ) -> str:
        """Have a worker call a task's function after this commit, as `Actor.start_task`; the task's id.

        `then` and `failed` are commands of the actor that emitted the event.
        """
        checked_call(call, "context.start_task")
        kind, actor = self.id.kind, self.state
        then_name, failed_name = own_command(actor, kind, then, "then"), own_command(actor, kind, failed, "failed")
        return self._scope.start_task(call, then_name, failed_name)

    def cancel_task(self, task_id: str) -> None:
        """Want no result of a task of this actor any more, as `Actor.cancel_task`."""
        self._scope.cancel_task(task_id)

    def __repr__(self) -> str:
        return f"<policy context of {self.id}>"


class Policy(Generic[E_contra, S_co]):
    """What `@policy` makes of a function; calling it calls the function.

    `tells` are the commands that it may tell, None when it does not say.
    """

    def __init__(
        self,
        handler: Callable[[E_contra, PolicyContext[S_co]], None],
        tells: Sequence[Command[Any, ..., Any]] | None,
        names: Mapping[str, Any],
    ) -> None:
        update_wrapper(self, handler)
        self.handler = handler
        self.name: str = handler.__name__
        self.tells = None if tells is None else tuple(tells)
        self.names = names

    def __call__(self, event: E_contra, context: PolicyContext[S_co]) -> None:
        """Run it, as a turn does."""
        self.handler(event, context)

    def __repr__(self) -> str:
        return f"<policy {self.name}>"


class PolicyDecorator(Protocol):
    """`@policy(...)` with options."""

    def __call__(self, handler: Callable[[E, PolicyContext[S]], None], /) -> Policy[E, S]:
        """The policy that a function is."""
        ...


@overload
def policy(handler: Callable[[E, PolicyContext[S]], None], /) -> Policy[E, S]: ...
@overload
def policy(*, tells: Sequence[Command[Any, ..., Any]] | None = None) -> PolicyDecorator: ...
def policy(handler: Any = None, *, tells: Any = None) -> Any:
    """Whenever this event, then these commands: `def on_paid(event: Paid, context: PolicyContext[Booking]) -> None`.

    The function is plain, not `async`, and is given to `Model(policies=[...])`. `tells=(Room.confirm,)` lists the
    commands that it tells: the board shows them, and the policy may tell no others. Raises `ModelError` on anything
    but a function; the rest is checked when a model is built.
    """
    frame = caller_frame(1)
    place = place_of_frame(frame)

    def decorate(decorated: Any) -> Policy[Any, Any]:
        if not isinstance(decorated, FunctionType):
            raise place.error(f"@policy goes directly on a function, not on {decorated!r}")
        names = local_names(frame, annotations_of(decorated).values())
        return Policy(decorated, _listed(decorated.__name__, tells, place), names)

    return decorate if handler is None else decorate(handler)


def _listed(name: str, tells: Any, place: Place) -> tuple[Command[Any, ..., Any], ...] | None:
    if tells is None:
        return None
    if not isinstance(tells, Sequence) or not all(isinstance(one, Command) for one in tells):
        raise place.error(f"the policy {name} tells a tuple of commands, like (Room.confirm,), not {tells!r}")
    return tuple(tells)


class CompiledPolicy:
    """A policy of a model: the `PolicyType` of its events. `events` are these, each as kind and event name."""

    __slots__ = ("_told", "description", "events", "handler", "name", "place")

    def __init__(self, declared: Policy[Any, Any], events: Sequence[tuple[str, str]], place: Place) -> None:
        self.handler: Callable[..., Any] = declared.handler
        self.name = declared.name
        self.description = inspect.cleandoc(declared.handler.__doc__ or "")
        self.events = tuple(events)
        self.place = place
        self._told = None if declared.tells is None else tuple((one.kind, one.name) for one in declared.tells)

    def run(self, event: object, actor_id: ActorId, state: State, scope: Scope) -> None:
        """React to an event that was just applied. Raises `ActorFailed`, `StateChangedOutsideEvent`."""
        actor = str(actor_id)
        try:
            result = self.handler(event, PolicyContext(actor_id, state, scope))
        except StateChangedOutsideEvent:
            raise
        except ActorFailed as error:
            raise ActorFailed(f"the policy {self.name} failed: {error.message}", actor=actor) from error
        except BaseException as error:  # users' code, and nothing in it can be cancelled
            what = f"{type_name(error)}: {words(error)}"
            raise ActorFailed(f"the policy {self.name} failed: {what}", actor=actor) from error
        if result is not None:
            _close(result)
            what = f"the policy {self.name} returned {_shown(result)}; a policy returns nothing"
            raise ActorFailed(what, actor=actor)

    def check_tell(self, kind: str, command: str) -> None:
        """Raise `ActorFailed` when it lists what it tells, and not this."""
        if self._told is not None and (kind, command) not in self._told:
            raise ActorFailed(f"it told {kind}.{command}, which is not in its `tells`")

    def refusal(self, actor_id: ActorId) -> ActorFailed:
        """The error when it emits or asks."""
        text = f"the policy {self.name} may tell, and neither emit nor ask: what it reacts to is decided"
        return ActorFailed(text, actor=str(actor_id))

    def schema(self) -> JsonSchema:
        """`{"description", "events": [{"kind", "event"}], "tells": [{"kind", "command"}] or None}`."""
        told = None if self._told is None else [{"kind": kind, "command": name} for kind, name in self._told]
        events = [{"kind": kind, "event": name} for kind, name in self.events]
        return {"description": self.description, "events": events, "tells": told}


def _close(result: object) -> None:
    """End a coroutine that is not awaited."""
    close = getattr(result, "close", None)
    if hasattr(result, "__await__") and close is not None:
        close()


def _shown(result: object) -> str:
    """What users' code has returned, on a line; its class, if it cannot say what it is."""
    try:
        return f"{result!r:.200}"
    except BaseException:
        return f"a value of {type(result)}"


def attach_policies(policies: Sequence[object], kinds: Kinds, place: Place) -> dict[str, CompiledPolicy]:
    """Compile the policies of a model, and have each run for its events; they run in the order of the model's list.

    Raises `ModelError` with the policy's place, or the model's for what is no policy.
    """
    found: dict[str, CompiledPolicy] = {}
    for one in policies:
        if not isinstance(one, Policy):
            raise place.error(f"the policies of a model are functions marked with @policy, not {one!r}")
        events = list(_events_of(one, kinds))
        where = place_of_function(one.handler)
        twin = found.get(one.name)
        if twin is not None:
            first = f"{twin.place.file}:{twin.place.line}"
            raise where.error(f"a second policy {one.name!r}; the first is at {first}")
        _check_tells(one, kinds, where)
        compiled = CompiledPolicy(one, [(kind, event.name) for kind, event in events], where)
        found[one.name] = compiled
        for _, event in events:
            event.policies = (*event.policies, compiled)
    return found


def _events_of(declared: Policy[Any, Any], kinds: Kinds) -> Iterator[tuple[str, TypedEvent]]:
    """For which events it runs, each with its kind."""
    function = declared.handler
    assert isinstance(function, FunctionType)
    place, name = place_of_function(function), declared.name
    for is_wrong in (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction):
        if is_wrong(function):
            raise place.error(f"the policy {name} is a plain function: neither `async` nor a generator")
    event, context = _annotated(declared, function, place)
    chosen = _kinds_of(name, context, kinds, place)
    for type_ in members_of(event):
        found = [(kind, one) for kind in chosen for one in kinds[kind].events.values() if one.type is type_]
        if not found:
            shown = getattr(type_, "__name__", repr(type_))
            raise place.error(f"the policy {name} is for {shown}, which is no event of {', '.join(chosen)}")
        yield from found


def _annotated(declared: Policy[Any, Any], function: FunctionType, place: Place) -> tuple[Any, Any]:
    """The types of the event and of the context."""
    name = declared.name
    parameters, returns = resolve_signature(function, declared.names, place)
    if len(parameters) != 2 or any(one.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for one in parameters):
        raise place.error(f"the policy {name} takes two arguments, the event and a PolicyContext")
    for parameter in parameters:
        if parameter.annotation is _UNTYPED:
            raise place.error(f"the policy {name}({parameter.name}) has no type; annotate it")
    if returns not in (None, type(None)):
        raise place.error(f"the policy {name} returns nothing; write `-> None`")
    event, context = (one.annotation for one in parameters)
    if context is not PolicyContext and get_origin(context) is not PolicyContext:
        what = f"the policy {name}({parameters[1].name}) is a PolicyContext[...] of an Actor class, not {context!r}"
        raise place.error(what)
    return event, context


def _kinds_of(name: str, context: Any, kinds: Kinds, place: Place) -> list[str]:
    """The kinds of actors that a `PolicyContext[...]` is for; all of them when it does not say."""
    arguments = get_args(context)
    if not arguments or arguments[0] is Any or isinstance(arguments[0], TypeVar):
        return list(kinds)
    chosen: list[str] = []
    for member in members_of(arguments[0]):
        found = [kind for kind, one in kinds.items() if _is_of(one, member)]
        if not found:
            shown = getattr(member, "__name__", repr(member))
            why = "which is no Actor class of the model, nor the state of a Decider of it"
            raise place.error(f"the policy {name} is for PolicyContext[{shown}], {why}")
        chosen += found
    return list(dict.fromkeys(chosen))


def _is_of(kind: ActorKind | DeciderKind, member: Any) -> bool:
    if isinstance(kind, ActorKind):
        return isinstance(member, type) and issubclass(kind.actor_class, member)
    return bool(kind.state_codec.type == member)


def _check_tells(declared: Policy[Any, Any], kinds: Kinds, place: Place) -> None:
    for command in declared.tells or ():
        kind = kinds.get(command.kind)
        if kind is None or command.name not in kind.commands:
            shown = f"{command.kind or getattr(command.actor, '__name__', '')}.{command.name}"
            raise place.error(f"the policy {declared.name} tells {shown}, which is no command of the model")
