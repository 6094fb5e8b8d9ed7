"""What the runtime asks of the world, as Protocols; adapters in `memory`, `jetstream` and `system` answer.

Every adapter pair passes one contract suite. Outcomes that are expected are values (`Committed`, `Conflict`); an
append without an acknowledgement is a third thing, `Unknown`, and never guessed. Callbacks given to a port are
synchronous and must not raise. Why some value classes are written by hand: `docs/hot-path.md`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, TypeAlias

from aether.errors import Unavailable
from aether.ids import ActorId, Position, Version
from aether.wire import Event

START = Position(0)
"""The position before an actor's first commit."""


# ---------------------------------------------------------------------------------------------------- events


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
        """The same for what was heard of, by who is in no hurry."""
        ...

    def after_question(self, position: Position, done: Callable[[str], None]) -> None:
        """The same for a position that another program says it has read. It is believed for that program only."""
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


class StreamReading(Protocol):
    """The commits of all actors in their common order. Event stores have it for clients; no runtime needs it."""

    def read_stream(
        self, after: Position, until: Position, *, kind: str | None = None, key: str | None = None
    ) -> AsyncIterator[list[StoredCommit]]:
        """The commits of all actors, of one kind, or of one actor, after a position and up to another, in order.

        Some at a time, none left out. `key` needs `kind`. Raises `Unavailable`.
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


# ---------------------------------------------------------------------------------------------------- bus


@dataclass(frozen=True, slots=True)
class EventStored:
    """Notice that a commit was stored: after it the actor is at `version` and `position`."""

    actor_id: ActorId
    version: Version
    position: Position


class Subscription(Protocol):
    """Something that goes on until stopped."""

    async def stop(self) -> None:
        """End it. What was already delivered has been handed over when this returns. Idempotent."""
        ...


class EventBus(Protocol):
    """Every stored commit, on every node, in stream order; gaps are noticed and filled from the store."""

    async def subscribe(
        self, receive: Callable[[StoredCommit], None], *, kind: str | None = None, key: str | None = None
    ) -> Subscription:
        """Deliver commits stored from now on, of all actors, of one kind, or of one actor."""
        ...

    async def subscribe_to_event_stored(self, receive: Callable[[EventStored], None]) -> Subscription:
        """Deliver a notice for each commit stored from now on."""
        ...

    async def follow_shards(self, shards: Sequence[int], receive: Callable[[StoredCommit], None]) -> Subscription:
        """Deliver the commits of some shards as they are stored, cheaply: a lost one is not noticed here."""
        ...


# ---------------------------------------------------------------------------------------------------- tells


class InboxMessage(NamedTuple):
    """A message of the inbox stream; sequences grow and are never used twice."""

    sequence: int
    payload: bytes


class Inbox(Protocol):
    """The stream of tells, and which commits send some. What is read is on the disk. All of it raises `Unavailable`."""

    @property
    def tell_bytes_max(self) -> int:
        """Largest tell, in bytes."""
        ...

    async def relay_mark(self, shard: int) -> InboxMessage | None:
        """The shard's relay mark, as the stream's leader knows it; None when nothing of the shard was ever sent."""
        ...

    async def claim_relay(self, shard: int, payload: bytes, expected: int) -> int | None:
        """Write the mark: its sequence; or None, and nothing is stored, if the last is not at `expected` (0: none)."""
        ...

    async def move_relay_mark(self, shard: int, payload: bytes, mark: int) -> int | None:
        """Write the mark in place of our own, which is at `mark`; as `relay` does."""
        ...

    async def relay(self, target: int, source: int, payload: bytes, mark: int) -> int | None:
        """Store a tell: its sequence, or None, and nothing is stored, when the source's mark is not at `mark`.

        None, too, when that mark was not written over this very connection: after another one began the server may
        have lost what it had stored last, and the mark's sequence may be another message's.
        """
        ...

    async def relayed(self, source: int, after: int, mark: int) -> list[InboxMessage]:
        """The tells from a shard after a sequence, in order: all that stand before its mark, which is at `mark`."""
        ...

    async def end_of_commits(self) -> Position:
        """The last position of the stream of commits, as its leader knows it."""
        ...

    async def commits_that_send(self, shard: int, after: Position, until: Position) -> list[StoredCommit]:
        """The commits of a shard that send something, and maybe some that do not, in order and complete."""
        ...

    async def tells(self, target: int, after: int) -> list[InboxMessage]:
        """Some of the tells to a shard after a sequence, in order and without a gap; none when there are no more."""
        ...

    async def send(self, target: int, payload: bytes, message_id: str) -> int:
        """Store a client's tell, once for an id that comes again within two minutes; its sequence."""
        ...

    async def applied_mark(self, shard: int) -> int:
        """Up to which sequence all tells to a shard are applied, as it was written last; 0 when it never was."""
        ...

    async def write_applied_mark(self, shard: int, sequence: int) -> None:
        """Write that all tells to a shard up to this sequence are applied, which stays true."""
        ...

    async def follow(self, shard: int, rung: Callable[[], None]) -> Subscription:
        """Call back when a tell to the shard was stored, and when some may have been; best effort."""
        ...

    def on_connected(self, connected: Callable[[], None]) -> Callable[[], None]:
        """Call this with each new connection, until what is returned is called."""
        ...


# ---------------------------------------------------------------------------------------------------- table


class Row(NamedTuple):
    """A row of the table: `value` is None when it was deleted or expired; `revision` orders all rows."""

    key: str
    value: bytes | None
    revision: int


class Table(Protocol):
    """Compare-and-set key-value with time to live and one ordered watch."""

    async def create(self, key: str, value: bytes, ttl_s: float | None = None) -> int | None:
        """The new row's revision, or None when the key already has a row. Raises `Unavailable` when unknown."""
        ...

    async def update(self, key: str, value: bytes, revision: int, ttl_s: float | None = None) -> int | None:
        """The row's next revision, or None when it is no longer at `revision`. Raises `Unavailable` when unknown."""
        ...

    async def delete(self, key: str, revision: int) -> bool:
        """Whether the row was still at `revision` and is now gone. Raises `Unavailable` when unknown."""
        ...

    async def get(self, key: str) -> Row | None:
        """The live row, for display and tests; ownership is never decided from it."""
        ...

    async def rows(self, prefix: str = "") -> list[Row]:
        """All live rows whose key starts with `prefix`, by key."""
        ...

    async def watch(self, receive: Callable[[Row], None], completed: Callable[[], None] = lambda: None) -> Subscription:
        """First every live row, then changes in revision order; an expiry or deletion has the value None.

        A change that a later one of the same row overtook may be left out: the last change of every row always comes.
        `completed` is called when every row has been delivered as of one revision: after the beginning, and again after
        each time that the watch was interrupted and has caught up.
        """
        ...


# ---------------------------------------------------------------------------------------------------- transport


class Delivery:
    """A command that reached its owner: `payload` is a `wire.Command`; `respond` sends one `wire.Answer`, at once."""

    __slots__ = ("actor_id", "payload", "respond", "shard")

    def __init__(self, shard: int, actor_id: ActorId, payload: bytes, respond: Callable[[bytes], None]) -> None:
        self.shard = shard
        self.actor_id = actor_id
        self.payload = payload
        self.respond = respond


class NotSent(Unavailable):
    """The request reached no worker (no owner, no connection to send it on), so it has changed nothing."""


class NotStored(Unavailable):
    """A write that has changed nothing: the store said no, for a reason that is no other writer's doing."""


class Transport(Protocol):
    """Commands that wait for an answer, and word of who answers them now."""

    @property
    def request_bytes_max(self) -> int:
        """Largest command, in bytes."""
        ...

    async def serve(self, shard: int, receive: Callable[[Delivery], None]) -> Subscription:
        """Receive the commands of a shard. After `stop`, all that were delivered have been received."""
        ...

    def request(self, actor_id: ActorId, payload: bytes, timeout_s: float) -> Awaitable[bytes]:
        """The answer of the shard's owner, to be awaited; called or awaited, it may raise.

        `NotSent` for no owner or no connection; plain `Unavailable` for a lost connection, a time-out, or, while
        owners are followed, when the shard has got another owner meanwhile; `InvalidCommand` over `request_bytes_max`.
        """
        ...

    def announce(self, shards: Sequence[int]) -> None:
        """Tell waiting callers that these shards are served from here now. Best effort; never raises."""
        ...

    async def follow_owners(self) -> Subscription:
        """Hear announcements, for the requests of this connection."""
        ...

    async def answer_status(self, inform: Callable[[], bytes]) -> Subscription:
        """Answer status requests for this worker. Raises `Unavailable`."""
        ...

    async def ask_status(self, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        """Ask all workers how they are: `enough` gets each answer, until it is or the time is up.

        Returns at once when there is no connection or no worker. Never raises.
        """
        ...

    async def owner_announced(self, actor_id: ActorId, since_s: float, timeout_s: float) -> None:
        """Return when an owner of the actor's shard was announced after `since_s` (event loop time), or in time."""
        ...


# ---------------------------------------------------------------------------------------------------- the rest


class Clock(Protocol):
    """Time as arguments: two clocks and nothing else."""

    def wall_s(self) -> float:
        """Unix time in seconds, for deadlines and records."""
        ...

    def boot_s(self) -> float:
        """Seconds that count on while the machine sleeps (`CLOCK_BOOTTIME`), for leases."""
        ...


class Lease(Protocol):
    """The right to run the commands of a shard, to commit for its actors and to answer for them."""

    def valid(self, shard: int, boot_s: float) -> bool:
        """Whether a turn may run, and a commit or an answer may leave, at this instant."""
        ...

    @property
    def stored_format(self) -> int:
        """The newest format of stored events that every member reads (`aether.wire.STORED_FORMAT`)."""
        ...


class Connection(Protocol):
    """The adapters made over one connection to the outside: what a Runtime needs beside its event store."""

    @property
    def namespace(self) -> str: ...  # noqa: D102 - a field
    @property
    def shards(self) -> int: ...  # noqa: D102 - a field
    @property
    def transport(self) -> Transport: ...  # noqa: D102 - a field
    @property
    def snapshots(self) -> SnapshotStore: ...  # noqa: D102 - a field
    @property
    def bus(self) -> EventBus: ...  # noqa: D102 - a field
    @property
    def table(self) -> Table: ...  # noqa: D102 - a field
    @property
    def clock(self) -> Clock: ...  # noqa: D102 - a field


class HandlerNote(Protocol):
    """Where a thread notes which handler is on its stack; the supervisor reads it when the worker has died."""

    def begin(self, actor_id: ActorId, command: str, command_id: str) -> None:
        """A handler of this command begins or goes on; without a command it is the actor's replay."""
        ...

    def end(self) -> None:
        """None is on the stack any more."""
        ...


class WorkerNote(Protocol):
    """The notes of a worker's threads."""

    @property
    def loop(self) -> HandlerNote:
        """That of the event loop."""
        ...

    def of_thread(self) -> HandlerNote | None:
        """That of the calling thread, which runs blocking handlers; None when it has none."""
        ...


class ActiveVM(Protocol):
    """An actor in memory, as the cluster sees it."""

    @property
    def actor_id(self) -> ActorId: ...  # noqa: D102 - a field
    @property
    def shard(self) -> int: ...  # noqa: D102 - a field


class VMProvider(Protocol):
    """How the cluster asks a runtime for its active VMs and stops them."""

    def get_active_vms(self, shard: int | None = None) -> Sequence[ActiveVM]:
        """The active actors, of one shard or of all."""
        ...

    def stop_vm(self, actor_id: ActorId) -> Awaitable[None]:
        """Finish, snapshot and forget one active actor."""
        ...

    async def serve_shard(self, shard: int) -> None:
        """Begin to take the shard's commands, with no actor of it in memory. Raises `Unavailable`."""
        ...

    async def prepare_shard(self, shard: int) -> None:
        """Get ready to leave the shard while it is served, so that leaving it takes less time: snapshot its actors."""
        ...

    async def leave_shard(self, shard: int) -> None:
        """Take no more commands of the shard; all that were delivered have been taken when this returns."""
        ...

    def abandon_shard(self, shard: int) -> None:
        """Drop all that is open of the shard, at once and without an answer to any caller."""
        ...
