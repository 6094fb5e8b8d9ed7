"""What a request says, read strictly: its path, its headers, its query string, its body.

Paths are taken apart before they are decoded, so that a key may hold `/` (as `%2F`) and whatever else. What cannot be
read is a problem that names what is wrong; nothing is guessed.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes

import orjson
from starlette.types import Receive, Scope

from aether.errors import InvalidCommand
from aether.gateway.problems import HttpProblem
from aether.ids import COMMAND_ID_CHARS_MAX, TRACEPARENT, checked_command_id
from aether.wire import DEADLINE_AHEAD_MAX_S

QUERY_FIELDS_MAX = 256
LENGTH_DIGITS_MAX = 18
DROPPED_BYTES_MAX = 16 * 1024 * 1024
"""So much of a body that is too large is read and dropped."""

_ONCE = frozenset({b"authorization", b"idempotency-key", b"content-type", b"content-length", b"host",
                   b"last-event-id", b"traceparent", b"x-correlation-id"})  # fmt: skip
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,6})\"?\s*(?=$|[,;])", re.IGNORECASE)
_ASYNC = re.compile(r"(?:^|[,;])\s*respond-async\s*(?=$|[,;])", re.IGNORECASE)
_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_VISIBLE = re.compile(r"[\x21-\x7e]+")


class Disconnected(Exception):
    """The caller is gone before its request was whole."""


def segments_of(scope: Scope) -> tuple[str, ...]:
    """The decoded parts of the path below where the application is mounted."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    root: str = scope.get("root_path", "").rstrip("/")
    below = raw
    if root:
        ends = [place for place, byte in enumerate(raw + b"/") if byte == 0x2F and _decoded(raw[:place]) == root]
        below = raw[ends[0] :] if ends else raw
    return tuple(_decoded(part) for part in below.removeprefix(b"/").split(b"/"))


def _decoded(part: bytes) -> str:
    if _PERCENT.search(part):
        raise HttpProblem(400, "a % in the path is not followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise HttpProblem(400, "the path is not UTF-8") from None


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The headers by lower-case name; a problem when one that has one value comes twice."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name not in found:
            found[name] = value
        elif name in _ONCE:
            raise HttpProblem(400, f"the header {name.decode('latin-1')} is there twice")
        else:
            found[name] += b", " + value
    return found


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the headers of a call ask for; None or "" for what they do not."""

    command_id: str | None
    deadline_s: float | None
    respond_async: bool
    traceparent: str
    correlation_id: str


def wishes_of(headers: Mapping[bytes, bytes]) -> Wishes:
    """Read `Idempotency-Key`, `Prefer`, `X-Correlation-Id` and `traceparent`."""
    prefer = headers.get(b"prefer", b"").decode("latin-1")
    wait = _WAIT.search(prefer) if prefer else None
    deadline_s = min(float(wait[1]), DEADLINE_AHEAD_MAX_S) if wait else None
    traceparent = headers.get(b"traceparent", b"").decode("latin-1")
    return Wishes(
        command_id=_command_id_of(headers),
        deadline_s=deadline_s or None,
        respond_async=bool(prefer and _ASYNC.search(prefer)),
        traceparent=traceparent if TRACEPARENT.fullmatch(traceparent) else "",
        correlation_id=_id_of(headers.get(b"x-correlation-id"), "X-Correlation-Id") or "",
    )


def _command_id_of(headers: Mapping[bytes, bytes]) -> str | None:
    found = _id_of(headers.get(b"idempotency-key"), "Idempotency-Key")
    return None if found is None else checked_command_id(found, "Idempotency-Key")


def _id_of(value: bytes | None, header: str) -> str | None:
    """The id in a header such as `Idempotency-Key`: a text of visible ASCII, with or without quotes."""
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not 0 < len(text) <= COMMAND_ID_CHARS_MAX or not _VISIBLE.fullmatch(text):
        wanted = f"{header} is 1-{COMMAND_ID_CHARS_MAX} visible ASCII characters"
        raise InvalidCommand(wanted, path=header)
    return text


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], bytes_max: int, timeout_s: float) -> bytes:
    """The whole body. Raises `Disconnected`; a problem when it is too large, too slow, or in a transfer coding that no
    part of this gateway undoes.

    Of one that is too large some more is read and dropped: a connection that is closed while its sender sends is
    reset, and the answer is lost. A sender that waits for `100 Continue` gets it at once.
    """
    if headers.get(b"transfer-encoding", b"chunked").strip().lower() != b"chunked":
        raise HttpProblem(501, "no transfer coding but chunked is taken", headers={"Connection": "close"})
    declared = headers.get(b"content-length", b"0")
    most = bytes_max if b"expect" in headers else bytes_max + DROPPED_BYTES_MAX
    if not declared.isdigit() or len(declared) > LENGTH_DIGITS_MAX or int(declared) > most:
        raise _too_large(bytes_max)
    chunks, size = list[bytes](), 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                chunk: bytes = message.get("body", b"")
                size, more = size + len(chunk), message.get("more_body", False)
                if size > bytes_max:
                    chunks.clear()
                    if size > most or not more:
                        raise _too_large(bytes_max)
                    continue
                chunks.append(chunk)
                if not more:
                    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
    except TimeoutError:
        if size > bytes_max:
            raise _too_large(bytes_max) from None
        text = f"the body was not there after {timeout_s:g} s"
        raise HttpProblem(408, text, headers={"Connection": "close"}) from None


def _too_large(bytes_max: int) -> HttpProblem:
    text = f"a body is at most {bytes_max} bytes"
    return HttpProblem(413, text, headers={"Connection": "close"}, limit="body_bytes_max")


def arguments_of(body: bytes, headers: Mapping[bytes, bytes]) -> bytes:
    """The arguments in the body of a call: a JSON object, `{}` for no body.

    Only `application/json` is taken, which another site's page cannot send without being allowed to. The bytes go into
    a larger JSON text as they are, so they are read here as a whole first.
    """
    coding = headers.get(b"content-encoding", b"identity").strip().lower()
    if coding != b"identity":
        raise HttpProblem(415, "arguments are sent without a content encoding", headers={"Accept-Encoding": "identity"})
    if not body:
        return b"{}"
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type != b"application/json":
        raise HttpProblem(415, "arguments are sent as application/json", headers={"Accept-Post": "application/json"})
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HttpProblem(400, f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidCommand("the body is a JSON object of arguments by name")
    return body


def query_of(scope: Scope) -> list[tuple[str, str]]:
    """The names and values of the query string, in order."""
    raw: bytes = scope.get("query_string", b"")
    if _PERCENT.search(raw):
        raise HttpProblem(400, "a % in the query string is not followed by two hexadecimal digits")
    try:
        return parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MAX)
    except UnicodeDecodeError:
        raise HttpProblem(400, "the query string is not percent-encoded UTF-8") from None
    except ValueError:
        raise HttpProblem(400, f"a query string has at most {QUERY_FIELDS_MAX} fields") from None


class Options:
    """The query string of a request that is no query of an actor: known names, each once but for `many`."""

    def __init__(self, scope: Scope, known: frozenset[str], many: frozenset[str] = frozenset()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in query_of(scope):
            if name not in known:
                takes = ", ".join(sorted(known)) or "none"
                raise InvalidCommand(f"no such query parameter; there are: {takes}", path=name)
            if name in self._values and name not in many:
                raise InvalidCommand("the query parameter is given twice", path=name)
            self._values.setdefault(name, []).append(value)

    def text(self, name: str) -> str | None:
        """The value, or None when it is not given."""
        return self._values[name][0] if name in self._values else None

    def texts(self, name: str) -> list[str]:
        """All values."""
        return self._values.get(name, [])

    def number(self, name: str, default: int | None, least: int, most: int) -> int | None:
        """The value as a whole number of a range."""
        text = self.text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
            raise InvalidCommand(f"it is a whole number from {least} to {most}, not {text[:40]!r}", path=name)
        return int(text)
