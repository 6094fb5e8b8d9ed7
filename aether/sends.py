"""What a turn sends beside its events: tells, schedules and tasks, as they stand in its commit.

They are JSON text in `sends` of the last event of the command that sent them, so they are stored with its events or
not at all. From there the owner of the sender's shard brings each to where it belongs, in their order: a tell or a task
into the inbox stream, a schedule to the server's timers. `aether.core.relay` says how none is lost on the way.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeAlias
from uuid import UUID, uuid5

from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace

from aether.errors import InvalidCommand, UnreadableEvent
from aether.ids import ActorId, Position
from aether.tells import EMPTY_ARGS, TELL, Tell
from aether.wire import Event

SENDS_MARK = b'"sends":"'
"""Stands in every commit that sends something, and seldom in another."""

RESULT = "task:"
"""Begins the command id of a task's result; the task's id follows."""

FIRING = "timer:"
"""Begins the command id of a schedule's tick; the setting's id follows, `@`, and when it was due."""

BY_ACTOR = "actor"
"""Why a task is cancelled that its actor has cancelled: nothing waits for its result any more."""

_IDS = UUID("6f1f8c0e-7d0c-4b3a-9d55-1c7f0f4a2b6e")


class _Placed(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="tag"):
    """Who sends it and where, which the relayer fills in.

    - `source`: the actor, as `kind/key`.
    - `position` and `number`: the place: the position of the commit; which of its sends, from 0.
    """

    source: str = ""
    position: int = 0
    number: int = 0

    @property
    def actor_id(self) -> ActorId:
        """The actor that sends it. Raises `InvalidCommand`."""
        kind, _, key = self.source.partition("/")
        return ActorId(kind, key)


class _Caused(_Placed, frozen=True, kw_only=True, omit_defaults=True):
    """And because of which command: what that command has of these goes on in what it causes."""

    correlationid: str = ""
    causationid: str = ""
    traceparent: str = ""


class SetSchedule(_Caused, frozen=True, kw_only=True, omit_defaults=True, tag="schedule"):
    """From `at` on (UTC) the actor has a command run, once or by a rule; it takes the place of one of the same name.

    - `id`: which setting of this name it is; a tick of another one is ignored.
    - `at`: when the next tick is due.
    - `rule`, `zone`, `catch_up`: how it goes on after that; "" for a single tick.
    - `kind`, `key`, `command`, `args`: what is run.
    """

    name: str
    id: str
    at: datetime
    kind: str
    key: str
    command: str
    args: Raw = EMPTY_ARGS
    rule: str = ""
    zone: str = ""
    catch_up: str = ""

    @property
    def firing_id(self) -> str:
        """The command id of its next tick."""
        return f"{FIRING}{self.id}@{self.at.isoformat()}"


class CancelSchedule(_Placed, frozen=True, kw_only=True, omit_defaults=True, tag="unschedule"):
    """The actor's schedule of this name has no further ticks."""

    name: str


class StartTask(_Caused, frozen=True, kw_only=True, omit_defaults=True, tag="task"):
    """A function is run outside of any turn; its result comes to a command of the actor that started it.

    - `id`: the same on every attempt. `task`: the name of the function in the model.
    - `then`, `failed`: commands of the same actor, for the result and for `TaskFailed`; "" for none.
    """

    id: str
    task: str
    args: Raw = EMPTY_ARGS
    then: str = ""
    failed: str = ""

    @property
    def result_id(self) -> str:
        """The command id of its result."""
        return f"{RESULT}{self.id}"


class CancelTask(_Placed, frozen=True, kw_only=True, omit_defaults=True, tag="cancel-task"):
    """The result of a task is not wanted any more."""

    id: str


Send: TypeAlias = Tell | SetSchedule | CancelSchedule | StartTask | CancelTask
"""Each has its `source`, and its place: `position` of the commit and `number` in it."""


class _Tagged(Struct, frozen=True):
    tag: str = TELL


_Decode: TypeAlias = Callable[[Raw], Send]

_encoder = Encoder()
_start_decoder = Decoder(StartTask)
_items = Decoder(list[Raw])
_tag_of = Decoder(_Tagged)
_schedule_decoder: Decoder[SetSchedule | CancelSchedule] = Decoder(SetSchedule | CancelSchedule)
_decode_of: dict[str, _Decode] = {
    TELL: Decoder(Tell).decode,
    "schedule": Decoder(SetSchedule).decode,
    "unschedule": Decoder(CancelSchedule).decode,
    "task": Decoder(StartTask).decode,
    "cancel-task": Decoder(CancelTask).decode,
}


def due_of(command_id: str) -> datetime | None:
    """When the tick was due that comes as this command; None for any other command."""
    if not command_id.startswith(FIRING):
        return None
    try:
        return datetime.fromisoformat(command_id.rpartition("@")[2])
    except ValueError:  # another program has told it
        return None


def made_id(actor_id: ActorId, command_id: str, version: int, number: int) -> str:
    """The id of what a command makes as its `number`th: the same one when its handler runs again.

    `version` is that of the actor before the command: an id that the caller gives may come again after its time, and is
    carried out anew then.
    """
    return str(uuid5(_IDS, f"{actor_id}\n{command_id}\n{version}\n{number}"))


def size_of(send: Send) -> int:
    """The bytes of its arguments."""
    return 0 if isinstance(send, CancelSchedule | CancelTask) else len(send.args)


def encode_sends(sends: Sequence[Send]) -> str:
    """What a command sends, as the text that its last event carries."""
    return _encoder.encode(list(sends)).decode()


def encode_send(send: Send) -> bytes:
    """One of them, as it is relayed."""
    return _encoder.encode(send)


def decode_start(payload: bytes) -> StartTask:
    """The start of a task in a message of the inbox stream. Raises `InvalidCommand` for bytes that are none."""
    try:
        start = _start_decoder.decode(payload)
        start.actor_id  # noqa: B018 - checks kind and key
    except (ValidationError, DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidCommand(f"a message of the inbox is no start of a task: {error}") from None
    return start


def is_start_of(payload: bytes, task_id: str) -> bool:
    """Whether a message of the inbox stream is the start of this task."""
    try:
        return decode_start(payload).id == task_id
    except InvalidCommand:
        return False


def decode_schedule(payload: bytes) -> SetSchedule | CancelSchedule:
    """What a timer holds. Raises `UnreadableEvent`."""
    try:
        return _schedule_decoder.decode(payload)
    except (ValidationError, DecodeError, RecursionError) as error:
        raise UnreadableEvent(f"a timer cannot be read: {error}", actor="", position=0) from None


def sent_by(events: Sequence[Event], actor_id: ActorId, position: Position) -> list[Send]:
    """What a stored commit sends, in order, each with its place. Raises `UnreadableEvent` for what is unknown."""
    found: list[Send] = []
    for event in events:
        if event.sends:
            found += decode_sends(event, actor_id, position)
    return placed(found, actor_id, position)


def placed(sends: Sequence[Send], actor_id: ActorId, position: Position, first: int = 0) -> list[Send]:
    """What one commit sends, each with its place; the number of the first one is `first`."""
    source, place = str(actor_id), int(position)
    return [replace(send, source=source, position=place, number=number) for number, send in enumerate(sends, first)]


def decode_sends(event: Event, actor_id: ActorId, position: Position) -> list[Send]:
    """What an event's command has sent, without places. Raises `UnreadableEvent` for what is unknown."""
    try:
        return [_decoded(item) for item in _items.decode(event.sends)]
    except (ValidationError, DecodeError, RecursionError, ValueError) as error:
        text = f"what the commit of {actor_id} at position {position} sends cannot be read: {error}"
        raise UnreadableEvent(text, actor=str(actor_id), position=position) from None


def _decoded(item: Raw) -> Send:
    tag = _tag_of.decode(item).tag
    decode = _decode_of.get(tag)
    if decode is None:
        raise ValueError(f"it sends a {tag!r}, which this version does not know")
    return decode(item)
