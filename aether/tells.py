"""Tells: commands that are stored before anybody runs them, as they travel in commits and in the inbox stream.

A turn's tells are in its commit, as JSON text in `sends` of the last event of the command that told them. From there
the owner of the sender's shard copies each into the inbox stream, one message a tell, with the place where it was sent
(position of the commit and number in it): the inbox holds exactly those that are in commits, each once.
"""

from collections.abc import Sequence

from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace

from aether.errors import InvalidCommand, UnreadableEvent
from aether.ids import ActorId, Position
from aether.wire import Event

TELL = "tell"
"""The tag of a tell among what a turn sends: there may be other tags later, which an earlier version must not skip."""

SENDS_MARK = b'"sends":"'
"""Stands in every commit that sends something, and seldom in another."""

_EMPTY_ARGS = Raw(b"{}")


class Tell(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command for an actor, told by another one or by a client.

    - `id`: the command id that a client gave it; "" for a tell of an actor, whose id is its place.
    - `source`: the actor that told it, as `kind/key`; "" for a client.
    - `position` and `number`: where an actor's tell is sent: the position of the commit; which of its tells, from 0.
    """

    kind: str
    key: str
    command: str
    args: Raw = _EMPTY_ARGS
    tag: str = TELL
    id: str = ""
    source: str = ""
    position: int = 0
    number: int = 0
    correlationid: str = ""
    causationid: str = ""
    traceparent: str = ""
    caller: str = ""

    @property
    def target(self) -> ActorId:
        """Whom it is for."""
        return ActorId(self.kind, self.key)

    @property
    def command_id(self) -> str:
        """The id of the command that it is, the same each time that it is tried."""
        return self.id or f"tell:{self.position}.{self.number}"


_encoder = Encoder()
_tell_decoder = Decoder(Tell)
_sends_decoder = Decoder(list[Tell])


def encode_sends(tells: Sequence[Tell]) -> str:
    """What a command sends, as the text that its last event carries."""
    return _encoder.encode(list(tells)).decode()


def encode_tell(tell: Tell) -> bytes:
    """A message of the inbox stream."""
    return _encoder.encode(tell)


def decode_tell(payload: bytes) -> Tell:
    """The tell of a message of the inbox stream. Raises `InvalidCommand` for bytes that are none."""
    try:
        tell = _tell_decoder.decode(payload)
        tell.target  # noqa: B018 - checks kind and key
    except (ValidationError, DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidCommand(f"a message of the inbox is no tell: {error}") from None
    return tell


def sent_by(events: Sequence[Event], actor_id: ActorId, position: Position) -> list[Tell]:
    """The tells in a stored commit, in their order, each with its place.

    Raises `UnreadableEvent` for what is no list of tells, or sends something else than tells.
    """
    found: list[Tell] = []
    for event in events:
        if event.sends:
            found += _sends(event, actor_id, position)
    return placed(found, actor_id, position)


def placed(tells: Sequence[Tell], actor_id: ActorId, position: Position) -> list[Tell]:
    """The tells of one commit, each with its place."""
    source = str(actor_id)
    return [replace(tell, source=source, position=int(position), number=number) for number, tell in enumerate(tells)]


def _sends(event: Event, actor_id: ActorId, position: Position) -> list[Tell]:
    try:
        tells = _sends_decoder.decode(event.sends)
    except (ValidationError, DecodeError, RecursionError) as error:
        raise _unreadable(str(error), actor_id, position) from None
    for tell in tells:
        if tell.tag != TELL:
            raise _unreadable(f"it sends a {tell.tag!r}, which this version does not know", actor_id, position)
    return tells


def _unreadable(why: str, actor_id: ActorId, position: Position) -> UnreadableEvent:
    text = f"what the commit of {actor_id} at position {position} sends cannot be read: {why}"
    return UnreadableEvent(text, actor=str(actor_id), position=position)
