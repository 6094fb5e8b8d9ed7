"""Dead letters: tells that were given up, as rows in the inbox stream, each on a subject of its own.

Theory of operation. The truth is in the history of the tell's actor (`aether.DeadLettered`); a row is how it is found.
The owner writes it before it has the actor commit that the tell is given up, so no crash in between hides one. A row
that is `dying` is therefore a claim only: a reader looks in the history for what came of that tell. An owner
that lives says itself that it is `dead`. What is done with a dead letter is decided by one write on its row, on the
condition that it is still the one that was read; who sends it again writes the row anew, looks whether the tell is
stored already, and stores it on the condition that the row is still its own. So two operators at once have one effect,
and one who was frozen has none. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder, Encoder, decode
from msgspec.structs import replace

from aether.errors import AetherError, InvalidCommand, error_from_body
from aether.ids import ActorId
from aether.tells import EMPTY_ARGS, RETRY, Tell
from aether.wire import DEAD_LETTERED_EVENT, PARKED_EVENT, ErrorBody, Event

DYING = "dying"
"""It failed too often, and its actor is about to commit that it is given up."""

DEAD = "dead"
RETRYING = "retrying"
"""A caller has decided to send it again; it may not be stored yet."""

RETRIED = "retried"
DROPPED = "dropped"
APPLIED = "applied"
"""It was not given up after all: another owner had it applied."""

OVER = frozenset({RETRIED, DROPPED, APPLIED})
"""What is in one of these states is no dead letter any more."""


class DeadLetterRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A dead letter as it is stored. `sequence` is the tell's own in the inbox stream, and the dead letter's id.

    `at` and `by`: when the row came into its state, and who brought it there ("" for a worker).
    """

    state: str
    sequence: int
    tell: Tell
    failures: int
    error: ErrorBody
    at: datetime
    by: str = ""
    args_left_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A tell that failed too often and was given up.

    - `id`: the sequence of the tell in the inbox stream.
    - `command`, `args`: what it was to run; {} where the arguments are no object of JSON. `source`: the actor that told
      it, None for a client.
    - `error`, `failures`: why it failed the last time, and how often it did. `at`: when it was given up, UTC.
    - `retrying`: it is being sent again, and not stored yet as far as is known.
    - `scheduled_for`: of a tick of a schedule, when it was due.
    """

    id: int
    actor_id: ActorId
    command: str
    args: Mapping[str, Any]
    error: AetherError = field(compare=False)
    failures: int
    at: datetime
    source: ActorId | None = None
    command_id: str = ""
    correlation_id: str = ""
    retrying: bool = False
    scheduled_for: datetime | None = None


_encoder = Encoder()
_decoder = Decoder(DeadLetterRow)


def encode_row(row: DeadLetterRow) -> bytes:
    """The row as JSON."""
    return _encoder.encode(row)


def decode_row(payload: bytes) -> DeadLetterRow | None:
    """The row, or None for bytes that are none."""
    try:
        row = _decoder.decode(payload)
        row.tell.target  # noqa: B018 - checks kind and key
    except (ValidationError, DecodeError, UnicodeDecodeError, RecursionError, InvalidCommand):
        return None
    return row


def shorter(row: DeadLetterRow, *, keep_args: bool = False) -> Iterator[bytes]:
    """The row, and less and less of it where that is too much: without the error's details, without the arguments."""
    yield encode_row(row)
    brief = replace(row, error=ErrorBody(row.error.code, row.error.message[:SHORT_CHARS]))
    yield encode_row(brief)
    if not keep_args:
        yield encode_row(replace(brief, tell=replace(row.tell, args=EMPTY_ARGS), args_left_out=True))


SHORT_CHARS = 200


def dead_letter_of(row: DeadLetterRow) -> DeadLetter:
    """What callers see of a row."""
    tell, error = row.tell, row.error
    return DeadLetter(
        id=row.sequence,
        actor_id=tell.target,
        command=tell.command,
        args=_args_of(bytes(tell.args)),
        error=error_from_body(error.code, error.message, error.details),
        failures=row.failures,
        at=row.at,
        source=_actor_of(tell.source),
        command_id=tell.command_id,
        correlation_id=tell.correlationid or tell.command_id,
        retrying=row.state == RETRYING,
        scheduled_for=tell.due,
    )


def _args_of(raw: bytes) -> Mapping[str, Any]:
    """Other programs tell, too: what they sent may be anything that has the ends of JSON."""
    try:
        args = decode(raw)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return args if isinstance(args, dict) else {}


def _actor_of(source: str) -> ActorId | None:
    kind, _, key = source.partition("/")
    try:
        return ActorId(kind, key) if source else None
    except InvalidCommand:
        return None


def sent_again(row: DeadLetterRow) -> Tell:
    """The tell that has the same done once more. Its id names the one that was given up."""
    tell = row.tell
    command, target = tell.meant
    return Tell(
        kind=target.kind,
        key=target.key,
        command=command,
        args=tell.args,
        id=f"{RETRY}{row.sequence}",
        correlationid=tell.correlationid or tell.command_id,
        causationid=tell.command_id,
        traceparent=tell.traceparent,
        caller=tell.source or tell.caller,
        due=tell.due,
    )


def note_what_came(events: Iterable[Event], wanted: Mapping[str, int], came: dict[int, str]) -> None:
    """Add what events say of tells, by their sequences, which `wanted` has with their text: `DEAD` or `APPLIED`."""
    for event in events:
        sequence = wanted.get(event.inboxseq)
        if sequence is not None and event.type != PARKED_EVENT:
            came.setdefault(sequence, DEAD if event.type == DEAD_LETTERED_EVENT else APPLIED)
