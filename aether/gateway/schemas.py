"""A model's JSON Schemas as parts of a larger document, whose `$defs` are elsewhere and have other names."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_DEFS = "#/$defs/"
_PLACE = "#/components/schemas/"


def component_names(definitions: Iterable[str]) -> dict[str, str]:
    """A name for each definition that a component may have, all different."""
    names: dict[str, str] = {}
    for definition in definitions:
        wanted = _UNSAFE.sub("_", definition).strip("_") or "schema"
        name, count = wanted, 1
        while name in names.values():
            count += 1
            name = f"{wanted}_{count}"
        names[definition] = name
    return names


def placed(schema: Any, names: Mapping[str, str]) -> Any:
    """The schema with its references to the components, also those of a discriminator."""
    if isinstance(schema, list):
        return [placed(one, names) for one in schema]
    if isinstance(schema, dict):
        return {key: placed(one, names) for key, one in schema.items()}
    if isinstance(schema, str) and schema.startswith(_DEFS):
        definition = schema.removeprefix(_DEFS).replace("~1", "/").replace("~0", "~")
        return _PLACE + names.get(definition, definition)
    return schema
