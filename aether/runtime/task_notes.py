"""What is written down of a task that has failed or was given back, for its next attempt and for people."""

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder, Encoder

from aether.log_lines import words
from aether.sends import StartTask

ERROR_CHARS_MAX = 2_000

WAITS = "waits"
"""It is tried again later."""

RUNS = "runs"
"""It is tried again now."""

GIVEN_UP = "given up"
"""No worker calls it again: its actor is told that it failed."""


class TaskNote(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task that has failed at least once, or was given back.

    - `task`, `actor`: its name, and the actor that has started it, as `kind/key`. `state`: `WAITS`, `RUNS`
      or `GIVEN_UP`.
    - `attempt` of `attempts`: the last one, and how many it may have. `error`, `error_type`: how it has failed.
    - `given_back`: how often a worker has handed it back unfinished, which is no attempt.
    - `at_s`, `next_s`: when it failed and when it is tried again, in Unix seconds; `next_s` is 0 when it is not.
    - `token`: by which the server knows it while it waits.
    """

    task: str
    actor: str
    state: str = WAITS
    attempt: int = 0
    attempts: int = 0
    error: str = ""
    error_type: str = ""
    given_back: int = 0
    at_s: float = 0.0
    next_s: float = 0.0
    token: str = ""
    correlationid: str = ""
    causationid: str = ""


_encode = Encoder().encode
_decode = Decoder(TaskNote).decode


def encode_note(note: TaskNote) -> bytes:
    """As it is stored."""
    return _encode(note)


def decode_note(payload: bytes | None) -> TaskNote | None:
    """What was stored; None for nothing and for what cannot be read, which later versions may write."""
    if payload is None:
        return None
    try:
        return _decode(payload)
    except (ValidationError, DecodeError):
        return None


def token_of_waiting(payload: bytes | None) -> str:
    """By which the server knows a task that waits to be tried again; "" where no row says so."""
    note = decode_note(payload)
    return note.token if note is not None and note.state == WAITS else ""


def note_of(start: StartTask, known: TaskNote | None) -> TaskNote:
    """What is known of a task already, or the beginning of it."""
    return known or TaskNote(
        task=start.task, actor=start.source, correlationid=start.correlationid, causationid=start.causationid
    )


def said(error: BaseException) -> str:
    """An error's words, cut, with what is no JSON escaped."""
    return words(error)[:ERROR_CHARS_MAX].encode(errors="backslashreplace").decode()
