"""Tells that are given up: what is stored of one, and what an operator asks for with `aether.give-up`. Pure."""

from collections.abc import Iterator

import orjson
from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder, Encoder

from aether.errors import InvalidCommand
from aether.json_checks import nests_too_deeply, split_path
from aether.wire import Command, error_data, without_details

NAME_CHARS_KEPT = 200
"""So much of the name of a command that no model has is stored when the whole name is larger than a commit."""


class _Args(Struct, forbid_unknown_fields=True, omit_defaults=True):
    until: int | None = None


_args = Decoder(_Args)
_number = Decoder(int)
_encode = Encoder().encode


def dead_letters(command: Command, error: bytes) -> Iterator[bytes]:
    """What is stored of a tell that was given up, and less of it where that is too much.

    The history has to stay readable for every reader, so a name of any characters is escaped, and arguments that are no
    JSON (only their ends are known until here) are left out. Of a name as long as a message its beginning is kept.
    """
    template = b'{"error":%b,"command":%b,"args":%b}'
    name, args = orjson.dumps(command.command), bytes(command.args)
    yield template % (error_data(error), name, args if _is_json(args) else b"{}")
    brief = error_data(without_details(error))
    yield template % (brief, name, b"{}")
    yield template % (brief, orjson.dumps(command.command[:NAME_CHARS_KEPT]), b"{}")


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


def _is_json(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return not nests_too_deeply(raw)
