"""JSON of sets in one order: equal values give equal bytes in every process, whatever order their sets are in.

Python's order of a set differs between processes. Sets are sorted by their elements or by the JSON of these; mappings
keep the order that they have, because it is part of their value. What of the JSON is a set, the declared type says.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Raw, inspect
from msgspec.json import Decoder, Encoder

from aether.json_checks import encode, encode_canonical, nodes

_array = Decoder(list[Raw]).decode
_object = Decoder(dict[str, Raw]).decode
_quoted = Encoder().encode
_SETS = (inspect.SetType, inspect.FrozenSetType)
_ORDERED = (inspect.DictType, inspect.TypedDictType, inspect.AnyType, inspect.CustomType)
"""What may hold mappings, whose order counts."""
_COMPARED = (inspect.StrType, inspect.IntType, inspect.UUIDType, inspect.DateType)
"""Elements that msgspec can sort: it compares the values."""


def encoder_of(info: inspect.Type) -> Callable[[Any], bytes]:
    """What encodes values of a type, the sets in them in one order. The sets of pydantic models keep theirs."""
    parts = list(nodes(info))
    if not any(isinstance(part, _SETS) for part in parts):
        return encode
    sets = [part for part in parts if isinstance(part, _SETS)]
    if not any(isinstance(part, _ORDERED) for part in parts) and all(
        isinstance(one.item_type, _COMPARED) for one in sets
    ):
        return encode_canonical
    return lambda value: _ordered(encode(value), info)


def _ordered(raw: bytes, info: Any) -> bytes:
    """JSON of a value of a type, with its sets in order."""
    types = [one for one in _members(info) if any(isinstance(part, _SETS) for part in nodes(one))]
    if not types or raw[:1] not in (b"[", b"{"):
        return raw
    if raw[:1] == b"[":
        return _array_ordered(raw, types)
    fields = _object(raw)
    found = _types_of_fields(fields, types)
    items = [
        b"%b:%b" % (_quoted(name), _part(value, found.get(name, found.get(None)))) for name, value in fields.items()
    ]
    return b"{%b}" % b",".join(items)


def _array_ordered(raw: bytes, types: list[Any]) -> bytes:
    """A union holds one type of arrays at most, so the first that has items is the type of this one."""
    items = _array(raw)
    declared = next((one for one in types if _item_types(one, len(items)) is not None), None)
    item_types = _item_types(declared, len(items)) or []
    parts = [_part(item, item_type) for item, item_type in zip(items, item_types, strict=False)]
    parts += [bytes(item) for item in items[len(parts) :]]
    return b"[%b]" % b",".join(sorted(parts) if isinstance(declared, _SETS) else parts)


def _part(raw: Raw, info: Any) -> bytes:
    return bytes(raw) if info is None else _ordered(bytes(raw), info)


def _members(info: Any) -> list[Any]:
    if isinstance(info, inspect.Metadata):
        return _members(info.type)
    if isinstance(info, inspect.UnionType):
        return [member for one in info.types for member in _members(one)]
    return [info]


def _item_types(info: Any, count: int) -> list[Any] | None:
    if hasattr(info, "item_type"):
        return [info.item_type] * count
    if isinstance(info, inspect.TupleType):
        return list(info.item_types)
    fields = getattr(info, "fields", None)
    if isinstance(info, inspect.NamedTupleType) or getattr(info, "array_like", False):
        tagged = [None] if getattr(info, "tag", None) is not None else []
        return [*tagged, *(field.type for field in fields or ())]
    return None


def _types_of_fields(fields: dict[str, Raw], types: list[Any]) -> dict[str | None, Any]:
    """The types of an object's fields by name, under None that of all others."""
    for one in types:
        if isinstance(one, inspect.DictType):
            return {None: one.value_type}
        tag = getattr(one, "tag", None)
        if hasattr(one, "fields") and (tag is None or bytes(fields.get(one.tag_field, b"")) == _quoted(tag)):
            return {field.encode_name: field.type for field in one.fields}
    return {}
