"""From texts by name, and JSON, to a command's arguments as JSON.

Pure. How a value is read depends on the argument's JSON Schema: a string stays as it was typed (`007` stays `007`),
everything else is JSON. Where the schema leaves a choice, the order is: a member of an enumeration, JSON of an accepted
kind (so `null`, `true`, `12`), and a string last; JSON says exactly what is meant. Every error is an
`InvalidCommand` whose path is the argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec import Raw
from msgspec.json import encode

from aether.errors import InvalidCommand
from aether.model.json_text import NotJson, read_json, write_text
from aether.model.schema_reading import ANY_KIND, Schema, accepted, resolve, signature_text, type_text

_SHOWN_CHARS_MAX = 60


@dataclass(frozen=True, slots=True)
class GivenArguments:
    """What a caller gave: texts still to be converted, and JSON to be passed on as it is."""

    texts: Mapping[str, str]
    exact: Mapping[str, Raw]


def encode_arguments(given: GivenArguments, command: str, args: Schema, document: Schema) -> bytes:
    """The arguments as a JSON object. Raises `InvalidCommand` for one that is missing, unknown or of a wrong type.

    `args` is the schema of the command's arguments, `document` the whole in which its references are found.
    """
    fields = resolve(args, document)
    properties = fields.get("properties", {})
    names = [*given.texts, *given.exact]
    for name in names:
        if name not in properties and fields.get("additionalProperties", False) is False:
            takes = signature_text(fields, document) or "no arguments"
            raise InvalidCommand(f"{command} has no such argument; it takes {takes}", path=name)
    for name in fields.get("required", ()):
        if name not in names:
            expected = type_text(properties.get(name, True), document)
            raise InvalidCommand(f"the argument is missing; {command} needs {expected}", path=name)
    converted = {name: convert(name, text, properties.get(name, True), document) for name, text in given.texts.items()}
    return encode({**{name: Raw(value) for name, value in converted.items()}, **given.exact})


def convert(name: str, text: str, schema: Schema | bool, document: Schema) -> bytes:
    """One typed value as JSON. Raises `InvalidCommand` naming the argument when the schema does not take it."""
    takes = accepted(schema, document)
    try:
        if any(text == member for member in takes.members):
            return write_text(text)
        reason = ""
        try:
            value = read_json(text)
        except NotJson as error:
            reason = str(error)
        else:
            # Where everything is accepted, JSON is read as JSON; elsewhere quotes are part of the string.
            if takes.takes(value) and (not isinstance(value, str) or takes.kinds == ANY_KIND):
                return text.strip().encode()
        if "string" in takes.kinds:
            return write_text(text)
    except (NotJson, UnicodeEncodeError):
        raise InvalidCommand(f"{shown(text)} is not UTF-8", path=name) from None
    why = f", which is not JSON: {reason}" if reason and text[:1] in ("[", "{") else ""
    raise InvalidCommand(f"expected {type_text(schema, document)}, got {shown(text)}{why}", path=name)


def shown(text: str) -> str:
    """A text as errors show it, not too long."""
    return repr(text if len(text) <= _SHOWN_CHARS_MAX else text[:_SHOWN_CHARS_MAX] + "...")
