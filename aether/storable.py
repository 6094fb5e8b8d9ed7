"""Declared types that msgspec takes and whose values cannot be stored: refused when a model is loaded, with advice.

It looks at types only, once each, and knows no values; what depends on the value is refused by `aether.codec`.
"""

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, inspect

from aether.json_checks import Unsupported, is_pydantic, name_of

_KEYS = (
    inspect.StrType, inspect.IntType, inspect.FloatType, inspect.BytesType, inspect.DecimalType, inspect.UUIDType,
    inspect.DateTimeType, inspect.DateType, inspect.TimeType, inspect.TimeDeltaType, inspect.EnumType, inspect.AnyType,
)  # fmt: skip
"""Types that JSON has as the text of a key, and reads from it again."""
_UNHASHABLE: dict[Any, str] = {
    inspect.ListType: "a list", inspect.SetType: "a set", inspect.DictType: "a dict", inspect.TypedDictType: "a dict",
    inspect.ByteArrayType: "a bytearray",
}  # fmt: skip


def check_storable(node: inspect.Type) -> None:
    """Raise `Unsupported`, with advice, for a type (not for its parts) whose values cannot be stored."""
    if isinstance(node, inspect.DictType):
        wrong = next(_not_a_key(node.key_type), None)
        if wrong is not None:
            raise Unsupported(f"a mapping cannot have {wrong}")
    elif isinstance(node, inspect.SetType | inspect.FrozenSetType):
        wrong = _not_hashable(node.item_type)
        if wrong:
            raise Unsupported(f"a set cannot hold {wrong}, which has no hash: use a list, or tuples and frozen classes")
    elif isinstance(node, inspect.MemoryViewType):
        raise Unsupported("a memoryview shares memory that may change: use bytes")
    elif isinstance(node, inspect.CustomType) and is_pydantic(node.cls):
        _check_pydantic(node.cls)


def check_kept(node: inspect.Type) -> None:
    """Raise `Unsupported`, with advice, for a type that can be handed over but not kept in an event or a state."""
    if isinstance(node, inspect.CustomType) and is_pydantic(node.cls):
        cls: Any = node.cls
        hidden = next(_hidden_fields(cls.model_json_schema(mode="serialization")), None)
        if hidden is not None:
            where = f"{hidden} of the pydantic model {node.cls.__name__}"
            raise Unsupported(
                f"{where} is a secret, of which JSON has the asterisks: declare a text, or do not keep it"
            )


def _hidden_fields(schema: Any) -> Iterator[str]:
    """The fields that pydantic writes as asterisks, unless a serializer of the model's own writes them."""
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _hidden_fields(part)
    fields = schema.get("properties") if isinstance(schema, dict) else None
    for name, field in fields.items() if isinstance(fields, dict) else ():
        if isinstance(field, dict) and any(one.get("writeOnly") is True for one in [field, *field.get("anyOf", ())]):
            yield name


def advice_on(message: str) -> str:
    """What to do about msgspec's refusal of a type, to go behind its words."""
    if "union" in message:
        return "; declare Structs with tags, `class Paid(Struct, tag=True)`: JSON says which of them it is"
    if "InitVar" in message:
        return "; declare an ordinary field, or compute the value before"
    if "Enum" in message:
        return "; give its members texts or whole numbers"
    return ""


def _not_a_key(key: Any) -> Iterator[str]:
    if isinstance(key, inspect.UnionType):
        for member in key.types:
            yield from _not_a_key(member)
    elif isinstance(key, inspect.LiteralType):
        if any(type(value) not in (int, str) for value in key.values):
            yield "None or a bool as a key: use texts or whole numbers"
    elif isinstance(key, inspect.Metadata):
        yield from _not_a_key(key.type)
    elif isinstance(key, inspect.NoneType):
        yield "None as a key: use a text that stands for it"
    elif isinstance(key, inspect.BoolType):
        yield "a bool as a key: use a text, or a field for each of the two"
    elif isinstance(key, inspect.TupleType | inspect.VarTupleType):
        yield "a tuple as a key: use a text made of its parts, or a list of pairs, `list[tuple[Key, Value]]`"
    elif not isinstance(key, _KEYS):
        cls = getattr(key, "cls", None)
        shown = name_of(cls) if cls is not None else type(key).__name__.removesuffix("Type")
        yield f"{shown} as a key: use a text or a number that stands for it, or a list of pairs"


def _not_hashable(item: Any) -> str:
    found = _UNHASHABLE.get(type(item), "")
    cls = getattr(item, "cls", None)
    if isinstance(item, inspect.Metadata):
        return _not_hashable(item.type)
    if isinstance(item, inspect.UnionType | inspect.TupleType):
        parts = item.types if isinstance(item, inspect.UnionType) else item.item_types
        return next(filter(None, map(_not_hashable, parts)), "")
    if isinstance(item, inspect.VarTupleType):
        return _not_hashable(item.item_type)
    if isinstance(cls, type) and issubclass(cls, Struct):
        config = cls.__struct_config__
        return f"a {cls.__name__} that is not frozen" if config.eq and not config.frozen else ""
    if isinstance(cls, type) and getattr(cls, "__hash__", None) is None:
        return f"a {cls.__name__}"
    return found


def _check_pydantic(cls: Any) -> None:
    for name, field in cls.model_fields.items():
        where = f"the field {name} of the pydantic model {cls.__name__}"
        if field.exclude and field.is_required():
            raise Unsupported(f"{where} is left out of its JSON and has no default: give it one, or do not exclude it")
        written = field.serialization_alias
        if written is not None and field.is_required() and written not in _names_read(cls, name, field):
            raise Unsupported(f"{where} is written as {written} and not read by this name: use `alias` for both")
    try:
        cls.model_json_schema()
    except Exception as error:  # pydantic's own, which is no part of its parents' interfaces
        first = str(error).partition("\n")[0]
        raise Unsupported(f"the pydantic model {cls.__name__} holds what JSON cannot carry: {first}") from error


def _names_read(cls: Any, name: str, field: Any) -> set[str]:
    read = field.validation_alias if field.validation_alias is not None else field.alias
    choices = getattr(read, "choices", [read])
    names = {one for one in choices if isinstance(one, str)}
    config = cls.model_config
    by_name = read is None or config.get("populate_by_name") or config.get("validate_by_name")
    return names | {name} if by_name else names
