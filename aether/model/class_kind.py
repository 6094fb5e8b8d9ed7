"""From an `Actor` class to a compiled kind: its state fields, its handlers, and the fold over them.

Everything that can be wrong with the class is found here, when a model is built, as a `ModelError` with its place.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from operator import attrgetter
from types import FunctionType
from typing import Any, TypeAlias

import msgspec

from aether.codec import Codec
from aether.errors import InvalidCommand
from aether.ids import ActorId, check_kind
from aether.json_checks import encode
from aether.model.actor import CLOSED, Actor, new_state, set_field, set_open
from aether.model.annotations import annotations_of
from aether.model.compiled import CompiledKind, checked_snapshot_version, checked_tells_in_order, checked_window_s
from aether.model.declared import Place, codec_of, place_of_function, resolve_signature, type_arguments
from aether.model.definition import Scope
from aether.model.emitted import check_emitted
from aether.model.event_types import compile_events, members_of
from aether.model.handlers import handler_of, hidden_method, role_of
from aether.model.messages import TypedCommand
from aether.model.methods import ActorMethod
from aether.model.plain_members import check_plain_member
from aether.model.reached import reached_text
from aether.model.schema import GENERATED
from aether.model.signature import compile_handler
from aether.model.state_fields import StateField, state_fields

_OWN_MEMBERS = ("id", "version", "context", "resources", "emit", "ask", "tell", "schedule", "cancel_schedule",
                "start_task", "cancel_task", "__init__", "__new__", "__setattr__", "__delattr__", "__getattr__",
                "__getattribute__")  # fmt: skip
"""What an actor's class must leave as `Actor` made it."""


class ActorKind(CompiledKind):
    """A compiled `Actor` class: the `ActorType` of its kind."""

    def __init__(self, cls: type[Actor]) -> None:
        kind = kind_of(cls, cls._aether_place)
        _check_members(cls)
        names = _local_names(cls)
        handlers = list(_handlers(cls))
        appliers = list(_appliers(kind, handlers, names))
        fields = state_fields(cls, names)
        self.actor_class = cls
        self.place = cls._aether_place
        self._struct = _state_struct(kind, fields)
        state = codec_of(self._struct, cls._aether_place, f"the state of {kind}")
        events = compile_events(kind, [(type_, place_of_function(one)) for type_, one in appliers])
        _check_hidden_events(cls, names, {event.type for event in events})
        _check_emitted(kind, handlers, [one.type for one in events])
        super().__init__(
            kind,
            commands=_commands(kind, handlers, names),
            events=events,
            state=state,
            reached=_reached(cls, appliers, fields, [state, *(one.codec for one in events)]),
            mutable=not all(field.immutable for field in fields),
            snapshot_version=checked_snapshot_version(getattr(cls, "snapshot_version", 1), cls._aether_place),
            command_window_s=checked_window_s(kind, cls.command_window_s, cls._aether_place),
            tells_in_order=checked_tells_in_order(kind, getattr(cls, "tells_in_order", True), cls._aether_place),
            description=inspect.cleandoc(cls.__dict__.get("__doc__") or ""),
        )
        self._appliers: dict[type, Callable[[Any, Any], object]] = dict(appliers)
        self._names = tuple(field.name for field in fields)
        self._open = frozenset(self._names) | {""}
        self._made = [(field.name, field.make) for field in fields if field.make is not None]
        self._values = _values_getter(self._names)

    def initial(self, actor_id: ActorId, scope: Scope | None = None) -> Actor:
        """The state before any event: the fields' defaults."""
        state = new_state(self.actor_class, actor_id, scope)
        for name, make in self._made:
            set_field(state, name, make())
        return state

    def evolve(self, state: Actor, event: object) -> Actor:
        """The same state, changed by its `@event` method. Raises `ActorFailed` for an event that no method takes."""
        applier = self._appliers.get(type(event))
        if applier is None:
            applier = self._appliers[self.event_type_of(event).type]
        set_open(state, self._open)
        try:
            applier(state, event)
        finally:
            set_open(state, CLOSED)
        return state

    def checkpoint(self, state: Actor) -> object | None:
        """The fields' values when none of them can change inside, else None."""
        return None if self.mutable else self._values(state)

    def restore(self, state: Actor, checkpoint: object) -> Actor:
        """The same state with the values of the checkpoint."""
        assert isinstance(checkpoint, tuple)
        for name, value in zip(self._names, checkpoint, strict=True):
            set_field(state, name, value)
        return state

    def encode_state(self, state: Actor) -> bytes:
        """The fields as a JSON object. Raises ValueError when one is not of its type or would not come back equal."""
        return self.state_codec.encode_checked(self._struct(*self._values(state)))[0]

    def state_bytes(self, state: Actor) -> bytes:
        """The fields as a JSON object, unchecked. Raises whatever encoding raises."""
        return encode(self._struct(*self._values(state)))

    def unwritable_field(self, state: Actor) -> str:
        """The field that cannot be encoded."""
        for name, value in zip(self._names, self._values(state), strict=True):
            try:
                encode(value)
            except BaseException:  # users' code too
                return name
        return "state"

    def decode_state(self, raw: bytes, actor_id: ActorId, scope: Scope | None = None) -> Actor:
        """The state of a snapshot. Raises ValueError when it does not fit."""
        values = msgspec.structs.astuple(self.state_codec.decode(raw))
        return self.restore(new_state(self.actor_class, actor_id, scope), values)

    def state_values(self, state: Actor) -> dict[str, Any]:
        """The fields by name."""
        return dict(zip(self._names, self._values(state), strict=True))

    def member(self, name: str) -> str:
        """What a name is of the class that is no command or query; "" for unknown names."""
        if name in self._names:
            what = "a field"
        elif hasattr(Actor, name):
            what = "what a running command has" if name in ("context", "resources", "emit") else "an attribute"
        else:
            found = inspect.getattr_static(self.actor_class, name, None)
            if found is None:
                return ""
            what = "an @event method" if role_of(found) == "event" else "a plain member"
        return f"{what} of {self.actor_class.__name__}"


def _reached(
    cls: type[Actor], appliers: Sequence[tuple[Any, FunctionType]], fields: Sequence[StateField], codecs: list[Codec]
) -> str:
    applied = [f"{type_.__name__} by {function.__name__}" for type_, function in appliers]
    roots = [one for pair in appliers for one in pair]
    defaults = {field.name: field.default for field in fields}
    return "\n".join(
        [*sorted(applied), reached_text(cls.__module__, roots, [one.info for one in codecs], defaults, members_of=cls)]
    )


def _local_names(cls: type[Actor]) -> dict[str, Any]:
    """What annotations of the class may mean beyond its module: names of the function around it, classes within it."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        module = getattr(sys.modules.get(base.__module__), "__dict__", {})
        found |= {name: one for name, one in vars(base).items() if isinstance(one, type) and name not in module}
        found |= vars(base).get("_aether_names", {})
    return found


def kind_of(declared: Any, place: Place) -> str:
    """The kind that a class or decider has. Raises `ModelError` unless it is text in snake_case."""
    kind = declared.kind
    if not isinstance(kind, str):
        raise place.error(f"a kind is a text, not a {type(kind).__name__}; name it with `kind=`")
    try:
        check_kind(kind)
    except InvalidCommand as error:
        raise place.error(f"{error.message}; name it with `kind=`") from None
    return kind


def check_command_name(kind: str, name: str, place: Place) -> None:
    """Raise `ModelError` for a name that no command can have."""
    if name.startswith(("_", "aether")):
        raise place.error(f"{kind}.{name} cannot be a command: names that begin with '_' or 'aether' are not callable")


def _check_members(cls: type[Actor]) -> None:
    for base in cls.__mro__[: cls.__mro__.index(Actor)]:
        for name in _OWN_MEMBERS:
            member = vars(base).get(name)
            if member is not None and name not in annotations_of(base):
                raise _place_of_member(member, cls).error(_own_member_message(cls, name))


def _own_member_message(cls: type[Actor], name: str) -> str:
    if name == "__init__":
        return f"{cls.__name__} has an __init__; an actor is made from its fields' defaults and its events"
    return f"{cls.__name__}.{name} hides what every actor has under this name; choose another"


def _place_of_member(member: Any, cls: type[Actor]) -> Place:
    function = member.fget if isinstance(member, property) else getattr(member, "handler", member)
    return place_of_function(function) if isinstance(function, FunctionType) else cls._aether_place


_Handler: TypeAlias = tuple[FunctionType, Mapping[Any, Any], ActorMethod[Any, ..., Any] | None]
"""A method with a role, what the type parameters of its class stand for, and the command or query that it is."""


def _handlers(cls: type[Actor]) -> Iterator[_Handler]:
    """The methods of a class that have a role; inherited ones come first."""
    arguments = type_arguments(cls)
    for name in dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base)):
        member = inspect.getattr_static(cls, name)
        if role_of(member) is None:
            _check_unmarked(cls, name, member)
            continue
        declares = next(base for base in cls.__mro__ if name in vars(base))
        method = _named(cls, name, member) if isinstance(member, ActorMethod) else None
        yield handler_of(member), arguments.get(declares, {}), method


def _named(cls: type[Actor], name: str, method: ActorMethod[Any, ..., Any]) -> ActorMethod[Any, ..., Any]:
    if method.name != name:
        place = place_of_function(method.handler)
        raise place.error(f"{cls.__name__}.{name} is the {method.role} {method.name} once more; a command has one name")
    return method


def _check_unmarked(cls: type[Actor], name: str, member: Any) -> None:
    taken = hidden_method(member)
    if taken is not None:
        why = f"hides the @{taken.role} that it is put on; put @{taken.role} above its other decorators"
        raise place_of_function(taken.handler).error(f"{cls.__name__}.{name} {why}")
    check_plain_member(cls, name, member)
    hidden = next((role for base in cls.__mro__ if (role := role_of(vars(base).get(name)))), None)
    if hidden is not None and member is not None:
        raise _place_of_member(member, cls).error(
            f"{cls.__name__}.{name} overrides a method marked @{hidden}; mark it as well, or set it to None"
        )


def _commands(kind: str, handlers: Sequence[_Handler], names: dict[str, Any]) -> Iterator[TypedCommand]:
    for function, arguments, method in handlers:
        if method is not None:
            check_command_name(kind, method.name, place_of_function(function))
            is_query = method.role == "query"
            yield compile_handler(
                kind, method.name, function, names, query=is_query, blocking=method.blocking, type_arguments=arguments
            )


def _check_emitted(kind: str, handlers: Sequence[_Handler], taken: Sequence[type]) -> None:
    known = ", ".join(sorted(one.__name__ for one in taken)) or "none"
    for function, _, method in handlers:
        if method is not None:
            check_emitted(kind, function, taken, known)


def _appliers(kind: str, handlers: Sequence[_Handler], names: dict[str, Any]) -> Iterator[tuple[Any, FunctionType]]:
    for function, arguments, method in handlers:
        if method is None:
            for type_ in _event_types(kind, function, names, arguments):
                yield type_, function


def _check_hidden_events(cls: type[Actor], names: dict[str, Any], taken: Set[type]) -> None:
    """Raise `ModelError` for an @event method that hides one of a base class whose event nothing applies then."""
    arguments = type_arguments(cls)
    for name in dict.fromkeys(name for base in cls.__mro__ for name in vars(base)):
        visible = inspect.getattr_static(cls, name)
        if role_of(visible) != "event":
            continue
        for base in cls.__mro__:
            hidden = vars(base).get(name)
            if hidden is visible or role_of(hidden) != "event":
                continue
            for type_ in _event_types(cls.kind, handler_of(hidden), names, arguments.get(base, {})):
                if isinstance(type_, type) and type_ not in taken:
                    raise place_of_function(visible).error(
                        f"{cls.__name__}.{name} hides {base.__name__}.{name}, and nothing applies {type_.__name__} any "
                        "more; give it another name"
                    )


def _event_types(
    kind: str, function: FunctionType, names: dict[str, Any], arguments: Mapping[Any, Any]
) -> tuple[Any, ...]:
    place = place_of_function(function)
    where = f"{kind}.{function.__name__}"
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise place.error(f"{where} applies an event, so it is a plain method: neither `async` nor a generator")
    parameters, _ = resolve_signature(function, names, place, arguments)
    if len(parameters) != 2 or any(one.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for one in parameters):
        raise place.error(f"{where} applies an event, so it takes `self` and the event")
    if parameters[1].annotation is inspect.Parameter.empty:
        raise place.error(f"{where}({parameters[1].name}) has no type; annotate which event it applies")
    return members_of(parameters[1].annotation)


def _state_struct(kind: str, fields: Sequence[StateField]) -> type[msgspec.Struct]:
    declared = [(field.name, field.annotation) for field in fields]
    return msgspec.defstruct(f"{GENERATED}{kind}.state", declared, forbid_unknown_fields=True, module=__name__)


def _values_getter(names: tuple[str, ...]) -> Callable[[Actor], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    if not names:
        return lambda _state: ()
    only = attrgetter(names[0])
    return lambda state: (only(state),)
