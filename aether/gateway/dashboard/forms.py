"""Forms of commands: fields from a JSON Schema, and from what a browser sent the arguments as JSON.

Pure. What a field holds is read by the rules of `schema_arguments`, the same as for a command line. The pool, which
checks every argument, has the last word; `note` shows its errors at their fields.
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Raw
from msgspec.json import encode

from aether.errors import InvalidCommand
from aether.gateway.dashboard.fields import Control, Field, Fields, Given, is_formatted
from aether.model.json_text import NotJson, read_json
from aether.model.schema_arguments import convert
from aether.model.schema_reading import Schema, accepted, resolve


class Form:
    """The fields of a command's arguments. `document` is the whole schema in which references are found."""

    def __init__(self, args: Schema, document: Schema, given: Given | None = None) -> None:
        self._document = document
        self.fields = Fields(document, given or Given()).of_arguments(args)
        self.error = ""

    def arguments(self) -> bytes | None:
        """The arguments as a JSON object; None when fields hold what they cannot, which is noted at each."""
        found: dict[str, Any] = {}
        for one in self.fields:
            value = self._value(one)
            if value is not None:
                found[one.label] = value
        if any(inner.error for one in self.fields for inner in one.all()):
            return None
        return encode(found)

    def note(self, error: InvalidCommand) -> None:
        """Show an error at the field that its path names, or at the nearest one around it, or above all."""
        path = str(error.details.get("path", ""))
        best: Field | None = None
        for one in (inner for top in self.fields for inner in top.all()):
            if _is_within(path, one.place) and (best is None or len(one.place) >= len(best.place)):
                best = one
        if best is None:
            self.error = error.message
        else:
            rest = path.removeprefix(best.place).removeprefix(".")
            best.error = f"{rest}: {error.message}" if rest else error.message

    def _value(self, one: Field) -> Raw | None:
        """A field's value as JSON, None when it is left out or wrong; what is wrong is noted at the field."""
        try:
            return self._read(one)
        except InvalidCommand as error:
            one.error = error.message
            return None

    def _read(self, one: Field) -> Raw | None:
        match one.control:
            case Control.CHECK:
                return Raw(b"true" if one.text else b"false")
            case Control.SELECT:
                return self._read_select(one)
            case Control.GROUP:
                return self._read_group(one)
            case Control.LIST:
                values = [self._value(child) for child in one.children]
                return Raw(b"[%b]" % b",".join(bytes(value) for value in values if value is not None))
            case Control.MAP:
                return self._read_map(one)
            case Control.CHOICE:
                if one.children:
                    return self._value(one.children[0])
                return None if one.branch is None else Raw(b"null")
            case Control.JSON:
                return self._read_json(one)
            case _:
                return self._read_text(one)

    def _read_select(self, one: Field) -> Raw | None:
        if one.text:
            if one.text not in (value for value, _ in one.options):
                raise InvalidCommand("this is none of the choices", path=one.place)
            return Raw(one.text.encode())
        if not one.required:
            return None
        if accepted(one.schema, self._document).takes(None):
            return Raw(b"null")
        raise InvalidCommand("choose one", path=one.place)

    def _read_group(self, one: Field) -> Raw:
        schema = resolve(one.schema, self._document)
        if "prefixItems" in schema:
            values = [self._value(child) for child in one.children]
            return Raw(b"[%b]" % b",".join(bytes(value) for value in values if value is not None))
        found = {child.label: self._value(child) for child in one.children}
        return Raw(encode({name: value for name, value in found.items() if value is not None}))

    def _read_map(self, one: Field) -> Raw:
        found: dict[str, Raw] = {}
        for child in one.children:
            if child.key in found:
                child.error = f"the key {child.key!r} is there twice"
            value = self._value(child)
            if value is not None:
                found[child.key] = value
        return Raw(encode(found))

    def _read_json(self, one: Field) -> Raw | None:
        if not one.text.strip():
            if one.required:
                raise InvalidCommand(f"needs JSON: {one.hint}", path=one.place)
            return None
        try:
            read_json(one.text)
        except (NotJson, UnicodeEncodeError) as error:
            raise InvalidCommand(f"this is not JSON: {error}", path=one.place) from None
        return Raw(one.text.strip().encode())

    def _read_text(self, one: Field) -> Raw | None:
        schema = one.schema
        takes = accepted(schema, self._document)
        plain = isinstance(schema, Mapping) and resolve(schema, self._document)
        if not one.text and not (plain and plain.get("type") == "string" and not is_formatted(plain)):
            if not one.required:
                return None
            if "null" in takes.kinds:
                return Raw(b"null")
            if "string" not in takes.kinds or takes.kinds == {"string"}:
                raise InvalidCommand(f"needs a value: {one.hint}", path=one.place)
        return Raw(convert(one.place, one.text, schema, self._document))


def _is_within(path: str, place: str) -> bool:
    """Whether a path is of a place or of something in it."""
    return path == place or (path.startswith(place) and path[len(place)] in ".[")
