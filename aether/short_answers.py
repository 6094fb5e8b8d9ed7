"""What is sent in place of an answer that is larger than a message may be.

Pure; both transports use it. The outcome of the command stays what it was: a refusal stays a refusal of its class,
without the details that do not fit, and of a success the caller learns all but the reply.
"""

from typing import Any

import orjson

from aether.errors import AetherError, ReplyNotDelivered, error_from_body
from aether.wire import ErrorBody, decided, decode_answer, encode_error

MESSAGE_CHARS_MAX = 1_000
"""Characters that are left of the message of an error that has to be shortened."""

LEFT_OUT_NAMES_MAX = 20
NAME_CHARS_MAX = 100
_DECIDED_BYTES = 16
"""Room for the field that says that an error is decided."""


def short_answer(answer: bytes, bytes_max: int) -> bytes:
    """An answer of at most `bytes_max` bytes that tells the same outcome as `answer`, which is larger.

    A success becomes `ReplyNotDelivered` with version and position. An error keeps its class and the details that fit;
    `left_out` names the others.
    """
    why = f"{len(answer)} bytes are more than the {bytes_max} that a message holds"
    try:
        read = decode_answer(answer)
    except AetherError:
        return encode_error(AetherError(f"an answer cannot be sent: {why}"))
    if read.error is not None:
        short = _short_error(read.error, why, bytes_max - _DECIDED_BYTES)
        return decided(short) if read.decided else short
    if not read.ok:
        return encode_error(AetherError(f"an answer cannot be sent: {why}"))
    message = f"the command succeeded and left the actor at version {read.version}; its reply cannot be sent: {why}"
    return encode_error(ReplyNotDelivered(message, version=read.version, position=read.position))


def _short_error(body: ErrorBody, why: str, bytes_max: int) -> bytes:
    message = body.message
    if len(message) > MESSAGE_CHARS_MAX:
        message = message[:MESSAGE_CHARS_MAX] + "..."
    kept, left_out = _fitting(body.details, bytes_max // 2)
    details = {**kept, "left_out": left_out} if left_out else kept
    short = encode_error(error_from_body(body.code, f"{message} (shortened: {why})", details))
    if len(short) <= bytes_max:
        return short
    return encode_error(error_from_body(body.code, f"shortened: {why}", _fitting(body.details, bytes_max // 4)[0]))


def _fitting(details: dict[str, Any], room: int) -> tuple[dict[str, Any], list[str]]:
    """The details that fit into `room` bytes, the smallest first, and the names of the others."""
    sizes = {name: len(orjson.dumps({name: value})) for name, value in details.items()}
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for name in sorted(sizes, key=sizes.__getitem__):
        room -= sizes[name]
        if room >= 0:
            kept[name] = details[name]
        else:
            left_out.append(name[:NAME_CHARS_MAX])
    return kept, left_out[:LEFT_OUT_NAMES_MAX]
