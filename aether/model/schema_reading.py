"""Reading JSON Schema: what a value may be, and how to say so in a few words.

Pure. Knows the schemas that `model.schema()` makes (msgspec's and pydantic's), not all of JSON Schema: what it does not
know it takes as "anything", and the pool, which validates every argument, decides.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeAlias
from urllib.parse import unquote

from msgspec.json import encode

Schema: TypeAlias = Mapping[str, Any]

_KINDS: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
    type(None): "null",
}
ANY_KIND = frozenset(_KINDS.values())
_MEMBERS_SHOWN_MAX = 12
_REFERENCES_MAX = 32


@dataclass(frozen=True, slots=True)
class Accepted:
    """The JSON values that a schema takes: every value of some `kinds`, and single `members` beside them."""

    kinds: frozenset[str]
    members: tuple[Any, ...] = ()

    def takes(self, value: object) -> bool:
        """Whether a JSON value is one of them. `true` is not 1."""
        return _kind(value) in self.kinds or any(_same(value, member) for member in self.members)

    def either(self, other: "Accepted") -> "Accepted":
        """What one or the other takes."""
        return Accepted(self.kinds | other.kinds, (*self.members, *other.members))

    def both(self, other: "Accepted") -> "Accepted":
        """What one and the other take."""
        members = (*filter(other.takes, self.members), *filter(self.takes, other.members))
        return Accepted(self.kinds & other.kinds, members)


_ANYTHING = Accepted(ANY_KIND)
_NOTHING = Accepted(frozenset())


def resolve(schema: Schema, document: Schema) -> Schema:
    """The schema itself, or the one that its `$ref` names in `document`; an unknown name gives one that takes all."""
    for _ in range(_REFERENCES_MAX):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        schema = _pointed_at(reference, document)
    return {}


def accepted(schema: Schema | bool, document: Schema, depth: int = 0) -> Accepted:
    """Which JSON values a schema takes, by kind and membership; bounds and contents are not looked at."""
    if schema is False:
        return _NOTHING
    if schema is True or depth > _REFERENCES_MAX:
        return _ANYTHING
    found = resolve(schema, document)
    parts = [_by_type(found), _by_membership(found)]
    parts += [accepted(part, document, depth + 1) for part in found.get("allOf", ())]
    for word in ("anyOf", "oneOf"):
        if word in found:
            branches = (accepted(branch, document, depth + 1) for branch in found[word])
            parts.append(reduce(Accepted.either, branches, _NOTHING))
    return reduce(Accepted.both, parts)


def type_text(schema: Schema | bool, document: Schema) -> str:
    """A schema in a few words: `integer > 0`, `array of Line`, `"red" or "blue"`, `decimal or null`."""
    if isinstance(schema, bool):
        return "anything" if schema else "nothing"
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = resolve(schema, document)
        return _members_text(target) or str(target.get("title") or _reference_name(reference))
    return _members_text(schema) or _branches_text(schema, document) or _plain_text(schema, document)


def signature_text(args: Schema, document: Schema) -> str:
    """The arguments of a command as `amount: integer > 0, note: string = ""`."""
    fields = resolve(args, document)
    required = fields.get("required", ())
    shown = []
    for name, schema in fields.get("properties", {}).items():
        default = "" if name in required or "default" not in schema else f" = {_json_text(schema['default'])}"
        optional = "" if name in required or default else " (optional)"
        shown.append(f"{name}: {type_text(schema, document)}{default}{optional}")
    return ", ".join(shown)


def _pointed_at(reference: str, document: Schema) -> Schema:
    found: Any = document
    for token in reference.removeprefix("#").split("/")[1:]:
        name = unquote(token).replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _by_type(schema: Schema) -> Accepted:
    named = schema.get("type")
    if named is None:
        return _ANYTHING
    kinds = frozenset([named] if isinstance(named, str) else named)
    return Accepted(kinds | {"integer"} if "number" in kinds else kinds)


def _by_membership(schema: Schema) -> Accepted:
    members = _members(schema)
    return _ANYTHING if members is None else Accepted(frozenset(), tuple(members))


def _members(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _kind(value: object) -> str | None:
    return _KINDS.get(type(value))


def _same(value: object, member: object) -> bool:
    return type(value) is type(member) and value == member


def _members_text(schema: Schema) -> str:
    members = _members(schema)
    if members is None:
        return ""
    shown = [_json_text(member) for member in members[:_MEMBERS_SHOWN_MAX]]
    return " or ".join([*shown, "..."] if len(members) > _MEMBERS_SHOWN_MAX else shown)


def _branches_text(schema: Schema, document: Schema) -> str:
    branches = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or ()
    return " or ".join(dict.fromkeys(type_text(branch, document) for branch in branches))


def _plain_text(schema: Schema, document: Schema) -> str:
    named = schema.get("type", "anything")
    kind = named if isinstance(named, str) else " or ".join(named)
    if kind == "string":
        kind = "bytes in base64" if schema.get("contentEncoding") == "base64" else schema.get("format", kind)
    elif kind == "array":
        kind = _array_text(schema, document)
    elif kind == "object":
        kind = _object_text(schema, document)
    bounds = " and ".join(_bounds(schema))
    return f"{kind} {bounds}" if bounds else kind


def _array_text(schema: Schema, document: Schema) -> str:
    if "prefixItems" in schema:
        return f"array [{', '.join(type_text(item, document) for item in schema['prefixItems'])}]"
    items = schema.get("items")
    return f"array of {type_text(items, document)}" if items else "array"


def _object_text(schema: Schema, document: Schema) -> str:
    if "properties" in schema:
        return str(schema.get("title") or f"object {{{signature_text(schema, document)}}}")
    values = schema.get("additionalProperties")
    return f"object of {type_text(values, document)}" if isinstance(values, Mapping) and values else "object"


_BOUNDS = {
    "exclusiveMinimum": ">",
    "minimum": ">=",
    "exclusiveMaximum": "<",
    "maximum": "<=",
    "multipleOf": "a multiple of",
    "minLength": "length >=",
    "maxLength": "length <=",
    "pattern": "like",
}


def _bounds(schema: Schema) -> Iterator[str]:
    for word, sign in _BOUNDS.items():
        if word in schema:
            yield f"{sign} {schema[word]}"
    if "minItems" in schema and "prefixItems" not in schema:
        yield f"length >= {schema['minItems']}"
    if "maxItems" in schema and "prefixItems" not in schema:
        yield f"length <= {schema['maxItems']}"


def _reference_name(reference: str) -> str:
    return unquote(reference.rpartition("/")[2]).replace("~1", "/").replace("~0", "~")


def _json_text(value: object) -> str:
    return encode(value).decode()
