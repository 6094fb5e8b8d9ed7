"""JSON as people type it: read strictly, so that nothing that was typed is lost or bent in silence.

Pure. What `json` of the standard library lets pass (names twice in an object, NaN, endless nesting) is refused here.
"""

import json
from typing import Any, NoReturn

from msgspec.json import encode


class NotJson(ValueError):
    """The text is no JSON, or JSON of which a part would be lost; the message says what and where."""


def read_json(text: str) -> Any:
    """The value of a JSON text. Raises `NotJson`."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    except NotJson:
        raise
    except ValueError as error:
        raise NotJson(str(error)) from None


def write_text(text: str) -> bytes:
    """A text as a JSON string. Raises `NotJson` for a lone surrogate, which is how bytes that are no UTF-8 arrive."""
    try:
        return encode(text)
    except UnicodeEncodeError:
        raise NotJson("it is not UTF-8") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise NotJson(f"the name {name!r} is there twice")
        found[name] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is no JSON number")
