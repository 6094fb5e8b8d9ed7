"""Which classes are events, and their compiled types: the same rules for `Actor` classes and for deciders.

An event is a class of named fields. `schema_version: ClassVar[int]` numbers its shape (default 1), and a static method
`upcast(fields, schema_version)` makes the JSON fields of an older shape into those of the current one.
"""

import dataclasses
import typing
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Any

import msgspec

from aether.json_checks import is_pydantic
from aether.model.annotations import signature_of
from aether.model.declared import Place, kept_codec_of, place_of_class
from aether.model.messages import TypedEvent


def members_of(type_: Any) -> tuple[Any, ...]:
    """The types that a union is made of; any other type is alone."""
    return typing.get_args(type_) if typing.get_origin(type_) in (typing.Union, UnionType) else (type_,)


def is_record(type_: Any) -> bool:
    """Whether the type is a class of named fields: a dataclass, Struct, pydantic model or NamedTuple."""
    if not isinstance(type_, type) or typing.get_origin(type_) is not None:
        return False
    named_tuple = issubclass(type_, tuple) and hasattr(type_, "_fields")
    return dataclasses.is_dataclass(type_) or issubclass(type_, msgspec.Struct) or is_pydantic(type_) or named_tuple


def compile_events(kind: str, handled: Iterable[tuple[Any, Place]]) -> list[TypedEvent]:
    """The event types that a kind handles, each with the place of its handler.

    Raises `ModelError` for what is no event, two handlers of one event, and two events of one name.
    """
    found: dict[str, TypedEvent] = {}
    for type_, place in handled:
        event = _compile_event(kind, type_, place)
        twin = found.get(event.name)
        if twin is not None and twin.type is type_:
            raise place.error(f"{kind} has two @event methods for {event.name}; one event has one")
        if twin is not None:
            raise place_of_class(type_, place).error(
                f"{kind} has two event types named {event.name}, {_full_name(twin.type)} and {_full_name(type_)}; "
                "events are stored by this name"
            )
        found[event.name] = event
    return list(found.values())


def _compile_event(kind: str, type_: Any, place: Place) -> TypedEvent:
    if type_ is NoneType or not is_record(type_):
        shown = getattr(type_, "__name__", repr(type_))
        message = (
            f"{kind} cannot have {shown} as an event: an event is a dataclass, Struct, NamedTuple or pydantic model"
        )
        raise place.error(message)
    where = place_of_class(type_, place)
    codec = kept_codec_of(type_, where, f"the event {type_.__name__} of {kind}")
    version = _class_attribute(type_, "schema_version", 1)
    if not isinstance(version, int) or version < 1:
        raise where.error(f"{type_.__name__}.schema_version is a whole number from 1, not {version!r}")
    upcast = _class_attribute(type_, "upcast", None)
    _check_upcast(type_.__name__, version, upcast, where)
    return TypedEvent(kind, codec, schema_version=version, upcast=upcast)


def _check_upcast(name: str, version: int, upcast: Any, where: Place) -> None:
    """Raise `ModelError` when no upcast would read older versions of an event, or none would call its upcast."""
    shape = f"`@staticmethod def upcast(fields, schema_version)`, which gives the fields of version {version}"
    if upcast is None:
        if version > 1:
            stored = "version 1" if version == 2 else f"versions 1 to {version - 1}"
            raise where.error(
                f"{name}.schema_version is {version}, and nothing reads what {stored} of it stored: add {shape}"
            )
        return
    if not callable(upcast):
        raise where.error(f"{name}.upcast is no static method: write {shape}")
    if version == 1:
        raise where.error(f"{name}.upcast is never called while {name}.schema_version is 1: raise it to 2")
    try:
        signature_of(upcast).bind({}, 1)
    except TypeError as error:
        raise where.error(
            f"{name}.upcast cannot be called with (fields, schema_version): {error}; write {shape}"
        ) from None
    except ValueError:  # a callable without a signature that can be read
        pass


def field_names(type_: type) -> tuple[str, ...]:
    """The names of a record's own fields."""
    if dataclasses.is_dataclass(type_):
        return tuple(field.name for field in dataclasses.fields(type_))
    for listed in ("__struct_fields__", "model_fields", "_fields"):
        if hasattr(type_, listed):
            return tuple(getattr(type_, listed))
    return ()


def _class_attribute(type_: type, name: str, otherwise: Any) -> Any:
    """An attribute of the class itself; a field of that name is the event's own matter."""
    return otherwise if name in field_names(type_) else getattr(type_, name, otherwise)


def _full_name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
