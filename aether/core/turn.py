"""One turn: the commands that share a commit, the events they emitted, and the answers that wait for it.

A turn is pure bookkeeping. The virtual machine runs the handlers; the turn knows which events belong to which
command, numbers them, and says what an outcome means for each answer. Its commit is one message, so all of it is
stored or nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar

from msgspec import Raw

from aether.ids import ActorId, Position, Version
from aether.wire import Command, Event, StoredEvent, encode_stored


class Emitted:
    """An event of the command that runs now, encoded."""

    __slots__ = ("body", "schema_version", "type")

    def __init__(self, type: str, schema_version: int, body: bytes) -> None:
        self.type = type
        self.schema_version = schema_version
        self.body = body


Waiting = TypeVar("Waiting")


class Answered(Generic[Waiting]):
    """A command that has run in this turn and waits for the commit: with its reply, or the encoded error."""

    __slots__ = ("error", "reply", "stored", "version", "waiting")

    def __init__(
        self, waiting: Waiting, version: Version, reply: bytes | None, error: bytes | None, stored: bool
    ) -> None:
        self.waiting = waiting
        self.version = version
        self.reply = reply
        self.error = error
        self.stored = stored


class Turn(Generic[Waiting]):
    """The open turn of one actor, from `version` on. One writer: its virtual machine."""

    __slots__ = ("_chunks", "answered", "bytes", "emitted", "source", "version")

    def __init__(self, source: str, version: Version) -> None:
        self.source = source
        self.version: int = version
        self.emitted: list[Emitted] = []
        self.answered: list[Answered[Waiting]] = []
        self.bytes = 1
        self._chunks: list[bytes] = []

    @property
    def stores(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self._chunks)

    def emit(self, emitted: Emitted) -> None:
        """Add an event of the running command."""
        self.emitted.append(emitted)
        self.version += 1

    def discard(self) -> int:
        """Undo the running command: how many events it had emitted."""
        count = len(self.emitted)
        self.version -= count
        self.emitted.clear()
        return count

    def encoded(self, command: Command, reply: bytes, now: datetime) -> bytes:
        """The running command's part of the commit; its last event carries the reply."""
        first = self.version - len(self.emitted) + 1
        last = self.version
        correlation_id = command.correlationid or command.id
        events = [
            StoredEvent(
                specversion="1.0",
                id=str(version),
                source=self.source,
                type=item.type,
                time=now,
                data=Raw(item.body),
                commandid=command.id,
                deadline=command.deadline,
                correlationid=correlation_id,
                causationid=command.id,
                schemaversion=item.schema_version,
                traceparent=command.traceparent,
                reply=reply.decode() if version == last else None,
            )
            for version, item in enumerate(self.emitted, first)
        ]
        return encode_stored(events)[1:-1]

    def accept(self, waiting: Waiting, reply: bytes, chunk: bytes) -> None:
        """The running command succeeded: `chunk`, its `encoded` events, joins the commit and its reply waits for it."""
        self.answered.append(Answered(waiting, Version(self.version), reply, None, bool(chunk)))
        if chunk:
            self.emitted.clear()
            self.bytes += len(chunk) + 1
            self._chunks.append(chunk)

    def refuse(self, waiting: Waiting, error: bytes) -> None:
        """The command failed after others emitted: its error waits for their commit, which it may depend on."""
        self.answered.append(Answered(waiting, Version(self.version), None, error, False))

    def payload(self) -> bytes:
        """The commit."""
        return b"[%b]" % b",".join(self._chunks)


class Recalled(NamedTuple):
    """What a stored commit says of a command: its reply and version, and until when to retry it (Unix seconds)."""

    command_id: str
    reply: bytes
    version: Version
    deadline_s: float


def recall(events: Sequence[Event]) -> list[Recalled]:
    """The commands that a stored commit answered."""
    return [
        Recalled(event.commandid, event.reply.encode(), event.version, event.deadline.timestamp())
        for event in events
        if event.commandid and event.deadline is not None and event.reply is not None
    ]


def history_error(actor_id: ActorId, position: Position, found: int, expected: int) -> str:
    """What to say of a commit that does not follow its predecessor."""
    return f"the history of {actor_id} at position {position} goes on with version {found}, not {expected}"
