"""Histories and snapshots: what an append is and what can become of it, and the stores that keep them.

Outcomes that are expected are values (`Committed`, `Conflict`); an append without an acknowledgement is a third thing,
`Unknown`, and never guessed. Why some value classes are written by hand: `docs/hot-path.md`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol, TypeAlias

from aether.errors import Unavailable
from aether.ids import ActorId, Position, Version
from aether.wire import Event

START = Position(0)
"""The position before an actor's first commit."""


class Committed:
    """The commit is stored, at `position`."""

    __slots__ = ("position",)
    __match_args__: ClassVar[tuple[str, ...]] = ("position",)

    def __init__(self, position: Position) -> None:
        self.position = position

    def __eq__(self, other: object) -> bool:
        return self.position == other.position if isinstance(other, Committed) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.position)

    def __repr__(self) -> str:
        return f"Committed({self.position})"


@dataclass(frozen=True, slots=True)
class Conflict:
    """The commit is not stored: the actor's last position was another than expected."""


@dataclass(frozen=True, slots=True)
class Fenced:
    """The commit was not sent: the shard's lease had ended."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The commit is not stored: the store said that it takes none now, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It is not known whether the commit is stored: read the history to find out.

    `unanswered`: the store was there and has said nothing.
    """

    reason: str
    unanswered: bool = False


AppendOutcome: TypeAlias = Committed | Conflict | Fenced | Refused | Unknown


class StoredCommit:
    """One stored commit: a CloudEvents JSON batch at a position."""

    __slots__ = ("actor_id", "payload", "position")

    def __init__(self, actor_id: ActorId, position: Position, payload: bytes) -> None:
        self.actor_id = actor_id
        self.position = position
        self.payload = payload

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StoredCommit):
            return NotImplemented
        mine, theirs = (self.actor_id, self.position, self.payload), (other.actor_id, other.position, other.payload)
        return mine == theirs

    def __hash__(self) -> int:
        return hash((self.actor_id, self.position))

    def __repr__(self) -> str:
        return f"StoredCommit({self.actor_id!r}, {self.position}, {self.payload!r})"


class Append:
    """An encoded commit to append if the actor's last position is `expected`; `done` gets the outcome, once.

    `may_send` is asked before the commit is sent again on its own; when it says no, the outcome is `Fenced`.
    """

    __slots__ = ("actor_id", "done", "expected", "may_send", "payload")

    def __init__(
        self,
        actor_id: ActorId,
        payload: bytes,
        expected: Position,
        done: Callable[[AppendOutcome], None],
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        self.actor_id = actor_id
        self.payload = payload
        self.expected = expected
        self.done = done
        self.may_send = may_send


class Durability(Protocol):
    """Up to where the stream of commits is on the disk, for a server whose acknowledgement alone does not say that."""

    @property
    def position(self) -> Position:
        """All up to here is known to be on the disk."""
        ...

    def after_write(self, position: Position, done: Callable[[str], None]) -> None:
        """Call `done("")` once a commit that was acknowledged just now is on the disk, else with the reason."""
        ...

    def after_read(self, position: Position, done: Callable[[str], None]) -> None:
        """The same for what was read, up to a position; maybe at once."""
        ...

    def after_notice(self, position: Position, done: Callable[[str], None]) -> None:
        """The same for a notice, for which no caller waits."""
        ...

    def after_question(self, position: Position, done: Callable[[str], None]) -> None:
        """The same for a position that another program says it has read. It is believed for that program only."""
        ...

    def forget(self) -> None:
        """What is known is of another stream than is there now."""
        ...


class EventStore(Protocol):
    """The histories of all actors. What it says was stored, or read, is as durable as it will be."""

    @property
    def commit_bytes_max(self) -> int:
        """Largest payload of one commit, in bytes."""
        ...

    def publish(
        self, actor_id: ActorId, payload: bytes, expected: Position, done: Callable[[AppendOutcome], None]
    ) -> None:
        """Append an encoded commit if the actor's last position is `expected`; `done` gets the outcome, once.

        The hot path: never blocks, never raises; `done` may be called before this returns.
        """
        ...

    @property
    def together_max(self) -> int:
        """How many commits `publish_together` takes at most; 1 where it has no advantage."""
        ...

    def publish_together(self, appends: Sequence[Append]) -> None:
        """Append commits of different actors in one go, at most `together_max`; each has its own outcome.

        Like `publish`, and one commit's conflict does not keep the others from being stored.
        """
        ...

    async def appends_refused(self) -> str:
        """Why an append would be refused now, as the store says, or "" when it would be taken. It stores nothing.

        Raises `Unavailable` when the store says nothing.
        """
        ...

    async def append(self, actor_id: ActorId, events: Sequence[Event], expected: Position) -> AppendOutcome:
        """`publish` for events, awaited. Raises `InvalidCommand` when they are over `commit_bytes_max` or none."""
        ...

    def read(
        self, actor_id: ActorId, after: Position = START, until: Position | None = None
    ) -> AsyncIterator[StoredCommit]:
        """Commits after a position, in order, complete up to `until` (default: the leader's last position now).

        Raises `Unavailable` when that cannot be reached.
        """
        ...

    async def last(self, actor_id: ActorId) -> StoredCommit | None:
        """The actor's last commit, as the leader of the stream knows it; None for an actor without history."""
        ...

    async def latest_version(self, actor_id: ActorId) -> Version:
        """The actor's version, from the version cache where stored-event notices keep it current, else from `last`."""
        ...


class Listing(Protocol):
    """Which actors there are. Event stores have it for clients; no runtime needs it."""

    async def keys(self, kind: str, shard: int) -> list[str]:
        """The keys of a kind's actors of one shard that have a history, each once, in any order.

        Raises `Unavailable`.
        """
        ...

    async def actors(self, shard: int) -> list[ActorId]:
        """The actors of all kinds of one shard that have a history, each once, in any order. Raises `Unavailable`."""
        ...


class StreamReading(Protocol):
    """The commits of all actors in their common order. Event stores have it for clients; no runtime needs it."""

    def read_stream(
        self, after: Position, until: Position, *, kind: str | None = None, key: str | None = None
    ) -> AsyncIterator[list[StoredCommit]]:
        """The commits of all actors, of one kind, or of one actor, after a position and up to another, in order.

        Some at a time, none left out. `key` needs `kind`. Raises `Unavailable`.
        """
        ...

    def search_stream(
        self, after: Position, until: Position, having: bytes
    ) -> AsyncIterator[tuple[Position, list[StoredCommit]]]:
        """The commits of all actors that hold these bytes, after a position and up to another, in order.

        Each step says up to where all are found, the last one up to `until`. Raises `Unavailable`.
        """
        ...

    async def positions_since(self, time: datetime) -> tuple[Position, Position]:
        """The position before the first commit that was stored at this time or later, and that of the last commit.

        Whether these commits are on the disk is not asked. Raises `Unavailable`.
        """
        ...

    async def last_position(self) -> Position:
        """The position of the last commit of all, once it is durable; `START` when there is none.

        Raises `Unavailable`.
        """
        ...


class SnapshotStore(Protocol):
    """One value an actor, the last writer wins; never authoritative."""

    @property
    def snapshot_bytes_max(self) -> int:
        """Largest snapshot, in bytes; a larger one raises `InvalidCommand`."""
        ...

    async def load(self, actor_id: ActorId) -> bytes | None:
        """The last saved snapshot."""
        ...

    async def save(self, actor_id: ActorId, value: bytes) -> None:
        """Replace the snapshot."""
        ...

    async def delete(self, actor_id: ActorId) -> None:
        """Remove the snapshot; nothing happens when there is none."""
        ...

    async def delete_kind(self, kind: str) -> int:
        """Remove the snapshots of all actors of a kind; how many there were."""
        ...


class NotStored(Unavailable):
    """A write that has changed nothing: the store said no, for a reason that is no other writer's doing."""
