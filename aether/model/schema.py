"""JSON Schemas of a model's messages, for command lines, gateways and people who have only this JSON.

msgspec describes the types; pydantic describes its own models, merged into the same `$defs`. Nothing here validates.
"""

import re
from collections.abc import Hashable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from aether.json_checks import is_pydantic
from aether.model.definition import JsonSchema
from aether.model.messages import TypedCommand, TypedEvent

DIALECT = "https://json-schema.org/draft/2020-12/schema"

GENERATED = "aether."
"""The names of types that Aether makes begin with this; no class can have such a name."""

_REFERENCE = "#/$defs/"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

Key = TypeVar("Key", bound=Hashable)


class Described(Protocol):
    """A kind with its messages."""

    @property
    def commands(self) -> Mapping[str, TypedCommand]: ...  # noqa: D102 - a field
    @property
    def events(self) -> Mapping[str, TypedEvent]: ...  # noqa: D102 - a field
    @property
    def description(self) -> str: ...  # noqa: D102 - a field


def schemas_of(types: Mapping[Key, Any]) -> tuple[dict[Key, JsonSchema], dict[str, JsonSchema]]:
    """Each type's schema, and the `$defs` they refer to."""
    models: dict[str, JsonSchema] = {}

    def of_other(type_: Any) -> JsonSchema:
        if not is_pydantic(type_):
            raise NotImplementedError
        own = _UNSAFE.sub("_", f"{type_.__module__}.{type_.__qualname__}.")
        schema = type_.model_json_schema(ref_template=f"{_REFERENCE}{own}{{model}}")
        models.update({own + name: nested for name, nested in schema.pop("$defs", {}).items()})
        return dict(schema)

    found, components = msgspec.json.schema_components(
        types.values(), schema_hook=of_other, ref_template=_REFERENCE + "{name}"
    )
    definitions = {**models, **components}
    return {key: _inlined(schema, definitions) for key, schema in zip(types, found, strict=True)}, definitions


def _inlined(schema: JsonSchema, definitions: dict[str, JsonSchema]) -> JsonSchema:
    """A reference to a type that only Aether made (arguments, a class's state) as that type; others stay references."""
    name = schema.get("$ref", "").removeprefix(_REFERENCE)
    if not name.startswith(GENERATED):
        return schema
    return {part: value for part, value in definitions.pop(name).items() if part != "title"}


def kind_schema(kind: Described, schemas: Mapping[tuple[str, ...], JsonSchema]) -> JsonSchema:
    """The part of one kind: its commands, events and state, and what their docstrings say."""
    commands = {
        command.name: {
            "query": command.query,
            "args": schemas["args", command.name],
            "reply": schemas["reply", command.name],
            "description": command.description,
        }
        for command in kind.commands.values()
    }
    events = {name: schemas["event", name] for name in kind.events}
    return {"description": kind.description, "commands": commands, "events": events, "state": schemas[("state",)]}


def without_words(schema: Any, names: bool = False) -> Any:
    """A schema without what only people read; `names` says that its own keys are names of fields or types."""
    if isinstance(schema, list):
        return [without_words(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = schema if names else {key: one for key, one in schema.items() if key not in ("title", "description")}
    return {key: without_words(one, names=not names and key in ("properties", "$defs")) for key, one in kept.items()}
