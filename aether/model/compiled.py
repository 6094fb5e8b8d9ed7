"""What the compiled kinds of actors share, whether they were declared as a class or as a `Decider`.

A kind is its messages, found by name, and the events' types, found by class. Stateless after it was built.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from msgspec import MsgspecError, Raw
from msgspec.json import Decoder

from aether.codec import Codec
from aether.comparison import difference
from aether.errors import ActorFailed
from aether.json_checks import ValueMismatch
from aether.model.declared import Place
from aether.model.definition import JsonSchema, State
from aether.model.messages import TypedCommand, TypedEvent
from aether.model.schema import kind_schema, schemas_of, without_words

_fields_of = Decoder(dict[str, Raw]).decode


class CompiledKind:
    """Commands, events and the state's type of one kind.

    `reached` is what the functions that make a state from events depend on (`aether.model.reached`): with the types of
    state and events, and the user's own `snapshot_version`, it gives the fingerprint. `mutable` says that a state can
    change in place.
    `command_window_s` is how long an id that a caller gave is remembered; None for the worker's setting.
    `tells_in_order` says whether a tell that failed and is tried again holds back those behind it.
    """

    def __init__(
        self,
        kind: str,
        commands: Iterable[TypedCommand],
        events: Iterable[TypedEvent],
        state: Codec,
        reached: str,
        snapshot_version: int,
        mutable: bool,
        description: str,
        command_window_s: float | None = None,
        tells_in_order: bool = True,
    ) -> None:
        self.kind = kind
        self.tells_in_order = tells_in_order
        self.command_window_s = command_window_s
        self.commands: Mapping[str, TypedCommand] = {one.name: one for one in commands}
        self.events: Mapping[str, TypedEvent] = {one.name: one for one in events}
        self.state_codec = state
        self.mutable = mutable
        self.description = description
        self._by_type = {one.type: one for one in self.events.values()}
        folded = {key: type_ for key, type_ in self.schema_types().items() if key[0] in ("state", "event")}
        self.fingerprint = _fingerprint(folded, reached, snapshot_version)

    def event_type_of(self, event: object) -> TypedEvent:
        """The declared type of an event object. Raises `ActorFailed` for an event that no handler takes."""
        found = self._by_type.get(type(event))
        if found is None:
            if isinstance(event, type):
                name = event.__qualname__
                raise ActorFailed(f"{self.kind} emits an event and not the class of one: `{name}(...)`, not `{name}`")
            known = ", ".join(sorted(self.events))
            raise ActorFailed(f"{self.kind} takes no event {type(event).__qualname__}; it takes: {known}")
        return found

    def state_difference(self, folded: bytes, live: bytes) -> str | None:
        """The field in which two `state_bytes` differ, or None. Raises ValueError when one is no state."""
        if folded == live:
            return None
        was = self.state_codec.decode(folded)
        try:
            found = difference(self.state_codec.decode(live), was)
        except ValueMismatch:
            return _differing_field(folded, live)
        if found is None:
            return None
        return re.split(r"[.\[]", found.path)[0] or _differing_field(folded, live)

    def unwritable_field(self, state: State) -> str:
        """The field for which `state_bytes` raises."""
        return "state"

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


def _differing_field(folded: bytes, live: bytes) -> str:
    try:
        was, now = _fields_of(folded), _fields_of(live)
    except MsgspecError:  # a state that is no object with fields
        return "state"
    return next((name for name, value in now.items() if bytes(was.get(name, b"")) != bytes(value)), "state")


def checked_window_s(kind: str, window_s: Any, place: Place) -> float | None:
    """The kind's own `command_window_s`. Raises `ModelError` for what is no time in seconds."""
    if window_s is None:
        return None
    if isinstance(window_s, bool) or not isinstance(window_s, int | float) or not 0 < window_s < math.inf:
        raise place.error(f"{kind}: command_window_s is a number of seconds above 0, not {window_s!r}")
    return float(window_s)


def checked_tells_in_order(kind: str, in_order: object, place: Place) -> bool:
    """The kind's own `tells_in_order`. Raises `ModelError` unless it is True or False."""
    if type(in_order) is not bool:
        raise place.error(f"{kind}: tells_in_order is True or False, not {in_order!r}")
    return in_order


def _fingerprint(types: Mapping[tuple[str, ...], Any], reached: str, snapshot_version: int) -> str:
    """A hash of the state's and the events' shapes and of all that folds them: a snapshot of another fold is none."""
    schemas, definitions = schemas_of(types)
    shapes = [["/".join(key), without_words(schema)] for key, schema in sorted(schemas.items())]
    shape = orjson.dumps([shapes, without_words(definitions)], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(b"\n".join([shape, reached.encode(), b"%d" % snapshot_version])).hexdigest()[:16]


def checked_snapshot_version(version: object, place: Place) -> int:
    """The version itself. Raises `ModelError` unless it is a whole number."""
    if type(version) is not int:
        raise place.error(f"snapshot_version is a whole number, not {version!r}")
    return version
