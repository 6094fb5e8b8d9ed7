"""Typed values to JSON bytes and back, strictly: what cannot come back equal is refused, never bent.

A `Codec` is made once for each declared type and shared; it is stateless and safe from any thread. msgspec does the
work (it converts and validates in one pass); what msgspec lets through and should not is refused with the help of
`aether.fit`. This is the hot half, and can be compiled.
"""

import hashlib
import re
from collections.abc import Callable
from typing import Any

from msgspec import DecodeError, MsgspecError, ValidationError, inspect
from msgspec.json import Decoder

from aether.fit import (
    INTEGER_MAX,
    INTEGER_MIN,
    Misfit,
    Unsupported,
    difference,
    encode,
    encode_canonical,
    from_builtins,
    nodes,
    not_json,
    path_of_unencodable,
    refuse,
    split_path,
)

_DIGITS_AS_ZERO = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_RUN = b"0" * 19
"""An integer below this many digits fits 64 bits. Looked for in translated bytes: four times as fast as a pattern."""
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*', re.DOTALL)


def digest(name: str, value: Any) -> str:
    """A short hash of a name and a value, the same for equal ones in every process: 16 hexadecimal digits."""
    return hashlib.sha256(b"%b %b" % (name.encode(), encode_canonical(value))).hexdigest()[:16]


class Codec:
    """Encodes and decodes one type. Raises `Unsupported` when JSON cannot carry the type."""

    __slots__ = ("_decode", "_holds_decimal", "_holds_float", "info", "type")

    def __init__(self, type_: Any) -> None:
        self.type = type_
        try:
            self._decode: Callable[[bytes], Any] = Decoder(type_, dec_hook=from_builtins).decode
            self.info = inspect.type_info(type_)
        except Exception as error:  # msgspec evaluates annotations of any quality here
            raise Unsupported(str(error).replace("`", "'")) from error
        kinds = {type(node) for node in nodes(self.info)}
        self._holds_float = bool(kinds & {inspect.FloatType, inspect.AnyType, inspect.CustomType})
        self._holds_decimal = inspect.DecimalType in kinds

    def record(self, value: Any) -> tuple[bytes, Any]:
        """The value as JSON, and the equal value which that JSON gives back.

        Raises `Misfit` with the path of what is not of the declared type or would not come back equal. An int where
        a float is declared is taken for the same float, as Python's typing has it.
        """
        raw = _encoded(value)
        back = self._read(raw)
        try:
            if back == value and encode(back) == raw:
                return raw, back
        except Exception:  # noqa: S110 - an `==` that raises (a signalling NaN) says nothing; the comparison below does
            pass
        refuse(difference, value, back)
        return raw, back

    def convert(self, value: Any) -> bytes:
        """The value as JSON that fits the declared type; a list may stand for a tuple, a text for a date.

        Raises `Misfit` with the path of what does not fit.
        """
        raw = _encoded(value)
        if self._holds_float and b"null" in raw:
            refuse(not_json, value)
        self._read(raw)
        return raw

    def decode(self, raw: bytes) -> Any:
        """The value that `raw` holds. Raises `Misfit` for anything that is not JSON of the declared type."""
        _check_integers(raw)
        return self._read(raw)

    def _read(self, raw: bytes) -> Any:
        try:
            value = self._decode(raw)
        except ValidationError as error:
            raise Misfit(*split_path(str(error))) from None
        except (DecodeError, UnicodeDecodeError) as error:
            raise Misfit(f"not JSON: {error}") from None
        except RecursionError:
            raise Misfit("nested too deeply") from None
        if self._holds_decimal and (b"nan" in (lower := raw.lower()) or b"inf" in lower):
            refuse(not_json, value)
        return value


def _encoded(value: Any) -> bytes:
    try:
        raw = encode(value)
    except UnicodeEncodeError:
        refuse(not_json, value)
        raise Misfit("a text with a lone surrogate is no JSON") from None
    except RecursionError:
        raise Misfit("nested too deeply") from None
    except (MsgspecError, TypeError, ValueError, NotImplementedError) as error:
        raise Misfit(f"it has no JSON form: {error}", path_of_unencodable(value)) from None
    if len(raw) > 18 and _LONG_RUN in raw.translate(_DIGITS_AS_ZERO):
        refuse(not_json, value)
        _check_integers(raw)
    return raw


def _check_integers(raw: bytes) -> None:
    if len(raw) < 19 or _LONG_RUN not in raw.translate(_DIGITS_AS_ZERO):
        return
    for token in _TOKENS.findall(raw):
        if token[0] != 0x22 and token.lstrip(b"-").isdigit() and not INTEGER_MIN <= _integer(token) <= INTEGER_MAX:
            raise Misfit(f"the integer {token[:40].decode()} needs more than 64 bits")


def _integer(digits: bytes) -> int:
    return int(digits) if len(digits) <= 20 else INTEGER_MAX + 1
