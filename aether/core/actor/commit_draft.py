"""The draft of a turn's commit: the commands that share it, the events they emitted, and the answers that wait for it.

A draft is pure bookkeeping. The turn runs the handlers; the draft knows which events belong to which command, and
numbers them. Its commit is one message, so all of it is stored or nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from msgspec import Raw
from msgspec.structs import replace

from aether.core.actor.command_log import out_of_time_name
from aether.ids import Position, Version
from aether.sends import Send, encode_sends
from aether.wire import (
    REFUSED_EVENT,
    WORKER_LOST_EVENT,
    Command,
    Event,
    StoredEvent,
    encode_answer,
    encode_stored,
    is_out_of_time,
    refusal,
)

SEND_BYTES_MIN = 64
"""What something that a command sends takes in a commit, at the least, beside its arguments."""


class IdRetention(NamedTuple):
    """For how long an id that the caller gave is remembered, and what it was given to."""

    until: datetime
    digest: str


class EmittedEvent:
    """An event of the command that runs now, encoded."""

    __slots__ = ("body", "schema_version", "type")

    def __init__(self, type: str, schema_version: int, body: bytes) -> None:
        self.type = type
        self.schema_version = schema_version
        self.body = body


Pending = TypeVar("Pending")


class PendingReply(Generic[Pending]):
    """A command that has run in this turn and waits for the commit: with its reply, or the encoded error.

    `fresh` says that it was decided as the first send of its id, and that nothing of it is stored.
    """

    __slots__ = ("error", "fresh", "pending", "reply", "stored", "version")

    def __init__(
        self, pending: Pending, version: Version, reply: bytes | None, error: bytes | None, stored: bool, fresh: bool
    ) -> None:
        self.pending = pending
        self.version = version
        self.reply = reply
        self.error = error
        self.stored = stored
        self.fresh = fresh


class CommitDraft(Generic[Pending]):
    """The draft of the turn that is open of one actor, from `version` on. One writer: that turn."""

    __slots__ = ("_chunks", "bytes", "emitted", "replies", "sends", "sent", "sent_bytes", "source", "version")

    def __init__(self, source: str, version: Version) -> None:
        self.source = source
        self.version: int = version
        self.emitted: list[EmittedEvent] = []
        self.replies: list[PendingReply[Pending]] = []
        self.sent: list[Send] | None = None
        """What the running command has sent, None for nothing."""
        self.sent_bytes = 0
        """So many bytes of the commit that takes at least: see `send`."""
        self.sends: list[Send] | None = None
        """What the commands before it have sent, in their order."""
        self.bytes = 1
        self._chunks: list[bytes] = []

    @property
    def has_events(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self._chunks)

    @property
    def version_before(self) -> int:
        """The version before the running command."""
        return self.version - len(self.emitted)

    def emit(self, emitted: EmittedEvent) -> None:
        """Add an event of the running command."""
        self.emitted.append(emitted)
        self.version += 1

    def discard(self) -> int:
        """Undo the running command: how many events it had emitted."""
        count = len(self.emitted)
        self.version -= count
        self.emitted.clear()
        self.sent, self.sent_bytes = None, 0
        return count

    def send(self, send: Send, args_bytes: int = 0) -> None:
        """Add something that the running command sends; its arguments take so many bytes."""
        if self.sent is None:
            self.sent = []
        self.sent.append(send)
        self.sent_bytes += SEND_BYTES_MIN + args_bytes

    def encode(
        self,
        command: Command,
        reply: bytes | None,
        now: datetime,
        retention: IdRetention | None = None,
        told_at: int = 0,
    ) -> bytes:
        """The running command's part of the commit; its last event carries the reply and what it has sent.

        `retention` is for an id that the caller gave, `told_at` the sequence of a command that was told. One told by an
        actor is known by that, and its id is not remembered.
        """
        first = self.version - len(self.emitted) + 1
        last = self.version
        command_id, deadline, traceparent = command.id, command.deadline, command.traceparent
        correlation_id, causation_id = command.correlationid or command_id, command.causationid or command_id
        events = [
            StoredEvent(
                specversion="1.0",
                id=str(version),
                source=self.source,
                type=item.type,
                time=now,
                data=Raw(item.body),
                commandid=command_id,
                deadline=deadline,
                correlationid=correlation_id,
                causationid=causation_id,
                schemaversion=item.schema_version,
                traceparent=traceparent,
                reply=reply.decode() if version == last and reply is not None else None,
            )
            for version, item in enumerate(self.emitted, first)
        ]
        if retention is not None:
            events[-1] = replace(events[-1], idexpires=retention.until, commanddigest=retention.digest)
        if told_at or self.sent is not None:
            self._mark_last(events, told_at, forget_id=retention is None)
        return encode_stored(events)[1:-1]

    def encode_within(
        self,
        bytes_max: int,
        command: Command,
        reply: bytes | None,
        now: datetime,
        retention: IdRetention | None,
        told_at: int = 0,
    ) -> bytes | None:
        """As `encode`. None, and the running command's events are undone, where the commit would exceed `bytes_max`."""
        chunk = self.encode(command, reply, now, retention, told_at)
        if self.bytes + len(chunk) + 1 <= bytes_max:
            return chunk
        self.discard()
        return None

    def _mark_last(self, events: list[StoredEvent], told_at: int, *, forget_id: bool) -> None:
        last = events[-1]
        if self.sent is not None:
            last = replace(last, sends=encode_sends(self.sent))
        if told_at:
            last = replace(last, inboxseq=str(told_at))
        events[-1] = last
        if told_at and forget_id:
            events[:] = [replace(event, deadline=None) for event in events]

    def accept(self, pending: Pending, reply: bytes, chunk: bytes, *, fresh: bool = False) -> None:
        """The running command succeeded: `chunk`, its encoded events, joins the commit and its reply waits for it."""
        self.replies.append(PendingReply(pending, Version(self.version), reply, None, bool(chunk), fresh))
        self._join(chunk)

    def refuse(
        self, pending: Pending, error: bytes, chunk: bytes = b"", *, fresh: bool = False, final: bool = True
    ) -> None:
        """The command failed. Its error waits for the commit: of other commands' events, or of its own `chunk`."""
        stored = bool(chunk) and final
        self.replies.append(PendingReply(pending, Version(self.version), None, error, stored, fresh))
        self._join(chunk)

    def payload(self) -> bytes:
        """The commit."""
        return b"[%b]" % b",".join(self._chunks)

    def _join(self, chunk: bytes) -> None:
        if chunk:
            self.emitted.clear()
            if self.sent is not None:
                self.sends = [*(self.sends or ()), *self.sent]
                self.sent, self.sent_bytes = None, 0
            self.bytes += len(chunk) + 1
            self._chunks.append(chunk)


class CommittedCommand(NamedTuple):
    """What a stored commit says of a command: its answer, and until when its id is remembered (Unix seconds).

    `digest` is empty for an id that the library made, and for what an earlier version stored. `answer` is empty for a
    command that has not been answered but has ended a worker.
    """

    command_id: str
    answer: bytes
    expires_s: float
    digest: str


def committed_commands(
    events: Sequence[Event], position: Position, now_s: float, margin_s: float
) -> list[CommittedCommand]:
    """The commands that a stored commit answered and that are still remembered at `now_s` (Unix seconds).

    An id that the library made is remembered until its command's deadline and `margin_s` more.
    """
    return [
        CommittedCommand(_remembered_as(event, answer), answer, expires_s, event.commanddigest)
        for event in events
        if event.commandid
        and (expires_s := _remembered_until_s(event, margin_s)) > now_s
        and (answer := _answer_of(event, position)) is not None
    ]


def _remembered_as(event: Event, answer: bytes) -> str:
    if event.idexpires is not None and event.deadline is not None and is_out_of_time(answer):
        return out_of_time_name(event.commandid, event.deadline)
    return event.commandid


def _answer_of(event: Event, position: Position) -> bytes | None:
    if event.reply is not None:
        return encode_answer(event.reply.encode(), event.version, position)
    if event.type == WORKER_LOST_EVENT:
        return b""
    return refusal(bytes(event.data)) if event.type == REFUSED_EVENT else None


def _remembered_until_s(event: Event, margin_s: float) -> float:
    if event.idexpires is not None:
        return event.idexpires.timestamp()
    return event.deadline.timestamp() + margin_s if event.deadline is not None else 0.0
