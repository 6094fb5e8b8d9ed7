"""How a worker is, as it says itself when it is asked: the table only knows how it was when its row was written."""

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder, Encoder

SERVING = "serving"
UNREADY = "unready"
DRAINING = "draining"
SILENT = "no answer"
"""What others say of a worker whose row is there and that does not answer."""

ANSWERS = "answers_status"
"""In a row's `about`: this worker answers when it is asked. Workers of earlier versions do not."""


class Status(Struct, frozen=True, kw_only=True):
    """A worker's answer. `why` says what it lacks while it is not ready."""

    member: str
    incarnation: str = ""
    state: str = SERVING
    why: str = ""
    shards: int = 0
    model_version: str = ""


_encoder = Encoder()
_decoder = Decoder(Status)


def encode_status(status: Status) -> bytes:
    """The status as JSON."""
    return _encoder.encode(status)


def decode_status(raw: bytes) -> Status | None:
    """The status, or None for bytes that are none."""
    try:
        return _decoder.decode(raw)
    except (DecodeError, ValidationError):
        return None
