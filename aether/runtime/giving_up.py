"""What an operator asks the owner of an actor for with `aether.give-up`, and what is answered. Pure."""

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder, Encoder

from aether.errors import InvalidCommand
from aether.json_checks import split_path


class _Args(Struct, forbid_unknown_fields=True, omit_defaults=True):
    until: int | None = None


_args = Decoder(_Args)
_number = Decoder(int)
_encode = Encoder().encode


def encode_until(until: int | None) -> bytes:
    """Have given up what waits up to this sequence of the inbox stream; None for all of it."""
    return _encode(_Args(until))


def decode_until(raw: bytes) -> int | None:
    """That sequence. Raises `InvalidCommand`."""
    try:
        return _args.decode(raw).until
    except (ValidationError, DecodeError) as error:
        message, path = split_path(str(error))
        raise InvalidCommand(message, path=path) from None


def encode_count(count: int) -> bytes:
    """How many are given up."""
    return _encode(count)


def decode_count(raw: bytes) -> int:
    """That number."""
    return _number.decode(raw)
