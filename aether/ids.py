"""Identities and the numbers that must not be mixed up.

An actor is `ActorId(kind, key)`. `Version` counts the events of one actor, `Position` is the stream sequence of its
last commit: two integers with a type each.
"""

import re
from functools import lru_cache
from typing import NewType

from msgspec import Struct
from msgspec.structs import force_setattr

from aether.errors import InvalidCommand

Version = NewType("Version", int)
"""Count of events in one actor's history; 0 before the first."""

Position = NewType("Position", int)
"""Stream sequence of an actor's last commit; opaque, grows, 0 before the first."""

KEY_BYTES_MAX = 200
KIND_CHARS_MAX = 64
KINDS_KEPT_MAX = 1_024
"""Kinds that are known to be good: there are few, and each id has one."""

COMMAND_ID_CHARS_MAX = 128

ORIGIN_CHARS_MAX = 512
"""Characters of each text that says where a command comes from: all its events, and what it sends, carry them."""

OWN_COMMAND_IDS = ("tell:", "task:", "timer:", "retry:")
"""Command ids that Aether makes begin so: of tells, of results of tasks, of ticks, of dead letters that are sent again.

A caller's id is none of them: the actor would take what really comes under that id for a repetition.
"""

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""A `traceparent` of W3C Trace Context: version, trace, span, flags."""

_is_ascii = str.isascii
_KIND = re.compile(r"[a-z][a-z0-9_]*")


class ActorId(Struct, frozen=True, order=True):
    """Which actor: its `kind` (snake_case, 1-64 characters) and its `key` (any Unicode, 1-200 bytes of UTF-8).

    A text of another class, as a member of an enumeration of texts is, is taken for the text that it is equal to.
    Raises `InvalidCommand` naming the field.
    """

    kind: str
    key: str

    def __post_init__(self) -> None:
        if type(self.key) is not str or type(self.kind) is not str:
            _make_plain(self)
        try:
            check_kind(self.kind)
            key = self.key
            if not (_is_ascii(key) and 0 < len(key) <= KEY_BYTES_MAX):
                _check_key(key)
        except TypeError:
            raise _no_text(self) from None

    def __str__(self) -> str:
        return f"{self.kind}/{self.key}"


def checked_command_id(command_id: str, path: str) -> str:
    """The id itself. Raises `InvalidCommand` with this path for what a caller may not give as a command id."""
    check_id(command_id, "a command id", path)
    if command_id.startswith(OWN_COMMAND_IDS):
        begins = command_id.partition(":")[0]
        raise InvalidCommand(f"command ids that begin with '{begins}:' are Aether's own; give another one", path=path)
    return command_id


@lru_cache(KINDS_KEPT_MAX)
def check_kind(kind: str) -> None:
    """Raise `InvalidCommand` unless `kind` is 1-64 characters of snake_case."""
    if len(kind) > KIND_CHARS_MAX or _KIND.fullmatch(kind) is None:
        raise InvalidCommand(f"a kind is 1-{KIND_CHARS_MAX} characters of snake_case, not {kind!r}", path="kind")


def check_id(text: str, what: str, path: str) -> None:
    """Raise `InvalidCommand` unless the id of a command, a task or a trace is 1-128 characters of UTF-8."""
    check_text(text, what, path)
    if not 0 < len(text) <= COMMAND_ID_CHARS_MAX:
        raise InvalidCommand(f"{what} is 1-{COMMAND_ID_CHARS_MAX} characters", path=path)


def check_origin(text: str, what: str, path: str) -> None:
    """Raise `InvalidCommand` unless it is a text of at most `ORIGIN_CHARS_MAX` characters that has a form in UTF-8."""
    check_text(text, what, path)
    if len(text) > ORIGIN_CHARS_MAX:
        raise InvalidCommand(f"{what} is at most {ORIGIN_CHARS_MAX} characters, not {len(text)}", path=path)


def check_text(text: str, what: str, path: str) -> None:
    """Raise `InvalidCommand` unless it is a text that has a form in UTF-8."""
    if not isinstance(text, str):
        raise InvalidCommand(f"{what} is a text, not {text!r}", path=path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidCommand(f"{what} cannot hold a lone surrogate", path=path) from None


def check_traceparent(text: str, path: str) -> None:
    """Raise `InvalidCommand` unless it is "", for none, or a `traceparent` of W3C Trace Context."""
    check_text(text, "a traceparent", path)
    if text and not TRACEPARENT.fullmatch(text):
        example = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        raise InvalidCommand(f"a traceparent is like {example}, not {text[:60]!r}", path=path)


def plain_text(text: str) -> str:
    """The text itself, of the class `str`.

    A member of `class Room(str, Enum)` is equal to its value and has its hash and its JSON, but an f-string makes
    `Room.RED` of it: another name of a subject, and another shard.
    """
    return text if type(text) is str else str.__str__(text)


def _make_plain(actor_id: ActorId) -> None:
    for name, value in (("kind", actor_id.kind), ("key", actor_id.key)):
        if isinstance(value, str):  # else it is refused
            force_setattr(actor_id, name, plain_text(value))


def _no_text(actor_id: ActorId) -> InvalidCommand:
    path = "key" if isinstance(actor_id.kind, str) else "kind"
    return InvalidCommand(f"an actor's {path} is a text, not {getattr(actor_id, path)!r}", path=path)


def _check_key(key: str) -> None:
    if not key:
        raise InvalidCommand("an actor's key cannot be empty", path="key")
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidCommand("an actor's key cannot hold a lone surrogate", path="key") from None
    if size > KEY_BYTES_MAX:
        raise InvalidCommand(f"an actor's key is at most {KEY_BYTES_MAX} bytes of UTF-8, this is {size}", path="key")
