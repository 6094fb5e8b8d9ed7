"""What is stored of how far a shard's tells are relayed: its mark, and the place where each was sent."""

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder, Encoder

from aether.errors import UnreadableEvent


class Mark(Struct, frozen=True):
    """Up to which position all is relayed, and after which sequence of the inbox what belongs to later ones stands."""

    relayed: int
    since: int


class Place(Struct, frozen=True, order=True, gc=False):
    """Where something was sent: the position of the commit, and which of what it sends."""

    position: int = 0
    number: int = 0


_encoder = Encoder()
_decoder = Decoder(Mark)
_place_decoder = Decoder(Place)


def encode_mark(mark: Mark) -> bytes:
    """The mark as it is stored."""
    return _encoder.encode(mark)


def decode_mark(payload: bytes) -> Mark:
    """The mark of a stored message. Raises `UnreadableEvent`."""
    try:
        return _decoder.decode(payload)
    except (ValidationError, DecodeError) as error:
        raise UnreadableEvent(f"a relay mark cannot be read: {error}", actor="", position=0) from None


def decode_place(payload: bytes) -> Place:
    """Where a message of the inbox was sent. Raises `UnreadableEvent`."""
    try:
        return _place_decoder.decode(payload)
    except (ValidationError, DecodeError) as error:
        raise UnreadableEvent(f"the place of a relayed message cannot be read: {error}", actor="", position=0) from None
