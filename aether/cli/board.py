"""A model as the command line knows it: its JSON Schema document, from a running pool or from the model itself.

Pure. Looks up kinds and commands; what is not there is an error that lists what is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aether.errors import UnknownActor, UnknownCommand
from aether.model.schema_reading import Schema

_LISTED_MAX = 20


@dataclass(frozen=True, slots=True)
class Board:
    """What `model.schema()` gave: `{"model", "actors": {kind: {"commands", "events", "state"}}, "$defs"}`.

    `source` says in errors whose model it is; empty when the user named the model.
    """

    document: Schema
    source: str = ""

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.document.get("model", ""))

    @property
    def actors(self) -> Mapping[str, Schema]:
        """Every actor kind."""
        found: Mapping[str, Schema] = self.document.get("actors", {})
        return found

    def actor(self, kind: str) -> Schema:
        """One actor kind. Raises `UnknownActor`, listing the kinds."""
        if kind not in self.actors:
            text = f"the model has no actor {kind!r}; {_listed('actors', self.actors)}{self.source}"
            raise UnknownActor(text, kind=kind)
        return self.actors[kind]

    def command(self, kind: str, name: str) -> Schema:
        """One command or query. Raises `UnknownActor`, or `UnknownCommand`, listing the commands."""
        commands: Mapping[str, Schema] = self.actor(kind).get("commands", {})
        if name not in commands:
            text = f"{kind} has no command {name!r}; {_listed('commands', commands)}{self.source}"
            raise UnknownCommand(text, kind=kind, command=name)
        return commands[name]


def _listed(what: str, names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - _LISTED_MAX} more" if len(found) > _LISTED_MAX else ""
    return f"its {what} are {', '.join(found[:_LISTED_MAX])}{more}" if found else f"it has no {what}"
