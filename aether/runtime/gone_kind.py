"""A kind that the model does not have any more, for what its actors still do: to store that a tell is given up, or that
a schedule is cancelled.

Its events are not read, only counted, so its state is nothing. It has no commands, and is never snapshotted.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aether.errors import ActorFailed
from aether.ids import ActorId
from aether.model.definition import DeclaredCommand, EventType, JsonSchema, PolicyType, Scope, State


class _Unread:
    """Stands for the type of each stored event."""

    type = object
    name = ""
    schema_version = 1
    policies: Sequence[PolicyType] = ()

    def encode_checked(self, event: object) -> tuple[bytes, object]:
        """Raises: nothing is emitted."""
        raise _is_gone()

    def decode(self, raw: bytes, schema_version: int = 1) -> object:
        """Nothing."""
        return None


_UNREAD = _Unread()


class _Unreads(Mapping[str, EventType]):
    """Has a type for every name, and knows none."""

    def __getitem__(self, name: str) -> EventType:
        return _UNREAD

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class GoneKind:
    """`ActorType` of a kind that is gone."""

    commands: Mapping[str, DeclaredCommand] = {}
    events: Mapping[str, EventType] = _Unreads()
    command_window_s = None
    tells_in_order = True
    fingerprint = ""
    mutable = False

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def event_type_of(self, event: object) -> EventType:
        """Raises `ActorFailed`."""
        raise _is_gone()

    def initial(self, actor_id: ActorId, scope: Scope | None = None) -> State:
        """Nothing."""
        return None

    def evolve(self, state: State, event: object) -> State:
        """Nothing."""
        return None

    def checkpoint(self, state: State) -> object | None:
        """None is needed: no handler runs."""
        return None

    def restore(self, state: State, checkpoint: object) -> State:
        """Nothing."""
        return None

    def encode_state(self, state: State) -> bytes:
        """Nothing, as JSON."""
        return b"null"

    def state_bytes(self, state: State) -> bytes:
        """Nothing, as JSON."""
        return b"null"

    def state_difference(self, folded: bytes, live: bytes) -> str | None:
        """None: it does not change."""
        return None

    def unwritable_field(self, state: State) -> str:
        """There is none."""
        return ""

    def decode_state(self, raw: bytes, actor_id: ActorId, scope: Scope | None = None) -> State:
        """Nothing."""
        return None

    def state_values(self, state: State) -> dict[str, Any]:
        """There are none."""
        return {}

    def member(self, name: str) -> str:
        """There is none."""
        return ""

    def schema(self) -> JsonSchema:
        """Of nothing."""
        return {"commands": {}, "events": {}, "state": {}}


def _is_gone() -> ActorFailed:
    return ActorFailed("the model does not have this kind any more")
