"""The versions of some actors, least recently used first to go.

An entry is made by a reader and moved on by notices; it never moves back. It may know a position whose version it does
not know yet. One writer: the store that owns it. It decides nothing about when it may be trusted. Compiled: see
`docs/hot-path.md`.
"""

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder

from aether.errors import UnreadableEvent
from aether.ids import ActorId, Position, Version
from aether.ports import START

VERSIONS_MAX = 65_536


class _Numbered(Struct):
    id: str


_decode_numbers = Decoder(list[_Numbered]).decode


def last_version(payload: bytes, actor_id: ActorId, position: Position) -> Version:
    """The version after a commit, read without decoding its events. Raises `UnreadableEvent`."""
    try:
        return Version(int(_decode_numbers(payload)[-1].id))
    except (DecodeError, ValidationError, ValueError, IndexError) as error:
        text = f"the commit of {actor_id} at position {position} cannot be read: {error}"
        raise UnreadableEvent(text, actor=str(actor_id), position=position) from None


class VersionCache:
    """A bounded map of actor to version; `entries_max` is how many it keeps."""

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._entries: dict[ActorId, tuple[Position, Version | None]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, actor_id: ActorId) -> Version | None:
        """The version, if it is known."""
        entry = self._entries.pop(actor_id, None)
        if entry is None:
            return None
        self._entries[actor_id] = entry
        return entry[1]

    def position(self, actor_id: ActorId) -> Position:
        """The last position that was heard of for an actor that is kept."""
        return self._entries[actor_id][0]

    def note(self, actor_id: ActorId) -> None:
        """Start to keep an actor, whose version is being read."""
        if actor_id not in self._entries:
            while len(self._entries) >= self._entries_max:
                del self._entries[next(iter(self._entries))]
            self._entries[actor_id] = (START, None)

    def learn(self, actor_id: ActorId, position: Position, version: Version) -> None:
        """What a reader found: kept unless something newer was heard meanwhile."""
        self.note(actor_id)
        self.update(actor_id, position, version)

    def update(self, actor_id: ActorId, position: Position, version: Version | None) -> None:
        """Move an actor that is kept on to a position; None when its version there is not known."""
        entry = self._entries.get(actor_id)
        if entry is None:
            return
        known, at = entry
        if position > known or (position == known and at is None):
            self._entries[actor_id] = (position, version)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
