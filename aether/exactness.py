"""Whether a value is of exactly its declared type, all the way down: no subclass, no int for a float.

An `Exact` is made once for each declared type. `plain` says more: that a value for which `holds` is true always comes
back from its JSON as it went in, so that it need not be compared. Whatever is not understood does not hold, and is
compared part by part. This is the hot half of a comparison, and can be compiled.
"""

import dataclasses
import datetime
import decimal
import enum
import typing
import uuid
from typing import Any, Final

from msgspec import inspect

_NONE_TYPE: Final = type(None)
_PLAIN: Final = frozenset({int, str, bool, bytes, _NONE_TYPE, uuid.UUID, datetime.date, datetime.timedelta})
_JSON: Final = frozenset({int, str, bool, float, _NONE_TYPE})
_SCALARS: Final[dict[type, type]] = {
    inspect.NoneType: _NONE_TYPE, inspect.BoolType: bool, inspect.IntType: int, inspect.FloatType: float,
    inspect.StrType: str, inspect.BytesType: bytes, inspect.ByteArrayType: bytearray, inspect.UUIDType: uuid.UUID,
    inspect.DateType: datetime.date, inspect.TimeDeltaType: datetime.timedelta, inspect.DecimalType: decimal.Decimal,
}  # fmt: skip


class Exact:
    """Nothing holds: values are compared part by part."""

    def __init__(self, plain: bool) -> None:
        self.plain = plain

    def holds(self, value: Any) -> bool:
        """Whether the value is of exactly the declared type."""
        return False


class Scalars(Exact):
    """Values without parts, of one of some classes."""

    def __init__(self, types: frozenset[type]) -> None:
        super().__init__(all(one in _PLAIN or (issubclass(one, enum.Enum) and not issubclass(one, enum.Flag))
                             for one in types))  # fmt: skip
        self.types = types

    def holds(self, value: Any) -> bool:
        """Whether it is of one of the classes."""
        return type(value) in self.types


class Instants(Exact):
    """Dates with a time, and times: one that JSON cannot say in full does not hold."""

    def __init__(self, type_: type) -> None:
        super().__init__(False)
        self.type = type_

    def holds(self, value: Any) -> bool:
        """Whether JSON says all of it."""
        instant: Any = value
        if type(value) is not self.type:
            return False
        return instant.tzinfo is None or instant.utcoffset() is not None


class Json(Exact):
    """Whatever JSON says itself."""

    def holds(self, value: Any) -> bool:
        """Whether it is JSON as it is."""
        kind = type(value)
        if kind is list:
            return _JSON.issuperset(map(type, value)) or all(self.holds(item) for item in value)
        if kind is dict:
            return all(type(key) is str and self.holds(item) for key, item in value.items())
        return kind in _JSON


class Either(Exact):
    """A union."""

    def __init__(self, members: list[Exact]) -> None:
        super().__init__(all(one.plain for one in members))
        self.members = members

    def holds(self, value: Any) -> bool:
        """Whether it is of a member."""
        return any(member.holds(value) for member in self.members)


class Items(Exact):
    """A list, tuple or set of one type of items."""

    def __init__(self, type_: type, item: Exact) -> None:
        super().__init__(item.plain)
        self.type = type_
        self.item = item
        self.types: frozenset[type] | None = item.types if isinstance(item, Scalars) else None

    def holds(self, value: Any) -> bool:
        """Whether it is of the class, and so are its items."""
        items: Any = value
        if type(value) is not self.type:
            return False
        if self.types is not None:
            return self.types.issuperset(map(type, items))
        item = self.item
        return all(item.holds(one) for one in items)


class Places(Exact):
    """A tuple with a type for each place."""

    def __init__(self, items: list[Exact]) -> None:
        super().__init__(all(one.plain for one in items))
        self.items = items

    def holds(self, value: Any) -> bool:
        """Whether it has as many places, each of its type."""
        if type(value) is not tuple or len(value) != len(self.items):
            return False
        return all(item.holds(one) for item, one in zip(self.items, value, strict=True))


class Entries(Exact):
    """A dict of one type of keys and one of values."""

    def __init__(self, key: Exact, item: Exact) -> None:
        told_apart = isinstance(key, Scalars) and len(key.types) == 1  # in JSON all keys are texts
        super().__init__(told_apart and key.plain and item.plain)
        self.key = key
        self.item = item
        self.key_types: frozenset[type] | None = key.types if isinstance(key, Scalars) else None
        self.item_types: frozenset[type] | None = item.types if isinstance(item, Scalars) else None

    def holds(self, value: Any) -> bool:
        """Whether it is a dict, and its keys and values are of their types."""
        if type(value) is not dict:
            return False
        keys, items = self.key_types, self.item_types
        if keys is not None and items is not None:
            return keys.issuperset(map(type, value)) and items.issuperset(map(type, value.values()))
        return all(self.key.holds(key) and self.item.holds(item) for key, item in value.items())


class Fields(Exact):
    """A class with fields. `by_wire_name` are the same fields by their names in JSON."""

    def __init__(self, type_: type) -> None:
        super().__init__(False)
        self.type = type_
        self.fields: list[tuple[str, Exact]] = []
        self.by_wire_name: dict[str, Exact] = {}

    def holds(self, value: Any) -> bool:
        """Whether it is of the class, and its fields are of their types."""
        if type(value) is not self.type:
            return False
        for name, exact in self.fields:
            try:
                part = getattr(value, name)
            except AttributeError:
                return False
            if not exact.holds(part):
                return False
        return True

    def holds_by_name(self, values: dict[str, Any]) -> bool:
        """Whether the values of a dict are of exactly the types of the fields that they stand for."""
        for name, value in values.items():
            exact = self.by_wire_name.get(name)
            if exact is None or not exact.holds(value):
                return False
        return True


class Names(Exact):
    """A dict with a type for each key."""

    def __init__(self) -> None:
        super().__init__(False)
        self.fields: dict[str, Exact] = {}

    def holds(self, value: Any) -> bool:
        """Whether it is a dict of known keys, each value of its type."""
        if type(value) is not dict:
            return False
        for key, item in value.items():
            exact = self.fields.get(key) if type(key) is str else None
            if exact is None or not exact.holds(item):
                return False
        return True


def exact_of(info: inspect.Type) -> Exact:
    """The check of a declared type."""
    return _exact(info, {})


def _exact(info: Any, made: dict[int, Exact]) -> Exact:
    known = made.get(id(info))
    if known is not None:
        return known
    if isinstance(info, inspect.DataclassType | inspect.StructType | inspect.NamedTupleType):
        return _fields(info, made)
    if isinstance(info, inspect.TypedDictType):
        names = Names()
        made[id(info)] = names
        names.fields = {field.encode_name: _exact(field.type, made) for field in info.fields}
        names.plain = all(one.plain for one in names.fields.values())
        return names
    return _scalar(info) or _container(info, made) or Exact(False)


def _scalar(info: Any) -> Exact | None:
    one = _SCALARS.get(type(info))
    if one is not None:
        return Scalars(frozenset({one}))
    if isinstance(info, inspect.LiteralType):
        return Scalars(frozenset(map(type, info.values)))
    if isinstance(info, inspect.EnumType):
        return Scalars(frozenset({info.cls}))
    if isinstance(info, inspect.DateTimeType):
        return Instants(datetime.datetime)
    if isinstance(info, inspect.TimeType):
        return Instants(datetime.time)
    return Json(False) if isinstance(info, inspect.AnyType) else None


def _container(info: Any, made: dict[int, Exact]) -> Exact | None:
    if isinstance(info, inspect.UnionType):
        members = [_exact(one, made) for one in info.types]
        scalars = [one.types for one in members if isinstance(one, Scalars)]
        if len(scalars) == len(members):
            return Scalars(frozenset().union(*scalars))
        return Either(members)
    if isinstance(info, inspect.ListType):
        return Items(list, _exact(info.item_type, made))
    if isinstance(info, inspect.SetType):
        return Items(set, _exact(info.item_type, made))
    if isinstance(info, inspect.FrozenSetType):
        return Items(frozenset, _exact(info.item_type, made))
    if isinstance(info, inspect.VarTupleType):
        return Items(tuple, _exact(info.item_type, made))
    if isinstance(info, inspect.TupleType):
        return Places([_exact(one, made) for one in info.item_types])
    if isinstance(info, inspect.DictType):
        return Entries(_exact(info.key_type, made), _exact(info.value_type, made))
    if isinstance(info, inspect.Metadata):
        return _exact(info.type, made)
    return None


def _fields(info: Any, made: dict[int, Exact]) -> Exact:
    cls = typing.get_origin(info.cls) or info.cls
    fields = Fields(cls)
    made[id(info)] = fields
    for field in info.fields:
        exact = _exact(field.type, made)
        fields.fields.append((field.name, exact))
        fields.by_wire_name[field.encode_name] = exact
    fields.plain = all(one.plain for _, one in fields.fields) and not _has_more(cls, info)
    return fields


def _has_more(cls: Any, info: Any) -> bool:
    """Whether a class is made by code of its own, or holds what is not in its JSON."""
    if hasattr(cls, "__post_init__"):
        return True
    names = {field.name for field in info.fields}
    return dataclasses.is_dataclass(cls) and not {field.name for field in dataclasses.fields(cls)} <= names
