"""What the compiled kinds of actors share, whether they were declared as a class or as a `Decider`.

A kind is its messages, found by name, and the events' types, found by class. Stateless after it was built.
"""

import dis
import hashlib
import math
from collections.abc import Iterable, Mapping
from types import CodeType, FunctionType
from typing import Any

import orjson

from aether.codec import Codec
from aether.errors import ActorFailed
from aether.model.declared import Place
from aether.model.definition import JsonSchema
from aether.model.messages import TypedCommand, TypedEvent
from aether.model.schema import kind_schema, schemas_of


class CompiledKind:
    """Commands, events and the state's type of one kind.

    `folding` are the functions that make a state from events: with the state's type they give the fingerprint.
    `command_window_s` is how long an id that a caller gave is remembered; None for the worker's setting.
    """

    def __init__(
        self,
        kind: str,
        commands: Iterable[TypedCommand],
        events: Iterable[TypedEvent],
        state: Codec,
        folding: Iterable[FunctionType],
        description: str,
        command_window_s: float | None = None,
    ) -> None:
        self.kind = kind
        self.command_window_s = command_window_s
        self.commands: Mapping[str, TypedCommand] = {one.name: one for one in commands}
        self.events: Mapping[str, TypedEvent] = {one.name: one for one in events}
        self.state_codec = state
        self.description = description
        self._by_type = {one.type: one for one in self.events.values()}
        self.fingerprint = _fingerprint(state, folding)

    def event_type_of(self, event: object) -> TypedEvent:
        """The declared type of an event object. Raises `ActorFailed` for an event that no handler takes."""
        found = self._by_type.get(type(event))
        if found is None:
            known = ", ".join(sorted(self.events))
            raise ActorFailed(f"{self.kind} takes no event {type(event).__qualname__}; it takes: {known}")
        return found

    def schema_types(self) -> dict[tuple[str, ...], Any]:
        """Every type that has a schema, by `("args" | "reply" | "event", name)`, or `("state",)`."""
        types: dict[tuple[str, ...], Any] = {("state",): self.state_codec.type}
        for command in self.commands.values():
            types["args", command.name] = command.arguments.codec.type
            types["reply", command.name] = command.reply.type
        types.update({("event", event.name): event.type for event in self.events.values()})
        return types

    def schema(self) -> JsonSchema:
        """JSON Schemas of every message and the state, with their own `$defs`."""
        schemas, definitions = schemas_of(self.schema_types())
        return {**kind_schema(self, schemas), "$defs": definitions}


def checked_window_s(kind: str, window_s: Any, place: Place) -> float | None:
    """The kind's own `command_window_s`. Raises `ModelError` for what is no time in seconds."""
    if window_s is None:
        return None
    if isinstance(window_s, bool) or not isinstance(window_s, int | float) or not 0 < window_s < math.inf:
        raise place.error(f"{kind}: command_window_s is a number of seconds above 0, not {window_s!r}")
    return float(window_s)


def _fingerprint(state: Codec, folding: Iterable[FunctionType]) -> str:
    """A hash of the state's shape and of the code that folds it: a snapshot of another fold is no snapshot."""
    schemas, definitions = schemas_of({("state",): state.type})
    shape = orjson.dumps([schemas[("state",)], definitions], option=orjson.OPT_SORT_KEYS)
    code = sorted(f"{function.__name__} {_code_text(function.__code__)}" for function in folding)
    return hashlib.sha256(b"\n".join([shape, *(text.encode() for text in code)])).hexdigest()[:16]


def _code_text(code: CodeType) -> str:
    """What a function does, not where it stands: comments, line numbers and docstrings do not count."""
    return " ".join(f"{step.opname} {_constant_text(step.argval)}" for step in dis.get_instructions(code))


def _constant_text(constant: object) -> str:
    if isinstance(constant, CodeType):
        return _code_text(constant)
    if isinstance(constant, frozenset):
        return str(sorted(map(_constant_text, constant)))
    if isinstance(constant, tuple):
        return str([_constant_text(item) for item in constant])
    return repr(constant)
