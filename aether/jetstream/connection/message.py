"""A NATS message that is cheap to make: its headers are parsed when they are first read.

Parsing headers costs more than all else about a message. Most messages that reach a worker repeat its own commits, and
of those only the sequence is read. See `docs/hot-path.md`.
"""

from collections.abc import Mapping

from aether.jetstream.connection.headers import DESCRIPTION, STATUS, STATUS_NO_RESPONDERS

VERSION_LINE = b"NATS/1.0"
NO_RESPONDERS_LINE = b"NATS/1.0 503"


class Message:
    """One delivered message. `head` is its raw header block, or None; `headers` are given where they were parsed."""

    __slots__ = ("_headers", "data", "head", "reply", "subject")

    def __init__(
        self, subject: str, reply: str, data: bytes, head: bytes | None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.head = head
        self._headers = headers

    @property
    def headers(self) -> Mapping[str, str] | None:
        """The headers by name, the status line's code and text among them; None without headers."""
        if self._headers is None and self.head:
            self._headers = parse_headers(self.head)
        return self._headers

    def header(self, name: str) -> str:
        """One header, "" without it. One that is asked for is looked for: parsing all takes five times as long."""
        if self.head is None or self._headers is not None:
            return (self._headers or {}).get(name, "")
        return self._value(name).decode("utf-8", "replace").strip()

    def integer(self, name: str) -> int:
        """One header that is an integer, of a message that keeps its `head` or not. Raises ValueError for any other."""
        if self.head is None or self._headers is not None:
            return int((self._headers or {}).get(name, ""))
        return int(self._value(name))

    def _value(self, name: str) -> bytes:
        """What the header block has for a name, with the space before it; empty without it."""
        assert self.head is not None
        # `partition` rather than `find`: a third of the latter's time is the parsing of its arguments.
        rest = self.head.partition(_BEGINNINGS.get(name) or _beginning(name))[2]
        return rest.partition(b"\r\n")[0]

    @property
    def no_responders(self) -> bool:
        """Whether the server says that a request found no subscriber."""
        if self.head is not None:
            return not self.data and self.head.startswith(NO_RESPONDERS_LINE)
        return self._headers is not None and not self.data and self._headers.get(STATUS) == STATUS_NO_RESPONDERS


_BEGINNINGS: dict[str, bytes] = {}
"""How the lines of the headers that were asked for begin: few, as they are asked for by name."""


def _beginning(name: str) -> bytes:
    return _BEGINNINGS.setdefault(name, f"\r\n{name}:".encode())


def parse_headers(head: bytes) -> dict[str, str]:
    """A header block (ADR-4) as names and values; bytes that are no UTF-8 become U+FFFD, lines without a colon go."""
    first, *lines = head.decode("utf-8", "replace").split("\r\n")
    found: dict[str, str] = {}
    code, _, text = first[len(VERSION_LINE) :].strip().partition(" ")
    if code:
        found[STATUS] = code
        if text:
            found[DESCRIPTION] = text
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found
