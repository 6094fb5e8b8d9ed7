"""Members of an `Actor` class that are neither state nor handlers, and would keep something that no event tells of."""

import dataclasses
import inspect
from collections import deque
from functools import _lru_cache_wrapper, cached_property
from typing import Any

from aether.model.actor import Actor
from aether.model.annotations import annotations_of
from aether.model.declared import Place, place_of_function

_CONTAINERS = (list, dict, set, bytearray, deque)


def check_plain_member(cls: type[Actor], name: str, member: Any) -> None:
    """Raise `ModelError` for a cache of what was computed from a state, and for a container that actors would share.

    A constant, which has a name in capitals, and a `ClassVar` may be a container.
    """
    where = f"{cls.__name__}.{name}"
    if isinstance(member, cached_property | _lru_cache_wrapper):
        function = member.func if isinstance(member, cached_property) else member.__wrapped__
        what = type(member).__name__.strip("_").removesuffix("_wrapper")
        text = f"{where} is cached by {what}, and stays what it is when an event changes the state"
        raise place_of_function(function).error(f"{text}; compute it anew, or keep it in a state field")
    if _is_annotated(cls, name):
        return
    written = _written(cls, name)
    where = f"{cls.__name__}.{written}"
    if isinstance(member, dataclasses.Field):
        text = (
            f"{where} is a dataclasses.field without an annotation, so it is no state; annotate it: `{written}: ... =`"
        )
        raise _place_of_assignment(cls, written).error(text)
    if isinstance(member, _CONTAINERS) and not (written.endswith("__") or written.isupper()):
        text = (
            f"{where} has no annotation, so it is no state, and all actors share it; annotate it: `{written}: ... =`. "
            f"A constant has a name in capitals, or is a `{written}: ClassVar[...] =`"
        )
        raise _place_of_assignment(cls, written).error(text)


def _written(cls: type[Actor], name: str) -> str:
    """The name as the class's body has it: one that begins with two underscores has the class's name before it."""
    for base in cls.__mro__:
        prefix = f"_{base.__name__.lstrip('_')}__"
        if name in vars(base) and name.startswith(prefix):
            return f"__{name.removeprefix(prefix)}"
    return name


def _is_annotated(cls: type[Actor], name: str) -> bool:
    return any(name in annotations_of(base) for base in cls.__mro__)


def _place_of_assignment(cls: type[Actor], name: str) -> Place:
    """The line that assigns a name in the class's body; the class's own place when its source is not there."""
    place = cls._aether_place
    declares = next((base for base in cls.__mro__ if name in vars(base)), cls)
    try:
        lines, first = inspect.getsourcelines(declares)
        file = inspect.getsourcefile(declares)
    except (OSError, TypeError, IndexError):
        return place
    found = next((n for n, line in enumerate(lines) if line.split("=")[0].strip() == name), None)
    return place if found is None else Place(file or place.file, first + found)
