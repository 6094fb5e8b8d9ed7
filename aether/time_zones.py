"""Times without a time zone: where a value has one although its declared type does not say so.

A `datetime` without a zone is another instant in every place, and cannot be compared with one that has a zone. So what
is handed over or newly stored has one, unless its type is `Annotated[datetime, Meta(tz=False)]` (in pydantic models
`NaiveDatetime`). The cold half of `aether.codec`; it encodes nothing.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, get_origin

from msgspec import inspect

from aether.json_checks import Found, children, field_names, is_pydantic

_ON_PURPOSE = inspect.DateTimeType(tz=False)
_NO_PARTS = (str, bytes, bytearray, int, float, bool)


def may_lack_zone(node: inspect.Type) -> bool:
    """Whether a value of the type (not of its parts) has to be looked at."""
    return (isinstance(node, inspect.DateTimeType) and node.tz is None) or isinstance(node, inspect.CustomType)


def without_zone(value: Any, info: inspect.Type | None, path: str = "") -> Found | None:
    """The first time without a zone in a value of a declared type that does not ask for such, or None."""
    if value is None or isinstance(value, _NO_PARTS):
        return None
    types = list(_members(info))
    if isinstance(value, datetime):
        on_purpose = any(isinstance(one, inspect.DateTimeType) and one.tz is False for one in types)
        return None if value.tzinfo is not None or on_purpose else Found(_advice(value), path.removeprefix("."))
    return next(filter(None, (without_zone(part, one, path + step) for step, part, one in _parts(value, types))), None)


def _advice(value: datetime) -> str:
    said = value.isoformat()
    return f"{said} has no time zone: give one ({said}+00:00), or declare Annotated[datetime, Meta(tz=False)]"


def _members(info: inspect.Type | None) -> Iterator[inspect.Type]:
    """The types that a union is made of, without what annotations say beside them."""
    if isinstance(info, inspect.Metadata):
        yield from _members(info.type)
    elif isinstance(info, inspect.UnionType):
        for one in info.types:
            yield from _members(one)
    elif info is not None:
        yield info


def _parts(value: Any, types: list[inspect.Type]) -> Iterator[tuple[str, Any, inspect.Type | None]]:
    """The parts of a value, each with its step of the path and its declared type, as far as it is known."""
    names = field_names(value)
    if names is not None:
        declared = _types_of_fields(type(value), types)
        yield from ((f".{name}", getattr(value, name, None), declared.get(name)) for name in names)
    elif isinstance(value, Mapping):
        yield from _entries(value, types)
    else:
        items: list[inspect.Type] = [one.item_type for one in types if hasattr(one, "item_type")]
        item = inspect.UnionType(tuple(items)) if items else None
        places = next((one.item_types for one in types if isinstance(one, inspect.TupleType)), ())
        for number, (step, part) in enumerate(children(value)):
            yield step, part, places[number] if number < len(places) else item


def _entries(value: Mapping[Any, Any], types: list[inspect.Type]) -> Iterator[tuple[str, Any, inspect.Type | None]]:
    mappings = [one for one in types if isinstance(one, inspect.DictType)]
    key_type = inspect.UnionType(tuple(one.key_type for one in mappings)) if mappings else None
    item_type = inspect.UnionType(tuple(one.value_type for one in mappings)) if mappings else None
    named = {field.encode_name: field.type for one in types if isinstance(one, inspect.TypedDictType)
             for field in one.fields}  # fmt: skip
    for number, (step, part) in enumerate(children(value)):
        yield step, part, key_type if number % 2 == 0 else named.get(step.removeprefix("."), item_type)


def _types_of_fields(cls: type, types: list[inspect.Type]) -> Mapping[str, inspect.Type | None]:
    if is_pydantic(cls):
        fields: Any = getattr(cls, "model_fields", {})
        return {name: _ON_PURPOSE for name, field in fields.items() if "NaiveDatetime" in repr(field.annotation)}
    for one in types:
        declared = getattr(one, "cls", None)
        if declared is not None and (get_origin(declared) or declared) is cls:
            return {field.name: field.type for field in getattr(one, "fields", ())}
    return {}
