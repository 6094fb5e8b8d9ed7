"""The fields of a form, from a JSON Schema and from what a browser sent.

Pure. A field's name is a JSON pointer, `/lines/0/item`. Lists, mappings and choices grow and change by buttons that
send the form again, so nothing here needs script.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from msgspec.json import encode

from aether.model.schema_reading import Schema, accepted, resolve, type_text

DEPTH_MAX = 12
"""A value nested deeper is typed as JSON."""

ITEMS_MAX = 500
"""Items of one list or mapping in a form."""

LEFT_OUT = "left out"
"""The choice of an argument that need not be given; the actor's own default counts then."""

_ITEMS = "#"
_KEY = "?key"
_CHOICE = "?choice"


class Control(Enum):
    """How a field is shown."""

    TEXT = "text"
    CHECK = "check"
    SELECT = "select"
    GROUP = "group"
    LIST = "list"
    MAP = "map"
    CHOICE = "choice"
    JSON = "json"


@dataclass(slots=True)
class Field:
    """One field, with those in it. `name` is its name in the form, `place` its path as errors say it.

    `text` is what it holds now: the text of an input, the JSON of a selected option, "on" for a checked box, the number
    of the chosen branch. `options` are values and labels. `key` is the key of an item of a mapping. `branch` is the
    chosen schema.
    """

    name: str
    label: str
    place: str
    control: Control
    hint: str = ""
    description: str = ""
    text: str = ""
    key: str = ""
    required: bool = True
    input_type: str = "text"
    input_mode: str = "text"
    options: list[tuple[str, str]] = field(default_factory=list)
    children: list["Field"] = field(default_factory=list)
    error: str = ""
    schema: Any = True
    branch: Any = None

    @property
    def id(self) -> str:
        """The id of its element."""
        return f"f{self.name}"

    @property
    def items(self) -> str:
        """The numbers of the items of a list or mapping, which a form keeps in a hidden field."""
        return ",".join(child.name.rpartition("/")[2] for child in self.children)

    def all(self) -> Iterator["Field"]:
        """It and the fields in it."""
        yield self
        for child in self.children:
            yield from child.all()


class Given:
    """What a browser sent, or nothing yet. `add` names a list that grows, `remove` an item to drop."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.fresh = values is None
        self._values = dict(values or {})
        self.add = self._values.pop("add", "")
        self.remove = self._values.pop("remove", "")

    @property
    def edits(self) -> bool:
        """Whether a button of the form itself was pressed: then nothing is sent."""
        return bool(self.add or self.remove or "edit" in self._values)

    def has(self, name: str) -> bool:
        """Whether the form had such a field."""
        return name in self._values

    def text(self, name: str, otherwise: str = "") -> str:
        """The text of a field."""
        return self._values.get(name, otherwise)

    def indices(self, name: str) -> list[int]:
        """The items of a list, by their numbers in the form, as the buttons leave them."""
        numbers = self.text(f"{name}{_ITEMS}").split(",")[:ITEMS_MAX]
        found = dict.fromkeys(int(number) for number in numbers if number.isdecimal() and len(number) < 6)
        left = [number for number in found if self.remove != f"{name}/{number}"]
        if self.add == name and len(left) < ITEMS_MAX:
            left.append(max(found, default=-1) + 1)
        return left


class Fields:
    """Makes the fields of one form. `document` is the whole schema in which references are found."""

    def __init__(self, document: Schema, given: Given) -> None:
        self._document = document
        self._given = given

    def of_arguments(self, args: Schema) -> list[Field]:
        """A field for each argument of a command."""
        return self._properties(resolve(args, self._document), "", "", 0)

    def _properties(self, schema: Schema, name: str, place: str, depth: int) -> list[Field]:
        required = schema.get("required", ())
        found = []
        for prop, inner in schema.get("properties", {}).items():
            given = f"{place}.{prop}" if place else prop
            one = self._field(inner, f"{name}/{_escaped(prop)}", given, prop, depth, prop in required)
            found.append(one)
        return found

    def _field(self, schema: Any, name: str, place: str, label: str, depth: int, required: bool = True) -> Field:
        plain = resolve(schema, self._document) if isinstance(schema, Mapping) else {}
        own = schema if isinstance(schema, Mapping) else {}
        one = Field(name, label, place, Control.TEXT, required=required, schema=schema)
        one.hint = type_text(schema, self._document)
        one.description = str(own.get("description") or plain.get("description") or "")
        initial = own.get("default", plain.get("default", _NOTHING))
        control = self._control(plain, depth)
        if control in (Control.GROUP, Control.LIST, Control.MAP) and not required and initial is _NOTHING:
            self._make_choice(one, [None, schema], [LEFT_OUT, one.hint], depth, initial)
        elif control is Control.CHOICE:
            self._make_union(one, plain, depth, initial)
        else:
            one.control = control
            self._fill(one, plain, initial, depth)
        return one

    def _control(self, schema: Schema, depth: int) -> Control:
        if depth > DEPTH_MAX:
            return Control.JSON
        if "enum" in schema or "const" in schema:
            return Control.SELECT
        if (schema.get("anyOf") or schema.get("oneOf")) and self._nested(schema):
            return Control.CHOICE
        kinds = accepted(schema, self._document).kinds
        if kinds == {"boolean"}:
            return Control.CHECK
        if self._members(schema):
            return Control.SELECT
        if not kinds & {"object", "array"}:
            return Control.TEXT
        if kinds == {"object"} and "properties" in schema:
            return Control.GROUP
        if kinds == {"object"} and isinstance(schema.get("additionalProperties"), Mapping):
            return Control.MAP
        if kinds == {"array"} and "prefixItems" in schema:
            return Control.GROUP
        if kinds == {"array"} and isinstance(schema.get("items"), Mapping):
            return Control.LIST
        return Control.JSON

    def _nested(self, schema: Schema) -> bool:
        """Whether a union has a branch that is more than one input, or a text beside null, which "" would hide."""
        branches = [resolve(branch, self._document) for branch in _branches(schema)]
        controls = {self._control(branch, 0) for branch in branches}
        if controls - {Control.TEXT, Control.SELECT, Control.CHECK}:
            return True
        kinds = accepted(schema, self._document).kinds
        plain = any(branch.get("type") == "string" and not is_formatted(branch) for branch in branches)
        return ("null" in kinds and plain) or ("boolean" in kinds)

    def _members(self, schema: Schema) -> tuple[Any, ...]:
        """The members of an enumeration that may also be null."""
        takes = accepted(schema, self._document)
        return takes.members if takes.kinds <= {"null"} and takes.members else ()

    def _fill(self, one: Field, schema: Schema, initial: Any, depth: int) -> None:
        if one.control is Control.SELECT:
            self._fill_select(one, schema, initial)
        elif one.control is Control.CHECK:
            one.text = self._text(one, "on" if initial is True else "")
        elif one.control is Control.GROUP and "prefixItems" in schema:
            for number, inner in enumerate(schema["prefixItems"]):
                one.children.append(
                    self._field(inner, f"{one.name}/{number}", f"{one.place}[{number}]", f"{number + 1}", depth + 1)
                )
        elif one.control is Control.GROUP:
            one.children = self._properties(schema, one.name, one.place, depth + 1)
        elif one.control in (Control.LIST, Control.MAP):
            self._fill_items(one, schema, depth)
        elif one.control is Control.JSON:
            one.text = self._text(one, "" if initial is _NOTHING else encode(initial).decode())
        else:
            self._fill_text(one, schema, initial)

    def _text(self, one: Field, initial: str) -> str:
        if self._given.fresh:
            return initial
        return self._given.text(one.name, "" if one.control is Control.CHECK or self._given.has(one.name) else initial)

    def _fill_text(self, one: Field, schema: Schema, initial: Any) -> None:
        shown = "" if initial is _NOTHING or initial is None else initial
        one.text = self._text(one, shown if isinstance(shown, str) else encode(shown).decode())
        kinds = accepted(schema, self._document).kinds - {"null"}
        if kinds <= {"integer", "number"}:
            one.input_mode = "decimal" if "number" in kinds else "numeric"
        elif schema.get("format") == "decimal":
            one.input_mode = "decimal"
        elif schema.get("format") == "date":
            one.input_type = "date"

    def _fill_select(self, one: Field, schema: Schema, initial: Any) -> None:
        members = accepted(schema, self._document).members
        one.options = [(encode(member).decode(), str(member)) for member in members]
        nothing = initial is _NOTHING or initial is None
        if not one.required or accepted(schema, self._document).kinds:
            one.options.insert(0, ("", "none" if nothing else LEFT_OUT))
        elif len(members) > 1:
            one.options.insert(0, ("", "choose"))
        first = one.options[0][0] if one.options else ""
        one.text = self._text(one, first if nothing else encode(initial).decode())

    def _fill_items(self, one: Field, schema: Schema, depth: int) -> None:
        inner = schema["items"] if one.control is Control.LIST else schema["additionalProperties"]
        for place, number in enumerate(self._given.indices(one.name)):
            where = f"{one.place}[{place}]" if one.control is Control.LIST else f"{one.place}[...]"
            item = self._field(inner, f"{one.name}/{number}", where, f"{one.label} {place + 1}", depth + 1)
            item.key = self._given.text(f"{item.name}{_KEY}")
            one.children.append(item)

    def _make_union(self, one: Field, schema: Schema, depth: int, initial: Any) -> None:
        branches: list[Any] = _branches(schema)
        names = [self._branch_name(branch, schema) for branch in branches]
        if not one.required and initial is _NOTHING:
            branches, names = [None, *branches], [LEFT_OUT, *names]
        self._make_choice(one, branches, names, depth, initial)

    def _branch_name(self, branch: Any, union: Schema) -> str:
        for tag, reference in union.get("discriminator", {}).get("mapping", {}).items():
            if isinstance(branch, Mapping) and branch.get("$ref") == reference:
                return str(tag)
        text = type_text(branch, self._document)
        return "none" if text == "null" else text

    def _make_choice(self, one: Field, branches: list[Any], names: list[str], depth: int, initial: Any) -> None:
        """A field whose value is one of several: `None` among the branches is to leave it out."""
        one.control = Control.CHOICE
        one.options = [(str(number), name) for number, name in enumerate(names)]
        chosen = self._chosen(one, branches, initial)
        one.text = str(chosen)
        branch = branches[chosen]
        one.branch = branch
        if branch is None or self._is_null(branch):
            return
        inner = self._field(branch, f"{one.name}/{chosen}", one.place, one.label, depth + 1)
        if isinstance(initial, str | int | float) and self._given.fresh and inner.control is Control.TEXT:
            inner.text = initial if isinstance(initial, str) else encode(initial).decode()
        one.children = [inner]

    def _chosen(self, one: Field, branches: list[Any], initial: Any) -> int:
        text = self._given.text(f"{one.name}{_CHOICE}")
        if text.isdecimal() and len(text) < 6 and int(text) < len(branches):
            return int(text)
        for number, branch in enumerate(branches):
            if branch is None if initial is _NOTHING else accepted(branch, self._document).takes(initial):
                return number
        return 0

    def _is_null(self, branch: Any) -> bool:
        return accepted(branch, self._document).kinds == {"null"}


class _Nothing:
    """There is no default."""


_NOTHING = _Nothing()


def _branches(schema: Schema) -> list[Any]:
    return list(schema.get("anyOf") or schema.get("oneOf") or ())


def is_formatted(schema: Schema) -> bool:
    """Whether a text of this schema is of a form that "" has not."""
    return "format" in schema or "contentEncoding" in schema or "pattern" in schema


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
