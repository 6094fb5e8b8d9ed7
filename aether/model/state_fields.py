"""The state fields of an `Actor` class: every annotated name that is not a ClassVar, inherited ones too.

Each has a default, checked against its type when the model is built. A mutable default is copied for each actor.
"""

import copy
import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from aether.codec import Codec
from aether.json_checks import ValueMismatch, is_immutable
from aether.log_lines import type_name, words
from aether.model.actor import Actor
from aether.model.annotations import annotations_of
from aether.model.declared import Place, kept_codec_of, place_of_field, resolve, type_arguments, with_arguments
from aether.model.methods import ActorMethod

_HINTS = {
    "kind": "; write `kind: ClassVar[str]`",
    "tells_in_order": "; write `tells_in_order: ClassVar[bool]`",
    "snapshot_version": "; write `snapshot_version: ClassVar[int]`",
}


class StateField:
    """One field. `make` gives each new actor its value; None when the class's own attribute is that value.

    `default` is the value or the function that was declared.
    """

    __slots__ = ("annotation", "default", "immutable", "make", "name")

    def __init__(
        self, name: str, annotation: Any, immutable: bool, make: Callable[[], Any] | None, default: Any
    ) -> None:
        self.name = name
        self.annotation = annotation
        self.immutable = immutable
        self.make = make
        self.default = default


def state_fields(cls: type[Actor], names: Mapping[str, Any]) -> list[StateField]:
    """The fields of a class, those of its bases first. Raises `ModelError` with the line of a field that cannot be."""
    found: dict[str, StateField] = {}
    arguments = type_arguments(cls)
    for base in reversed(cls.__mro__):
        if base in (Actor, object, typing.Generic):
            continue
        for name, annotation in annotations_of(base).items():
            place = place_of_field(base, name, cls._aether_place)
            type_ = resolve(annotation, base.__module__, names, place, f"{cls.__name__}.{name}")
            if type_ is ClassVar or typing.get_origin(type_) is ClassVar:
                continue
            if type_ is typing.Final:
                text = (
                    f"{cls.__name__}.{name} is a Final without a type: write `{name}: ClassVar[...] =` for a constant, "
                    f"`{name}: ... =` for state"
                )
                raise place.error(text)
            found[name] = _field(cls, name, with_arguments(type_, arguments.get(base, {})), place)
    return list(found.values())


def _field(cls: type[Actor], name: str, type_: Any, place: Place) -> StateField:
    where = f"{cls.__name__}.{name}"
    if hasattr(Actor, name):
        hint = _HINTS.get(name, "")
        raise place.error(f"{where} hides an attribute of every actor; give the state field another name{hint}")
    codec = kept_codec_of(type_, place, where)
    default = inspect.getattr_static(cls, name, dataclasses.MISSING)
    factory: Callable[[], Any] | None = None
    if inspect.isfunction(default) or isinstance(default, ActorMethod):
        raise place.error(f"{where} is a state field and a method, which hides it; give one of the two another name")
    declared = isinstance(default, dataclasses.Field)
    if isinstance(default, dataclasses.Field):
        factory = None if default.default_factory is dataclasses.MISSING else default.default_factory
        default = default.default
    if factory is None and default is dataclasses.MISSING:
        raise place.error(
            f"{where} has no default, and an actor starts from nothing: write `{name}: ... = value` "
            "or `= dataclasses.field(default_factory=...)`"
        )
    try:
        value = codec.encode_checked(_made(factory, where, place) if factory is not None else default)[1]
        if factory is not None:
            _check_same(codec, value, _made(factory, where, place), where, place)
    except ValueMismatch as error:
        raise place.error(f"the default of {where} is not of its type: {error}") from error
    immutable = is_immutable(codec.info)
    if factory is not None:
        make = factory
        return StateField(name, type_, immutable, factory if immutable else lambda: copy.deepcopy(make()), factory)
    if not immutable:
        return StateField(name, type_, immutable, lambda: copy.deepcopy(value), value)
    same = not declared and type(value) is type(default)
    return StateField(name, type_, immutable, None if same else lambda: value, value)


def _made(factory: Callable[[], Any], where: str, place: Place) -> Any:
    try:
        return factory()
    except BaseException as error:
        raise place.error(f"the default of {where} cannot be made: {type_name(error)}: {words(error)}") from error


def _check_same(codec: Codec, first: Any, second: Any, where: str, place: Place) -> None:
    """Raise `ModelError` for two values of a factory that differ: replay begins from the default."""
    if codec.encode_checked(first)[0] != codec.encode_checked(second)[0]:
        raise place.error(
            f"the default of {where} is another one each time; a replay begins from it and would come to another "
            "state: take such a value in a command, and put it into the event"
        )
