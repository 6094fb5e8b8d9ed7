"""What an error is to the shell: an exit code and one line on stderr.

Pure. One table maps every class of `aether.errors`; the line is the error's name, its message, and those of its details
that the message does not already say. Nothing of it can move the terminal's cursor or break the line.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import MsgspecError
from msgspec.json import encode

from aether.config import EXIT_CONFIGURATION
from aether.errors import (
    ActorFailed,
    AetherError,
    ClientUnusable,
    ConfigError,
    DeadlineExceeded,
    HistoryRegressed,
    InvalidCommand,
    ModelError,
    Overloaded,
    Rejected,
    ReplyNotDelivered,
    StateChangedOutsideEvent,
    Unavailable,
    UnknownActor,
    UnknownCommand,
    UnreadableEvent,
    VersionConflict,
)

EXIT_DONE = 0
EXIT_REFUSED = 1
"""The actor rejected the command, or failed."""

EXIT_BAD_INPUT = 2
EXIT_NO_ANSWER = 3
"""Unavailable, overloaded or past the deadline."""

EXIT_NOT_WRITTEN = 74
"""The command was done, and its output cannot be written: a full disk."""

EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141

EXIT_CODES: Mapping[type[AetherError], int] = {
    Rejected: EXIT_REFUSED,
    ActorFailed: EXIT_REFUSED,
    StateChangedOutsideEvent: EXIT_REFUSED,
    VersionConflict: EXIT_REFUSED,
    HistoryRegressed: EXIT_REFUSED,
    UnreadableEvent: EXIT_REFUSED,
    InvalidCommand: EXIT_BAD_INPUT,
    UnknownActor: EXIT_BAD_INPUT,
    UnknownCommand: EXIT_BAD_INPUT,
    Overloaded: EXIT_NO_ANSWER,
    Unavailable: EXIT_NO_ANSWER,
    DeadlineExceeded: EXIT_NO_ANSWER,
    ClientUnusable: EXIT_NO_ANSWER,
    ReplyNotDelivered: EXIT_REFUSED,
    ModelError: EXIT_CONFIGURATION,
    ConfigError: EXIT_CONFIGURATION,
    AetherError: EXIT_REFUSED,
}

_SAID_ALREADY = {
    "path",
    "kind",
    "command",
    "file",
    "line",
    "setting",
    "outcome_known",
    "expected",
    "actual",
    "namespaces",
    "gone",
}


def exit_code(error: AetherError) -> int:
    """The exit code for an error, by the nearest of its classes in the table."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def error_line(error: AetherError) -> str:
    """The error as one printable line: `rejected: insufficient funds (balance=10)`."""
    name = error.code.replace("_", " ")
    path = f"{error.path}: " if isinstance(error, InvalidCommand) and error.path else ""
    details = error.details.items() if isinstance(error, Rejected) else _unsaid(error)
    shown = ", ".join(f"{key}={_json_text(value)}" for key, value in details)
    return one_line(f"{name}: {path}{error.message}" + (f" ({shown})" if shown else ""))


def one_line(text: str) -> str:
    """The text without line breaks, and with everything that is not printable written as an escape."""
    joined = " ".join(text.split())
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in joined)


def _unsaid(error: AetherError) -> Iterator[tuple[str, Any]]:
    for key, value in error.details.items():
        said = key in _SAID_ALREADY or value in ("", None) or (isinstance(value, str) and value in error.message)
        if not said:
            yield key, value


def _json_text(value: Any) -> str:
    try:
        return encode(value).decode()
    except (MsgspecError, TypeError, ValueError):
        return repr(value)
