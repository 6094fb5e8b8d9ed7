"""Whether a value and what its JSON gives back are the same, and if not, where they differ and what to do.

`difference` is for what is stored (events, states): the same values of the same types. `unfaithful` is for what is
handed over (arguments, replies), where a value may be given in the JSON form of its declared type: a list for a tuple
or a set, a text for a date, a whole number for a float, a dict for a dataclass. Both are the cold half of
`aether.codec`; neither knows how to encode.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct, inspect

from aether.json_checks import Flaw, children, encode, field_names, is_pydantic, shown

_TOO_FINE = re.compile(r"\.\d{6}\d*[1-9]")
_DURATION = re.compile(
    r"([+-]?)P(?:([\d.]+)W)?(?:([\d.]+)D)?(?:T(?:([\d.]+)H)?(?:([\d.]+)M)?(?:([\d.]+)S)?)?", re.IGNORECASE
)
_UNIT_S = (604_800, 86_400, 3_600, 60, 1)
_SEARCH_MAX = 16
"""Elements of a set that are looked at, for each one given, until one is found that is said by it."""


def difference(given: Any, back: Any, path: str = "") -> Flaw | None:
    """Where a value and what its JSON gave back are not the same, or None.

    Stricter than `==` where `==` is too weak (True and 1, a subclass and its base, Decimal 1.0 and 1.00, other offsets
    of one instant), and weaker where it says no to equal things (classes without `__eq__`, the repeated hour of a time
    zone). An int is the same as the equal float.
    """
    if given is back:
        return None
    if type(given) is not type(back):
        same = type(given) is int and type(back) is float and given == back
        return None if same else _changed(given, back, path)
    if _is_whole(back):
        return None if _same_whole(given, back) else _changed(given, back, path)
    if isinstance(back, Mapping):
        return _difference_of_mappings(given, back, path)
    parts, parts_back = list(children(given)), list(children(back))
    if [step for step, _ in parts] != [step for step, _ in parts_back]:
        return _changed(given, back, path)
    for (step, part), (_, part_back) in zip(parts, parts_back, strict=True):
        found = difference(part, part_back, path + step)
        if found is not None:
            return found
    if is_pydantic(type(back)) and given != back:
        what = "it holds private or excluded values, which JSON does not carry: leave them as they are by default"
        return Flaw(what, path.removeprefix("."))
    return None


def _difference_of_mappings(given: Mapping[Any, Any], back: Mapping[Any, Any], path: str) -> Flaw | None:
    if len(given) != len(back):
        return _changed(given, back, path)
    for (key, part), (key_back, part_back) in zip(given.items(), back.items(), strict=True):
        if difference(key, key_back) is not None:
            what = f"the key {shown(key)} would come back as {shown(key_back)}: declare one type of keys, and use it"
            return Flaw(what, path.removeprefix("."))
        found = difference(part, part_back, path + _step(key))
        if found is not None:
            return found
    return None


def unfaithful(given: Any, back: Any, info: inspect.Type | None = None, path: str = "") -> Flaw | None:
    """Where what arrives does not say exactly what was given, or None.

    `back` is what the JSON of `given`, or `given` as JSON itself, is read as; `info` is the declared type as far as it
    is known. JSON itself is given with numbers as int and Decimal.
    """
    if given is back:
        return None
    if isinstance(info, inspect.UnionType):
        info = _member(info, back)
    if isinstance(info, inspect.AnyType) and not isinstance(given, Decimal | list | dict):
        return difference(given, back, path)
    if type(given) is type(back) and is_pydantic(type(back)):
        return difference(given, back, path)
    if type(given) is dict:
        if isinstance(back, dict):
            return _unfaithful_mapping(given, back, info, path)
        if field_names(back) is not None and not isinstance(back, tuple):
            return _unfaithful_fields(given, back, info, path)
    elif type(given) in (list, tuple) and _is_sequence(back):
        return _unfaithful_sequence(given, back, info, path)
    elif type(given) in (set, frozenset) and isinstance(back, set | frozenset):
        return _unfaithful_set(given, back, info, path)
    elif type(given) is type(back) and field_names(back) is not None:
        types = _types_by_name(info)
        pairs = ((f".{name}", getattr(given, name, None), getattr(back, name, None), types.get(name))
                 for name in field_names(back) or ())  # fmt: skip
        return _first(pairs, path)
    return None if _says(given, back) else _changed(given, back, path)


def rounded(given: Any, usual: Any, path: str = "") -> Flaw | None:
    """The first number or time of JSON that is more precise than what it was read as, or None.

    `usual` is the JSON of what was read; what is not in it was not read. Numbers are int and Decimal.
    """
    if isinstance(given, dict) and isinstance(usual, dict):
        steps = ((_step(key), part, usual[key]) for key, part in given.items() if key in usual)
    elif isinstance(given, list) and isinstance(usual, list) and len(given) == len(usual):
        steps = ((f"[{n}]", one, one if one in usual else usual[n]) for n, one in enumerate(given))  # it may be a set
    elif type(given) is int and isinstance(usual, int | Decimal):
        read = usual if isinstance(usual, int) else float(usual)  # its JSON is the shortest text that is read as it
        return None if given == read else _changed(given, read, path)
    else:
        return _changed(given, usual, path) if isinstance(given, str) and _is_finer(given, usual) else None
    return next(filter(None, (rounded(part, back, path + step) for step, part, back in steps)), None)


def _is_finer(text: str, usual: Any) -> bool:
    if text == usual or not isinstance(usual, str):
        return False
    duration = _duration(text)
    if duration is not None:
        return duration != _duration(usual)
    return ":" in text and _TOO_FINE.search(text) is not None


def _first(pairs: Iterable[tuple[str, Any, Any, inspect.Type | None]], path: str) -> Flaw | None:
    for step, part, part_back, type_ in pairs:
        found = unfaithful(part, part_back, type_, path + step)
        if found is not None:
            return found
    return None


def _unfaithful_mapping(
    given: Mapping[Any, Any], back: Mapping[Any, Any], info: inspect.Type | None, path: str
) -> Flaw | None:
    keys = info.key_type if isinstance(info, inspect.DictType) else _anything(info)
    values = info.value_type if isinstance(info, inspect.DictType) else _anything(info)
    types = _types_by_name(info)
    if len(given) != len(back):
        dropped = next((key for key in given if key not in back), None)
        if dropped is not None and types:
            return Flaw(f"there is no field {shown(dropped)}: leave it out", path.removeprefix("."))
        return Flaw("two of its keys would be one", path.removeprefix("."))
    for key, key_back in zip(given, back, strict=True):
        if isinstance(keys, inspect.AnyType) and type(key) is not type(key_back):
            said = False
        else:
            said = _says(key, key_back) or _key_says(key, key_back)
        if not said:
            what = f"the key {shown(key)} would arrive as {shown(key_back)}: give keys of the declared type"
            return Flaw(what, path.removeprefix("."))
    parts = zip(given.items(), back.values(), strict=True)
    return _first(((_step(key), part, part_back, types.get(key, values)) for (key, part), part_back in parts), path)


def _unfaithful_fields(given: Mapping[Any, Any], back: Any, info: inspect.Type | None, path: str) -> Flaw | None:
    names, types = _names_on_the_wire(back), _types_by_name(info)
    written: Mapping[str, Any] = {}
    if is_pydantic(type(back)):
        written = back.model_dump(mode="json", by_alias=True, round_trip=True, warnings="none")
        written = written if isinstance(written, dict) else {}
    for key, part in given.items():
        name = names.get(key)
        if name is None:
            what = f"{type(back).__name__} has no field of this name: leave it out"
            return Flaw(what, (path + _step(key)).removeprefix("."))
        if name == "" or (key in written and type(written[key]) is type(part) and written[key] == part):
            continue
        found = unfaithful(part, getattr(back, name), types.get(name), path + _step(key))
        if found is not None:
            return found
    return None


def _unfaithful_sequence(given: Sequence[Any], back: Any, info: inspect.Type | None, path: str) -> Flaw | None:
    if isinstance(back, set | frozenset):
        return _unfaithful_set(given, back, info, path)
    names = field_names(back)
    parts = [getattr(back, name) for name in names] if names is not None else list(back)
    if names is not None and isinstance(back, Struct) and back.__struct_config__.tag is not None:
        parts.insert(0, given[0] if given else None)
    if len(parts) < len(given) or (names is None and len(parts) != len(given)):
        return _changed(given, back, path)
    items = _item_types(info, len(parts))
    return _first(((f"[{n}]", one, parts[n], items[n]) for n, one in enumerate(given)), path)


def _unfaithful_set(given: Iterable[Any], back: Set[Any], info: inspect.Type | None, path: str) -> Flaw | None:
    """Elements are found by equality, else by their usual JSON form, else among a few that are left."""
    elements = list(given)
    if len(elements) != len(back):
        return Flaw("some of its elements are equal, and a set keeps one of them: leave the others out", path[1:])
    item = _item_types(info, 1)[0]
    equal = {one: one for one in back}
    usual = {encode(one): one for one in back}
    left: list[Any] = []
    for one in elements:
        found = equal.get(one) if _is_hashable(one) else None
        if found is None:
            found = usual.get(_usual_form(one))
        if found is None or unfaithful(one, found, item) is not None:
            left.append(one)
        else:
            equal.pop(found, None)
    for one in left:
        near = next((it for it in list(equal)[:_SEARCH_MAX] if unfaithful(one, it, item) is None), None)
        if near is None:
            what = f"the element {shown(one)} would not arrive as it is: give it as it is declared"
            return Flaw(what, path.removeprefix("."))
        del equal[near]
    return None


def _says(given: Any, back: Any) -> bool:
    """Whether a part without parts of its own says exactly what arrives."""
    kind = type(given)
    if kind is type(back):
        return _same_whole(given, back)
    if isinstance(back, Enum):
        return kind in (int, str) and type(back.value) is kind and bool(back.value == given)
    if kind is int:
        return type(back) in (float, Decimal) and bool(back == given)
    if kind is Decimal:  # a number of JSON: a float is the nearest to its digits
        return (type(back) is float and float(given) == back) or (type(back) is int and given == back)
    return kind is str and _text_says(given, back)


def _text_says(text: str, back: Any) -> bool:
    if isinstance(back, datetime | time):
        return ":" in text and _TOO_FINE.search(text) is None
    if isinstance(back, timedelta):
        return _duration(text) == Fraction(back // timedelta(microseconds=1), 1_000_000)
    if isinstance(back, date | UUID):
        return True
    if isinstance(back, Decimal):
        return back.is_finite() and Decimal(text).as_tuple() == back.as_tuple()
    if isinstance(back, bytes | bytearray):
        return b64encode(back).decode() == text
    secret = getattr(back, "get_secret_value", None)  # pydantic's: a text, which only its JSON hides
    return bool(secret() == text) if secret is not None else not isinstance(back, int | float) and str(back) == text


def _duration(text: str) -> Fraction | None:
    """Seconds of an ISO 8601 duration, exactly."""
    matched = _DURATION.fullmatch(text)
    if matched is None:
        return None
    sign, *counts = matched.groups()
    total = sum((Fraction(count or 0) * unit for count, unit in zip(counts, _UNIT_S, strict=True)), Fraction())
    return -total if sign == "-" else total


def _key_says(key: Any, back: Any) -> bool:
    """A key is always a text in JSON, also that of a number."""
    if type(key) is not str or isinstance(back, str):
        return False
    number = back.value if isinstance(back, Enum) else back
    if isinstance(number, int):
        return str(int(number)) == key
    if isinstance(number, float):
        return (int(key) if key.lstrip("-").isdigit() else float(key)) == number
    return False


def _same_whole(given: Any, back: Any) -> bool:
    if isinstance(given, datetime | time):
        if given.tzinfo is None or back.tzinfo is None:
            return given.tzinfo is back.tzinfo and bool(given == back)
        same: bool = given.replace(tzinfo=None) == back.replace(tzinfo=None)
        return same and given.utcoffset() == back.utcoffset()
    if isinstance(given, Decimal):
        return given.is_finite() and given.as_tuple() == back.as_tuple()
    if isinstance(given, float):
        return given == back and str(given) == str(back)
    if isinstance(given, set | frozenset):
        return bool(given == back) and all(type(one) is type(given_one) for one, given_one in _pairs(given, back))
    return bool(given == back)


def _pairs(given: Set[Any], back: Set[Any]) -> Iterable[tuple[Any, Any]]:
    by_value = {one: one for one in back}
    return ((by_value[one], one) for one in given if not (type(one) is int and type(by_value[one]) is float))


def _is_whole(value: Any) -> bool:
    return not isinstance(value, Mapping | list | tuple) and field_names(value) is None


def _is_sequence(value: Any) -> bool:
    is_array = isinstance(value, Struct) and value.__struct_config__.array_like
    return isinstance(value, list | tuple | set | frozenset) or is_array


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _usual_form(value: Any) -> bytes:
    try:
        return bytes(msgspec.json.Encoder(decimal_format="number").encode(value))
    except (msgspec.MsgspecError, TypeError, ValueError):
        return b""


def _member(info: inspect.UnionType, back: Any) -> inspect.Type | None:
    """The member of a union that a value is of, as far as it matters: what holds parts, and what may be anything."""
    for member in info.types:
        cls = getattr(member, "cls", None)
        if isinstance(member, inspect.AnyType) or (isinstance(cls, type) and type(back) is cls):
            return member
        if type(back) in _CONTAINERS.get(type(member), ()):
            return member
    return None


_CONTAINERS: dict[type, tuple[type, ...]] = {
    inspect.ListType: (list,), inspect.SetType: (set,), inspect.FrozenSetType: (frozenset,),
    inspect.VarTupleType: (tuple,), inspect.TupleType: (tuple,), inspect.DictType: (dict,),
    inspect.TypedDictType: (dict,),
}  # fmt: skip


def _item_types(info: inspect.Type | None, count: int) -> Sequence[inspect.Type | None]:
    if isinstance(info, inspect.TupleType) and len(info.item_types) == count:
        return info.item_types
    fields = getattr(info, "fields", None)
    if fields is not None and len(fields) == count:
        return [field.type for field in fields]
    return [getattr(info, "item_type", _anything(info))] * count


def _anything(info: inspect.Type | None) -> inspect.Type | None:
    """What is within anything may be anything."""
    return info if isinstance(info, inspect.AnyType) else None


def _types_by_name(info: inspect.Type | None) -> dict[Any, inspect.Type]:
    return {field.name: field.type for field in getattr(info, "fields", ())}


def _names_on_the_wire(back: Any) -> dict[str, str]:
    """Each name that a field has in JSON, with its own; the tag of a Struct has none."""
    cls = type(back)
    if isinstance(back, Struct):
        names = dict(zip(cls.__struct_encode_fields__, cls.__struct_fields__, strict=True))
        tag = cls.__struct_config__.tag_field
        return {tag: "", **names} if tag is not None else names
    names = {name: name for name in field_names(back) or ()}
    if is_pydantic(cls):
        for name, field in cls.model_fields.items():
            names.update({one: name for one in (field.alias, field.validation_alias) if isinstance(one, str)})
    return names


def _step(key: Any) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{shown(key)}]"


def _changed(given: Any, back: Any, path: str) -> Flaw:
    what = f"{shown(given)} would come back as {shown(back)}"
    if type(given) is not type(back):
        what += f" ({type(given).__name__}, then {type(back).__name__})"
    return Flaw(what + _advice(given, back), path.removeprefix("."))


def _advice(given: Any, back: Any) -> str:
    if hasattr(given, "get_secret_value"):
        return ": JSON has only the asterisks of a secret; give it as a text, or its model as a dict"
    if isinstance(given, datetime | time) and given.tzinfo is not None:
        return ": JSON has offsets in whole minutes, without names; give it in UTC"
    if type(given) is int and type(back) is float:
        return ": a float cannot hold it; declare an int or a Decimal"
    if isinstance(given, Enum):
        return f": give its value, or declare {type(given).__name__}"
    if isinstance(given, type(back)) and type(given) is not type(back):
        return f": give it as {type(back).__name__}, not as a class derived from it"
    if type(given) is not type(back):
        return f": give it as {type(back).__name__}, or declare another type"
    return ": declare a type whose JSON keeps it"
