"""The envelopes: a command, its answer, and a commit of CloudEvents, as JSON.

Typed values travel inside them as raw JSON (`msgspec.Raw`), so an envelope is decoded in one pass and its contents by
the code that knows their type. A commit is a JSON array of CloudEvents 1.0 (their JSON batch format), readable by any
language; the extension attributes keep CloudEvents' own types, so `reply` is JSON text and `inboxseq` a string.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.json import Decoder, Encoder

from aether.errors import AetherError, InvalidCommand, UnreadableEvent, error_body, error_from_body
from aether.ids import COMMAND_ID_CHARS_MAX, ORIGIN_CHARS_MAX, ActorId, Position, Version, check_origin
from aether.json_checks import split_path

DEADLINE_AHEAD_MAX_S = 60.0
"""A command's deadline is at most this far ahead, so that ids need not be remembered for longer."""

SYSTEM_EVENT_PREFIX = "aether."
"""Event types with this prefix are Aether's own: they count in the version and change no state."""

SYSTEM_COMMAND_PREFIX = "aether."
"""Commands with this prefix are answered by the runtime itself."""

STATE_COMMAND = "aether.state"
"""Reads an actor's state; `args` may hold `version`."""

WAITS_COMMAND = "aether.waits"
"""Says at once which command an actor's handler runs and which asks of it have no answer; nothing when none runs."""

UNSCHEDULE_COMMAND = "aether.unschedule"
"""Ends a schedule of the actor; `args` holds its `name`. A kind that is gone has it, too."""

GIVE_UP_COMMAND = "aether.give-up"
"""Has what waits for the actor given up without another try; `args` may hold `until`. Gone kinds have it, too."""

TICK_COMMAND = "aether.tick"
"""A tick of a schedule of the actor, which is for another one: the actor tells it."""

HANDLED_EVENT = "aether.Handled"
"""Stored for a command that emitted nothing, when its reply must outlive a late delivery; `reply` is on it."""

REFUSED_EVENT = "aether.Refused"
"""Stored for a command that was refused, when a late delivery must not be carried out; `data` is the error's body.

It has no `reply`: a reader that does not know the type must not take it for a success.
"""

DEAD_LETTERED_EVENT = "aether.DeadLettered"
"""Stored for a tell that failed too often; `data` is the error's body and what was told."""

PARKED_EVENT = "aether.Parked"
"""Stored for a tell that has failed, of a kind whose tells need not be in order: those behind it go on, and it is tried
again under the same `inboxseq`.
"""

TOLD_EVENT = "aether.Told"
"""Stored for a command that has told something and emitted nothing."""

DISK_PROBED_EVENT = "aether.DiskProbed"
"""A worker has looked whether the server writes what it acknowledges to its file at once. Of no actor of a model."""

WORKER_LOST_EVENT = "aether.WorkerLost"
"""Stored for a command whose handler has ended a worker; with two of them the command is refused for good."""

STORED_FORMAT = 3
"""The newest format of stored events that this version reads. A feature is stored only when every member reads it.

0 has no system events.
"""

SYSTEM_EVENTS_FORMAT = 1
"""The format that knows `aether.Handled`, `aether.Refused` and `aether.WorkerLost`, and skips unknown ones."""

TELLS_FORMAT = 2
"""The format that knows tells, and by `inboxseq` which of them an actor had: none is told or applied before."""

SENDS_FORMAT = 3
"""The format that knows schedules and tasks among what a commit sends, and `aether.Parked`."""


PARKED_END = b',"parked":true}'
"""Ends the answer to a tell that failed and does not hold back those behind it."""

NULL = b"null"
_EMPTY_ARGS = Raw(b"{}")

ORIGIN = ("correlationid", "causationid", "traceparent", "caller")
"""What says where a command comes from, each of at most `ORIGIN_CHARS_MAX` characters."""


class Command(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command on the wire. `deadline` is absolute, RFC 3339, at most 60 s ahead.

    `attempt` counts the sends of an id that the client library made, from 1. It is 0 for an id that the caller gave,
    because then an earlier send may be unknown to the client, as after a restart.

    A command that an actor's handler has sent has three fields from there: `causationid` is the id of the command that
    the handler ran for, `chain` names the actors that wait for this one's answer (`kind/key`, outermost first), and
    `caller` is the last of them.
    """

    id: str
    command: str
    args: Raw = _EMPTY_ARGS
    deadline: datetime
    correlationid: str = ""
    causationid: str = ""
    traceparent: str = ""
    caller: str = ""
    chain: tuple[str, ...] = ()
    attempt: int = 0

    @property
    def fresh(self) -> bool:
        """Whether this is certainly the first send of its id."""
        return self.attempt == 1


class ErrorBody(Struct, frozen=True):
    """An error on the wire: see `aether.errors.error_body`."""

    code: str
    message: str
    details: dict[str, Any] = {}


class Answer(Struct, frozen=True, kw_only=True):
    """An answer on the wire: `ok` with value, version and position, or `error`.

    `decided` is True on an error that a turn or the command log gave, so that no other delivery of the command can
    have another outcome. Other errors say only what became of this one delivery.
    """

    ok: bool = False
    value: Raw = Raw(NULL)
    version: int = 0
    position: int = 0
    error: ErrorBody | None = None
    decided: bool = False


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One stored event, a CloudEvent. `id` is its version as text; `data` is the event itself.

    `reply` (JSON text) is on the last event of each command, so a commit says which commands it answered and how.
    An id that the caller gave has there, too, the time until which it is remembered (`idexpires`) and a digest of the
    command and its arguments (`commanddigest`).
    `sends` (JSON text) is on the last event of each command that sent something: see `aether.sends`. `inboxseq` is on
    the last event of a command that was told: the sequence of the tell in the inbox stream.
    """

    specversion: str = "1.0"
    id: str
    source: str
    type: str
    time: datetime
    data: Raw
    commandid: str = ""
    deadline: datetime | None = None
    correlationid: str = ""
    causationid: str = ""
    schemaversion: int = 1
    traceparent: str = ""
    inboxseq: str = ""
    reply: str | None = None
    idexpires: datetime | None = None
    commanddigest: str = ""
    sends: str = ""

    @property
    def version(self) -> Version:
        """The event's place in its actor's history, from 1."""
        return Version(int(self.id))


class StoredEvent(Event, frozen=True, kw_only=True):
    """An event that encodes: `specversion` is required by CloudEvents, so it is never omitted as a default."""

    specversion: str


MESSAGE_CHARS_KEPT = 500
"""So much of a message is stored when the whole error is larger than a commit."""

_ERROR_OPEN = b'{"error":'
_OUT_OF_TIME = b'{"error":{"code":"deadline_exceeded"'
_encoder = Encoder()
_command_decoder = Decoder(Command)
_answer_decoder = Decoder(Answer)
_commit_decoder = Decoder(list[Event])


def is_system_event(event: Event) -> bool:
    """Whether the event is Aether's own: it counts in the version, and only raw histories show it."""
    return event.type.startswith(SYSTEM_EVENT_PREFIX)


encode_stored: Callable[[list[StoredEvent]], bytes] = _encoder.encode
"""`encode_commit` for events that are all `StoredEvent`s."""


def encode_command(command: Command) -> bytes:
    """The command as JSON."""
    return _encoder.encode(command)


def decode_command(payload: bytes) -> Command:
    """The command in `payload`. Raises `InvalidCommand` with the path of the field."""
    try:
        command = _command_decoder.decode(payload)
    except ValidationError as error:
        message, path = split_path(str(error))
        raise InvalidCommand(message, path=path) from None
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidCommand(f"the command is not JSON: {error}") from None
    return checked_command(command)


def checked_command(command: Command) -> Command:
    """The command itself. Raises `InvalidCommand` for what its types do not say of its id, deadline and origin."""
    if not 0 < len(command.id) <= COMMAND_ID_CHARS_MAX:
        raise InvalidCommand(f"a command id is 1-{COMMAND_ID_CHARS_MAX} characters", path="id")
    if command.deadline.tzinfo is None:
        raise InvalidCommand("a deadline needs a time zone", path="deadline")
    correlation, cause, trace, caller = command.correlationid, command.causationid, command.traceparent, command.caller
    if len(correlation) + len(cause) + len(trace) + len(caller) > ORIGIN_CHARS_MAX:
        for name in ORIGIN:
            check_origin(getattr(command, name), name, name)
    return command


def encode_answer(value: bytes, version: int, position: int) -> bytes:
    """An answer that carries `value`, already JSON."""
    return b'{"ok":true,"value":%b,"version":%d,"position":%d}' % (value, version, position)


def encode_error(error: AetherError) -> bytes:
    """An answer that carries an error. Details that are no JSON travel as text."""
    body = error_body(error)
    try:
        return orjson.dumps({"error": body}, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        details = {_printable(name): _printable(value) for name, value in error.details.items()}
        return orjson.dumps({"error": {**body, "message": _printable(error.message), "details": details}})


ENDED_WORKERS = "ended_workers"
"""Among the details of an `ActorFailed`: the command has ended two workers, and is not run again."""

NOT_ACTIVATED = "not_activated"
"""Among the details of what a tell meets whose actor cannot be activated. The tell has not failed: it waits."""

NOT_TAKEN = "not_taken"
"""Among the details of an `InvalidCommand`: the model does not take the command that was told, so no handler ran."""


def decided(error: bytes) -> bytes:
    """The answer that `encode_error` made, said to be the command's one outcome."""
    return b'%b,"decided":true}' % error[:-1]


def parked(error: bytes) -> bytes:
    """The answer that `encode_error` made, of a tell that is parked."""
    return error[:-1] + PARKED_END


def error_data(error: bytes) -> bytes:
    """The error's body, as JSON, of an answer that `encode_error` made."""
    return error[len(_ERROR_OPEN) : -1]


def refusal(data: bytes) -> bytes:
    """The answer whose error has this body: what a stored refusal says again."""
    return b'%b%b,"decided":true}' % (_ERROR_OPEN, data)


def is_out_of_time(answer: bytes) -> bool:
    """Whether an answer says that its command had no more time: nothing was decided of it."""
    return answer.startswith(_OUT_OF_TIME)


def without_details(error: bytes) -> bytes:
    """The same answer of `encode_error`, as short as it can be: the beginning of its message and no details."""
    body = _answer_decoder.decode(error).error
    assert body is not None
    return _encoder.encode({"error": ErrorBody(body.code, body.message[:MESSAGE_CHARS_KEPT])})


def decode_answer(payload: bytes) -> Answer:
    """The answer in `payload`. Raises `AetherError` for bytes that are none."""
    try:
        return _answer_decoder.decode(payload)
    except (ValidationError, DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AetherError(f"the answer cannot be read: {error}") from None


def answer_error(body: ErrorBody) -> AetherError:
    """The error an answer carries."""
    return error_from_body(body.code, body.message, body.details)


def new_event(
    *,
    version: int,
    source: str,
    type: str,
    time: datetime,
    data: bytes,
    commandid: str = "",
    deadline: datetime | None = None,
    correlationid: str = "",
    causationid: str = "",
    schemaversion: int = 1,
    traceparent: str = "",
    inboxseq: str = "",
    reply: str | None = None,
) -> Event:
    """One event as it is stored: `version` counts from 1, `data` is the event as JSON."""
    return StoredEvent(
        specversion="1.0",
        id=str(version),
        source=source,
        type=type,
        time=time,
        data=Raw(data),
        commandid=commandid,
        deadline=deadline,
        correlationid=correlationid,
        causationid=causationid,
        schemaversion=schemaversion,
        traceparent=traceparent,
        inboxseq=inboxseq,
        reply=reply,
    )


def encode_commit(events: Sequence[Event]) -> bytes:
    """The events of one commit as a CloudEvents JSON batch. Events come from `new_event` or `decode_commit`."""
    return encode_stored([e if type(e) is StoredEvent else _restored(e) for e in events])


def told_and_done(payload: bytes, actor_id: ActorId, position: Position) -> set[str]:
    """The ids of the commands that a commit says were told and are done; none of one that cannot be read."""
    try:
        events = decode_commit(payload, actor_id, position)
    except UnreadableEvent:
        return set()
    return {event.commandid for event in events if event.inboxseq and event.type != PARKED_EVENT}


def decode_commit(payload: bytes, actor_id: ActorId, position: Position) -> list[Event]:
    """The events of one stored commit, in order.

    Raises `UnreadableEvent` with the position for bytes that are no commit: not JSON, no CloudEvents, empty, or with
    ids that do not count up by one.
    """
    try:
        events = _commit_decoder.decode(payload)
        first = int(events[0].id) if events else 0
    except (ValidationError, DecodeError, ValueError, RecursionError) as error:
        raise UnreadableEvent(f"the commit of {actor_id} at position {position} cannot be read: {error}",
                              actor=str(actor_id), position=position) from None  # fmt: skip
    if first < 1 or any(e.id != str(first + i) or e.specversion != "1.0" for i, e in enumerate(events)):
        raise UnreadableEvent(f"the commit of {actor_id} at position {position} is no run of CloudEvents 1.0",
                              actor=str(actor_id), position=position)  # fmt: skip
    return events


def instant(wall_s: float) -> datetime:
    """A wall-clock time in Unix seconds as the datetime that envelopes hold."""
    return datetime.fromtimestamp(wall_s, UTC)


def _printable(value: object) -> str:
    return str(value).encode(errors="replace").decode()


def _restored(event: Event) -> StoredEvent:
    return StoredEvent(**{field: getattr(event, field) for field in event.__struct_fields__})
