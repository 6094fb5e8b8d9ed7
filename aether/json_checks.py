"""What JSON can carry, of a type and of a value, and where something cannot: the cold half of `aether.codec`.

msgspec lets through integers over 64 bits, NaN and Infinity, values that change on the way, and knows no pydantic
models; here they are found and named. It knows nothing of actors, commands or envelopes.
"""

import dataclasses
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec import Struct, inspect
from msgspec.json import Encoder

INTEGER_MIN = -(2**63)
INTEGER_MAX = 2**64 - 1

NESTED_MAX = 256
"""So many arrays and objects within each other JSON may have that is stored: each reader has room for them.

How deep JSON can be read depends on how deep the stack of the reader is: less deep in one place than in another.
"""

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


class ValueMismatch(ValueError):
    """A value or JSON that is not of the declared type. `path` names the field (`lines[2].price`), or is empty."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.message = message
        self.path = path


class Unsupported(TypeError):
    """A declared type that JSON cannot carry."""


class Flaw(NamedTuple):
    """Something wrong in a value, and where."""

    what: str
    path: str


_FIELD_OF_OBJECT = re.compile(r"(?:missing required|contains unknown) field `([^`]*)`$")


def split_path(message: str) -> tuple[str, str]:
    """msgspec's ``Expected `int`, got `str` - at `$.a[0].b` `` as its text and the path `a[0].b`.

    A missing or unknown field is part of the path, and so is the path within a pydantic model.
    """
    text, *places = message.split(" - at `")
    path = "".join(place.rpartition("$")[2].rstrip("`") for place in reversed(places))
    field = _FIELD_OF_OBJECT.search(text)
    if field is not None:
        path += f".{field[1]}"
    return text.replace("`", "'"), path.removeprefix(".")


def nodes(info: inspect.Type) -> Iterator[inspect.Type]:
    """A type and all it is made of, each once. Raises `Unsupported` for what only looks like a type to msgspec."""
    seen: set[int] = set()
    waiting: list[Any] = [info]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, inspect.CustomType) and not is_pydantic(node.cls):
            raise Unsupported(
                f"values of {name_of(node.cls)} have no JSON form; declare a dataclass, a Struct or a builtin type"
            )
        if isinstance(node, inspect.RawType | inspect.ExtType):
            raise Unsupported("raw messages have no type to check")
        yield node
        waiting += _parts(node)


def _parts(node: inspect.Type) -> Iterator[inspect.Type]:
    """The types that one is made of."""
    for part in (getattr(node, name) for name in node.__struct_fields__):
        for item in part if isinstance(part, tuple) else (part,):
            if isinstance(item, inspect.Field):
                yield item.type
            elif isinstance(item, inspect.Type):
                yield item


def can_nest(info: inspect.Type) -> bool:
    """Whether values of a type may be as deep as they like: it is a part of itself, or says nothing of its parts."""
    found = list(nodes(info))
    if any(isinstance(node, inspect.AnyType | inspect.CustomType) for node in found):
        return True
    return any(node is part for node in found for child in _parts(node) for part in nodes(child))


def check_depth(raw: bytes) -> None:
    """Raise `ValueMismatch` for JSON that nests too deeply to be stored."""
    if nests_too_deeply(raw):
        raise ValueMismatch(f"nested too deeply: {NESTED_MAX} levels are the most")


def nests_too_deeply(raw: bytes) -> bool:
    """Whether more than `NESTED_MAX` arrays and objects of JSON are within each other."""
    if raw.count(b"[") + raw.count(b"{") <= NESTED_MAX:
        return False
    left = _STRINGS.sub(b"", raw).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(NESTED_MAX):
        left = left.replace(b"[]", b"")  # those that are innermost
    return bool(left)


def is_immutable(info: inspect.Type) -> bool:
    """Whether values of the type cannot change, all the way down."""
    return all(_is_fixed(node) for node in nodes(info))


def is_pydantic(cls: Any) -> bool:
    """Whether `cls` is a pydantic model; pydantic itself is never imported here."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)


_FIXED = (
    inspect.NoneType, inspect.BoolType, inspect.IntType, inspect.FloatType, inspect.StrType, inspect.BytesType,
    inspect.DateTimeType, inspect.TimeType, inspect.DateType, inspect.TimeDeltaType, inspect.UUIDType,
    inspect.DecimalType, inspect.EnumType, inspect.LiteralType, inspect.FrozenSetType, inspect.VarTupleType,
    inspect.TupleType, inspect.NamedTupleType, inspect.UnionType, inspect.Metadata,
)  # fmt: skip


def _is_fixed(node: inspect.Type) -> bool:
    if isinstance(node, inspect.StructType):
        return bool(node.cls.__struct_config__.frozen)
    if isinstance(node, inspect.DataclassType):
        parameters = getattr(node.cls, "__dataclass_params__", None)
        return bool(parameters is not None and parameters.frozen)
    return isinstance(node, _FIXED)


def name_of(cls: Any) -> str:
    """A class's full name, or the repr of what is none."""
    return f"{cls.__module__}.{cls.__qualname__}" if isinstance(cls, type) else repr(cls)


def path_of_unencodable(value: Any) -> str:
    """Where in a value that does not encode the part is that does not."""
    for suffix, child in children(value):
        try:
            encode(child)
        except Exception:
            return f"{suffix}{path_of_unencodable(child)}".removeprefix(".")
    return ""


def refuse(search: Callable[..., Flaw | None], *values: Any) -> None:
    """Raise `ValueMismatch` if `search` (`not_json`, `difference`) finds something wrong in the values."""
    try:
        found = search(*values)
    except RecursionError:
        raise ValueMismatch("nested too deeply") from None
    if found is not None:
        raise ValueMismatch(found.what, found.path)


def _to_builtins(value: Any) -> Any:
    if is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True, round_trip=True, warnings="none")
    raise TypeError(f"values of {name_of(type(value))} cannot be written; give one of the declared type itself")


def from_builtins(type_: Any, value: Any) -> Any:
    """The pydantic model of decoded JSON: a decoder's hook. Raises ValueError with pydantic's words and path."""
    if not is_pydantic(type_):
        raise TypeError(f"values of {name_of(type_)} have no JSON form")
    try:
        return type_.model_validate_json(encode(value))
    except ValueError as error:
        raise ValueError(_pydantic_message(error)) from None


def _pydantic_message(error: Any) -> str:
    """The first of pydantic's errors, in msgspec's form, so that msgspec puts the outer path behind it."""
    errors: Any = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    first: Mapping[str, Any] = errors(include_url=False)[0]
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    return f"{first['msg']} - at `${steps}`" if steps else str(first["msg"])


encode = Encoder(enc_hook=_to_builtins).encode
encode_canonical = Encoder(enc_hook=_to_builtins, order="deterministic").encode
"""As `encode`, and equal values give equal bytes, whatever the order of their sets and mappings."""


def children(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value, each with its step of the path; the keys of a mapping are parts too."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            step = f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{shown(key)}]"
            yield step, key
            yield step, item
        return
    names = field_names(value)
    if names is not None:
        yield from ((f".{name}", getattr(value, name)) for name in names if hasattr(value, name))
    elif isinstance(value, Set | Sequence) and not isinstance(value, str | bytes | bytearray | memoryview):
        yield from ((f"[{place}]", item) for place, item in enumerate(value))


def field_names(value: Any) -> Sequence[str] | None:
    """The names of a value's fields, or None for what has none."""
    cls = type(value)
    if issubclass(cls, Struct):
        return cls.__struct_fields__
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls)]
    if is_pydantic(cls):
        return [*cls.model_fields, *(value.__pydantic_extra__ or ())]
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        fields: Sequence[str] = cls._fields
        return fields
    return None


def not_json(value: Any, path: str = "") -> Flaw | None:
    """The first part of a value that JSON cannot say, or None."""
    what = ""
    if isinstance(value, float) and not math.isfinite(value):
        what = f"{value} is no JSON number"
    elif isinstance(value, Decimal) and not value.is_finite():
        what = f"the Decimal {value} is no number"
    elif isinstance(value, int) and not INTEGER_MIN <= value <= INTEGER_MAX:
        what = "the integer needs more than 64 bits"
    elif isinstance(value, str):
        what = "" if value.isascii() or not _holds_surrogate(value) else "a text with a lone surrogate is no JSON"
    if what:
        return Flaw(what, path.removeprefix("."))
    return next(filter(None, (not_json(child, path + step) for step, child in children(value))), None)


def _holds_surrogate(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def shown(value: Any) -> str:
    """A value's repr, cut to a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
