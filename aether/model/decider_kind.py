"""From a `Decider` to a compiled kind. What is wrong with it is a `ModelError` with its place."""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any

import msgspec

from aether.aio import after
from aether.codec import Codec
from aether.errors import ActorFailed
from aether.ids import ActorId
from aether.json_checks import ValueMismatch, encode, is_immutable
from aether.model.actor import snake_case
from aether.model.class_kind import check_command_name, kind_of
from aether.model.compiled import CompiledKind, checked_snapshot_version, checked_window_s
from aether.model.decider import Decider, Decision
from aether.model.declared import Place, codec_of, kept_codec_of, place_of_class, place_of_function, resolve_signature
from aether.model.definition import Scope, State
from aether.model.event_types import compile_events, field_names, is_record, members_of
from aether.model.messages import ExactArguments, Invoke, TypedCommand
from aether.model.methods import Query
from aether.model.reached import reached_text
from aether.model.signature import compile_handler

_UNTYPED = inspect.Parameter.empty


class DeciderKind(CompiledKind):
    """A compiled `Decider`: the `ActorType` of its kind."""

    def __init__(self, decider: Decider[Any, Any, Any]) -> None:
        place = decider.place
        kind = kind_of(decider, place)
        decide, evolve = (_plain(kind, one, place) for one in (decider.decide, decider.evolve))
        if inspect.iscoroutinefunction(evolve) or inspect.isgeneratorfunction(evolve):
            raise place_of_function(evolve).error(f"{kind}.evolve is neither `async` nor a generator")
        _, command = _two_types(kind, decide, decider)
        state, event = _two_types(kind, evolve, decider)
        initial = decider.initial() if callable(decider.initial) else decider.initial
        state_codec = kept_codec_of(_state_type(decider, state, initial), place, f"the state of {kind}")
        self.decider = decider
        self.place = place
        self._evolve = evolve
        self._initial = _maker(kind, decider, state_codec, initial)
        events = _listed(decider.events, event, place_of_function(evolve), f"{kind}: no event types")
        commands = _listed(decider.commands, command, place_of_function(decide), f"{kind}: no command types")
        typed = compile_events(kind, [(type_, place_of_function(evolve)) for type_ in events])
        infos = [one.info for one in (state_codec, *(event_type.codec for event_type in typed))]
        super().__init__(
            kind,
            commands=_compiled(kind, decider, decide, commands),
            events=typed,
            state=state_codec,
            reached=reached_text(evolve.__module__, [evolve, *events], infos, {"initial": decider.initial}),
            mutable=not is_immutable(state_codec.info),
            snapshot_version=checked_snapshot_version(getattr(decider, "snapshot_version", 1), place),
            description=decider.description,
            command_window_s=checked_window_s(kind, decider.command_window_s, place),
        )

    def initial(self, actor_id: ActorId, scope: Scope | None = None) -> State:
        """The state before any event."""
        return self._initial()

    def evolve(self, state: State, event: object) -> State:
        """The state after an event."""
        return self._evolve(state, event)

    def checkpoint(self, state: State) -> object | None:
        """The state itself when it cannot change, else None; wrapped, because a state may be None."""
        return None if self.mutable else (state,)

    def restore(self, state: State, checkpoint: object) -> State:
        """The state of the checkpoint."""
        assert isinstance(checkpoint, tuple)
        return checkpoint[0]

    def encode_state(self, state: State) -> bytes:
        """The state as JSON. Raises ValueError when it is not of its type or would not come back equal."""
        return self.state_codec.encode_checked(state)[0]

    def state_bytes(self, state: State) -> bytes:
        """The state as JSON, unchecked. Raises whatever encoding raises."""
        return encode(state)

    def decode_state(self, raw: bytes, actor_id: ActorId, scope: Scope | None = None) -> State:
        """The state of a snapshot. Raises ValueError when it does not fit."""
        return self.state_codec.decode(raw)

    def state_values(self, state: State) -> dict[str, Any]:
        """The state's fields by name, the items of a mapping, or `{"value": state}` for what has neither."""
        if isinstance(state, dict):
            return {str(name): value for name, value in state.items()}
        if is_record(type(state)):
            return {name: getattr(state, name) for name in field_names(type(state))}
        return {"value": state}

    def member(self, name: str) -> str:
        """Whether the name is a field of the state."""
        type_ = self.state_codec.type
        return f"a field of {type_.__name__}" if is_record(type_) and name in field_names(type_) else ""


def _plain(kind: str, function: Callable[..., Any], place: Place) -> FunctionType:
    if not isinstance(function, FunctionType):
        raise place.error(f"{kind}: decide and evolve are plain functions, not {function!r}")
    return function


def _two_types(kind: str, function: FunctionType, decider: Decider[Any, Any, Any]) -> tuple[Any, Any]:
    place = place_of_function(function)
    parameters, _ = resolve_signature(function, decider.names, place)
    if len(parameters) != 2:
        raise place.error(f"{kind}: {function.__name__} takes two arguments, the state and a message")
    return parameters[0].annotation, parameters[1].annotation


def _state_type(decider: Decider[Any, Any, Any], annotated: Any, initial: Any) -> Any:
    if decider.state is not None:
        return decider.state
    return type(initial) if annotated is _UNTYPED else annotated


def _maker(kind: str, decider: Decider[Any, Any, Any], codec: Codec, initial: Any) -> Callable[[], State]:
    try:
        value = codec.encode_checked(initial)[1]
    except ValueMismatch as error:
        raise decider.place.error(f"the initial state of {kind} is not of its type: {error}") from error
    if is_immutable(codec.info):
        return lambda: value
    make = decider.initial
    return (lambda: copy.deepcopy(make())) if callable(make) else lambda: copy.deepcopy(value)


def _listed(given: Iterable[type] | None, annotated: Any, place: Place, missing: str) -> tuple[Any, ...]:
    if given is not None:
        return tuple(given)
    if annotated is _UNTYPED:
        raise place.error(f"{missing}; annotate the second argument of its function, or list them")
    return members_of(annotated)


def _compiled(
    kind: str, decider: Decider[Any, Any, Any], decide: FunctionType, commands: Iterable[Any]
) -> Iterator[TypedCommand]:
    place = place_of_function(decide)
    invoke = _invoke(kind, decide)
    replies = dict(decider.replies)
    names: set[str] = set()
    for type_ in commands:
        command = _command(kind, type_, replies.pop(type_, None), invoke, place)
        _check_new(kind, command.name, names, place_of_class(type_, place))
        yield command
    if replies:
        raise decider.place.error(f"{kind} has a reply type for {next(iter(replies))!r}, which is no command of it")
    for function in decider.queries:
        blocking = isinstance(function, Query) and function.blocking
        query = _plain(kind, function.handler if isinstance(function, Query) else function, decider.place)
        check_command_name(kind, query.__name__, place_of_function(query))
        _check_new(kind, query.__name__, names, place_of_function(query))
        yield compile_handler(kind, query.__name__, query, decider.names, query=True, blocking=blocking)


def _check_new(kind: str, name: str, names: set[str], place: Place) -> None:
    if name in names:
        raise place.error(f"{kind} has two commands named {name}")
    names.add(name)


def _command(kind: str, type_: Any, reply: Any, invoke: Invoke, place: Place) -> TypedCommand:
    is_struct = isinstance(type_, type) and issubclass(type_, msgspec.Struct) and not type_.__struct_config__.array_like
    if not isinstance(type_, type) or not (dataclasses.is_dataclass(type_) or is_struct):
        raise place.error(f"{kind} cannot have {type_!r} as a command: a command is a dataclass or a Struct by name")
    where = place_of_class(type_, place)
    name = snake_case(type_.__name__)
    check_command_name(kind, name, where)
    codec = codec_of(type_, where, f"the command {type_.__name__} of {kind}")
    fields: tuple[msgspec.inspect.Field, ...] = getattr(codec.info, "fields", ())
    return TypedCommand(
        kind,
        name,
        query=False,
        arguments=ExactArguments(
            name, codec, tuple(one.encode_name for one in fields), {one.name: one.encode_name for one in fields}
        ),
        reply=codec_of(reply, where, f"the reply of {kind}.{name}"),
        invoke=invoke,
        signature=inspect.signature(type_).replace(return_annotation=reply),
        description=_description(type_),
    )


def _description(type_: type) -> str:
    text = type_.__doc__ or ""
    return "" if text.startswith(f"{type_.__name__}(") else inspect.cleandoc(text)


def _invoke(kind: str, decide: FunctionType) -> Invoke:
    def waited(state: State, scope: Scope, command: Any) -> Any:
        return after(decide(state, command), lambda decided: _emitted(kind, decided, scope))

    def at_once(state: State, scope: Scope, command: Any) -> Any:
        return _emitted(kind, decide(state, command), scope)

    return waited if inspect.iscoroutinefunction(decide) else at_once


def _emitted(kind: str, decided: Any, scope: Scope) -> Any:
    """Emit what was decided, all of it after the decision, and give back the reply."""
    decision: Decision[Any] = decided if isinstance(decided, Decision) else Decision(decided)
    if not isinstance(decision.events, Iterable):
        raise ActorFailed(f"decide of {kind} returned {decided!r}, which is neither events nor a Decision")
    for event in list(decision.events):
        scope.emit(event)
    return decision.reply
