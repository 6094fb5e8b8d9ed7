"""The frames of the NATS client protocol, both ways: bytes of the server to frames, what we say to bytes.

Pure: no socket, clock or logging. `Parser` takes bytes as they come, cut anywhere, and either gives frames or raises
`Malformed` and nothing else; after that it is of no use. What it keeps between two reads is bounded by
`payload_bytes_max`. A subject that is no UTF-8 is readable but is another subject. Compiled: see `docs/hot-path.md`.
"""

from dataclasses import dataclass
from enum import Enum, unique
from typing import Final, TypeAlias

from aether.jetstream.connection.message import Message

CONTROL_LINE_BYTES_MAX = 4096
INFO_BYTES_MAX = 64 * 1024
"""A server of a large cluster lists all of it in its INFO."""

CRLF = b"\r\n"
_CR: Final = 13
_LF: Final = 10
PING = b"PING\r\n"
PONG = b"PONG\r\n"


class Malformed(Exception):
    """The bytes are not the protocol, or are larger than it allows. The text is for people."""


@unique
class Signal(Enum):
    """A frame without content."""

    PING = "PING"
    PONG = "PONG"
    OK = "+OK"


@dataclass(frozen=True, slots=True)
class Fault:
    """-ERR, with the server's words without their quotes."""

    text: str


@dataclass(frozen=True, slots=True)
class Info:
    """INFO, its JSON unread."""

    body: str


Frame: TypeAlias = tuple[str, Message] | Signal | Fault | Info
"""A message comes with the id of its subscription, as it was given to `sub`. A tuple, as there are so many of them."""


class Parser:
    """Bytes to frames. `payload_bytes_max` is the largest payload, headers included, that is believed."""

    __slots__ = ("_kept", "_missing", "_payload_bytes_max")

    def __init__(self, payload_bytes_max: int) -> None:
        self._payload_bytes_max = payload_bytes_max
        self._kept: list[bytes] = []
        self._missing = 0

    def feed(self, received: bytes, frames: list[Frame]) -> None:  # noqa: C901 - one loop: a call a message costs a tenth
        """Add the frames that are whole now. Raises `Malformed`; those before it have been added."""
        if self._kept:
            self._kept.append(received)
            self._missing -= len(received)
            if self._missing > 0:
                return
            received = b"".join(self._kept)
            self._kept.clear()
        at, end = 0, len(received)
        while at < end:
            line_end = received.find(_CR, at)  # one byte, as that is found faster than two
            if line_end >= 0 and (line_end + 1 == end or received[line_end + 1] != _LF):
                line_end = received.find(CRLF, line_end)
            if line_end < 0 or line_end - at > CONTROL_LINE_BYTES_MAX:
                _check_length(received, at, end if line_end < 0 else line_end)
                if line_end < 0:
                    self._keep(received, at, 1)
                    return
            # Decoded once, and split where the server puts a space: half the time of a regular expression.
            try:
                line = received[at:line_end].decode()
            except UnicodeDecodeError:  # naming an error handler in each case would take twice as long
                line = received[at:line_end].decode("utf-8", "replace")
            words = line.split(" ")
            start = line_end + 2
            if words[0] == "MSG":
                head_bytes = 0
            elif words[0] == "HMSG" and len(words) > 4:
                head_bytes = _length(words.pop(-2), line)
            else:
                frames.append(_control(line))
                at = start
                continue
            if len(words) == 4:
                _, subject, sid, length = words
                reply = ""
            elif len(words) == 5:
                _, subject, sid, reply, length = words
            else:
                raise Malformed(f"unknown frame {line[:40]!r}")
            size = int(length) if length.isdecimal() else _length(length, line)
            if not head_bytes <= size <= self._payload_bytes_max:
                raise Malformed(f"a payload of {size} bytes with {head_bytes} of headers")
            stop = start + size
            if stop + 2 > end:
                self._keep(received, at, stop + 2 - end)
                return
            if received[stop] != _CR or received[stop + 1] != _LF:
                raise Malformed("a payload does not end where it was said to")
            if head_bytes:
                body = start + head_bytes
                frames.append((sid, Message(subject, reply, received[body:stop], received[start:body])))
            else:
                frames.append((sid, Message(subject, reply, received[start:stop], None)))
            at = stop + 2

    def _keep(self, received: bytes, at: int, missing: int) -> None:
        self._kept.append(received[at:] if at else received)
        self._missing = missing


def _check_length(received: bytes, at: int, line_end: int) -> None:
    most = INFO_BYTES_MAX if received.startswith(b"INFO", at) else CONTROL_LINE_BYTES_MAX
    if line_end - at > most:
        raise Malformed(f"a control line of more than {most} bytes")


def _length(text: str, line: str) -> int:
    if not text.isdecimal():
        raise Malformed(f"no length {text[:20]!r} in {line[:40]!r}")
    return int(text)


_SIGNALS = {signal.value: signal for signal in Signal}


def _control(line: str) -> Frame:
    signal = _SIGNALS.get(line.rstrip())
    if signal is not None:
        return signal
    operation, _, rest = line.partition(" ")
    if operation == "-ERR":
        return Fault(rest.strip().strip("'"))
    if operation == "INFO":
        return Info(rest)
    raise Malformed(f"unknown frame {line[:40]!r}")


def pub(subject: str, reply_to: str, head: bytes, payload: bytes) -> bytes:
    """PUB, or HPUB with a header block; `reply_to` and `head` may be empty. Subjects hold no white space."""
    if head:
        line = f"HPUB {subject} {reply_to} {len(head)} {len(head) + len(payload)}\r\n"
        return b"".join([line.encode(), head, payload, CRLF])
    return b"".join([f"PUB {subject} {reply_to} {len(payload)}\r\n".encode(), payload, CRLF])


def sub(subject: str, queue: str, sid: str) -> bytes:
    """SUB; `queue` may be empty."""
    return f"SUB {subject} {queue} {sid}\r\n".encode()


def unsub(sid: str) -> bytes:
    """UNSUB, at once."""
    return f"UNSUB {sid}\r\n".encode()
