"""Typed values to JSON bytes and back, strictly: what cannot come back equal is refused, never bent.

A `Codec` is made once for each declared type and shared; it is stateless and safe from any thread. msgspec does the
work (it converts and validates in one pass); what msgspec lets through and should not is refused with the help of
`aether.json_checks`. This is the hot half, and can be compiled.
"""

import hashlib
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from msgspec import DecodeError, MsgspecError, ValidationError, inspect
from msgspec.json import Decoder

from aether.comparison import difference, rounded, unfaithful
from aether.exactness import Fields, exact_of
from aether.json_checks import (
    INTEGER_MAX,
    INTEGER_MIN,
    Unsupported,
    ValueMismatch,
    encode,
    encode_canonical,
    from_builtins,
    nodes,
    not_json,
    path_of_unencodable,
    refuse,
    split_path,
)
from aether.set_order import encoder_of
from aether.storable import advice_on, check_storable

_DIGITS_AS_ZERO = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_RUN = b"0" * 19
"""An integer below this many digits fits 64 bits. Looked for in translated bytes: four times as fast as a pattern."""
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*', re.DOTALL)
_TOO_LONG: dict[type, bytes] = {
    inspect.FloatType: rb"[0-9]{16}",
    inspect.DateTimeType: rb"\.[0-9]{7}",
    inspect.TimeType: rb"\.[0-9]{7}",
    inspect.TimeDeltaType: rb"\.[0-9]{7}|\.[0-9]+[^0-9Ss]",
    inspect.CustomType: rb"[0-9]{16}",
}
"""What JSON holds, at least, if a value of the type is rounded when it is read: integers over 2**53, and fractions."""
_READ_WHOLE = (
    inspect.NoneType, inspect.BoolType, inspect.IntType, inspect.StrType, inspect.LiteralType, inspect.EnumType,
    inspect.DateType, inspect.UUIDType, inspect.ListType, inspect.VarTupleType, inspect.TupleType, inspect.UnionType,
    inspect.Metadata, inspect.AnyType, inspect.DecimalType,
)  # fmt: skip
"""Types into which JSON of theirs always goes as a whole: nothing is rounded, left out, or put together."""
_as_given = Decoder(float_hook=Decimal).decode
_plain = Decoder().decode


def digest(name: str, value: Any, given: bytes = b"") -> str:
    """A short hash of a name and a value, the same for equal ones in every process: 16 hexadecimal digits.

    `given` is the JSON that the value was read from. What that leaves to defaults does not count, because another
    version of the model has other defaults, or none.
    """
    try:
        said = encode_canonical(value)
    except TypeError:  # elements of a set that have no order, such as objects
        said = encode_canonical(_without_order(_as_given(encode(value))))
    if given and given != said:
        said = encode(_named_in(_plain(given), _plain(said)))
    return hashlib.sha256(b"%b %b" % (name.encode(), said)).hexdigest()[:16]


def _named_in(given: Any, whole: Any) -> Any:
    """Of the JSON of a value the fields that it was given with."""
    if isinstance(whole, dict) and isinstance(given, dict):
        return {name: _named_in(given[name], item) for name, item in whole.items() if name in given}
    if isinstance(whole, list) and isinstance(given, list) and len(whole) == len(given):
        return [_named_in(*pair) for pair in zip(given, whole, strict=True)]
    return whole


def _without_order(json: Any) -> Any:
    """JSON with its arrays sorted, as it does not say which of them is a set."""
    if isinstance(json, list):
        return sorted(map(_without_order, json), key=encode_canonical)
    return {name: _without_order(item) for name, item in json.items()} if isinstance(json, dict) else json


class Codec:
    """Encodes and decodes one type; sets are written in one order.

    Raises `Unsupported` when JSON cannot carry the type.
    """

    __slots__ = ("_by_name", "_decode", "_encode", "_exact", "_holds_decimal", "_holds_float", "_read_whole",
                 "_too_long", "info", "type")  # fmt: skip

    def __init__(self, type_: Any) -> None:
        self.type = type_
        try:
            self._decode: Callable[[bytes], Any] = Decoder(type_, dec_hook=from_builtins).decode
            self.info = inspect.type_info(type_)
        except Exception as error:  # msgspec evaluates annotations of any quality here
            text = str(error).replace("`", "'")
            raise Unsupported(text + advice_on(text)) from error
        parts = list(nodes(self.info))
        for part in parts:
            check_storable(part)
        kinds = {type(node) for node in parts}
        self._encode = encoder_of(self.info)
        self._exact = exact_of(self.info)
        self._by_name = self._exact if isinstance(self._exact, Fields) else None
        self._holds_float = bool(kinds & {inspect.FloatType, inspect.AnyType, inspect.CustomType})
        self._holds_decimal = inspect.DecimalType in kinds
        lossy = sorted({_TOO_LONG[kind] for kind in kinds if kind in _TOO_LONG})
        self._too_long = re.compile(b"|".join(lossy)).search if lossy else None
        self._read_whole = all(_is_read_whole(node) for node in parts)

    def encode_checked(self, value: Any) -> tuple[bytes, Any]:
        """The value as JSON, and the equal value which that JSON gives back.

        Raises `ValueMismatch` with the path of what is not of the declared type or would not come back equal. An int
        where a float is declared is taken for the same float, as Python's typing has it.
        """
        raw = _encoded(value, self._encode)
        if self._holds_float and b"null" in raw:
            refuse(not_json, value)
        back = self._read(raw)
        if self._exact.holds(value) and (self._exact.plain or self._is_same(value, raw, back)):
            return raw, back
        refuse(difference, value, back)
        return raw, back

    def convert(self, value: Any) -> bytes:
        """The value as JSON that fits the declared type and says exactly what was given.

        A value may be given in the JSON form of its type: a list for a tuple or a set, a text for a date, a dict for a
        dataclass. Raises `ValueMismatch` with the path of what does not fit, or would arrive as something else.
        """
        raw = _encoded(value, self._encode)
        if self._holds_float and b"null" in raw:
            refuse(not_json, value)
        back = self._read(raw)
        exact, by_name = self._exact, self._by_name
        if by_name is not None and type(value) is dict:
            if by_name.plain and by_name.holds_by_name(value):
                return raw
        elif exact.holds(value) and (exact.plain or self._is_same(value, raw, back)):
            return raw
        refuse(unfaithful, value, back, self.info)
        return raw

    def decode(self, raw: bytes) -> Any:
        """The value that `raw` holds. Raises `ValueMismatch` for anything that is not JSON of the declared type.

        Fields that the type does not know are left out, because older and newer code declares others.
        """
        _check_integers(raw)
        value = self._read(raw)
        if self._too_long is not None and self._too_long(raw) is not None and encode(value) != raw:
            refuse(rounded, _as_given(raw), _as_given(encode(value)))
        return value

    def accept(self, raw: bytes) -> Any:
        """The value that `raw`, which comes from anywhere, holds. As `decode`, and nothing may be left out of it."""
        _check_integers(raw)
        value = self._read(raw)
        if not self._read_whole and encode(value) != raw:
            refuse(unfaithful, _as_given(raw), value, self.info)
        return value

    def _is_same(self, value: Any, raw: bytes, back: Any) -> bool:
        try:
            return bool(back == value) and self._encode(back) == raw
        except Exception:  # an `==` that raises (a signalling NaN) says nothing
            return False

    def _read(self, raw: bytes) -> Any:
        try:
            value = self._decode(raw)
        except ValidationError as error:
            raise ValueMismatch(*split_path(str(error))) from None
        except (DecodeError, UnicodeDecodeError) as error:
            raise ValueMismatch(f"not JSON: {error}") from None
        except RecursionError:
            raise ValueMismatch("nested too deeply") from None
        except TypeError as error:  # what is not hashable, in a set or as a key
            raise ValueMismatch(f"not of its type: {error}") from None
        if self._holds_decimal and (b"nan" in (lower := raw.lower()) or b"inf" in lower):
            refuse(not_json, value)
        return value


def _is_read_whole(node: inspect.Type) -> bool:
    if isinstance(node, inspect.StructType):
        return bool(node.cls.__struct_config__.forbid_unknown_fields) and not hasattr(node.cls, "__post_init__")
    return isinstance(node, _READ_WHOLE)


def _encoded(value: Any, encode: Callable[[Any], bytes]) -> bytes:
    try:
        raw = encode(value)
    except UnicodeEncodeError:
        refuse(not_json, value)
        raise ValueMismatch("a text with a lone surrogate is no JSON") from None
    except RecursionError:
        raise ValueMismatch("nested too deeply") from None
    except (MsgspecError, TypeError, ValueError, NotImplementedError) as error:
        raise ValueMismatch(f"it has no JSON form: {error}", path_of_unencodable(value)) from None
    if len(raw) > 18 and _LONG_RUN in raw.translate(_DIGITS_AS_ZERO):
        refuse(not_json, value)
        _check_integers(raw)
    return raw


def _check_integers(raw: bytes) -> None:
    if len(raw) < 19 or _LONG_RUN not in raw.translate(_DIGITS_AS_ZERO):
        return
    for token in _TOKENS.findall(raw):
        if token[0] != 0x22 and token.lstrip(b"-").isdigit() and not INTEGER_MIN <= _integer(token) <= INTEGER_MAX:
            raise ValueMismatch(f"the integer {token[:40].decode()} needs more than 64 bits")


def _integer(digits: bytes) -> int:
    return int(digits) if len(digits) <= 20 else INTEGER_MAX + 1
