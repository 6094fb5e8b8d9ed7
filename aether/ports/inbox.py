"""The stream of tells: messages from one actor to another that outlive both workers."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias

from aether.core.relay_mark import Place
from aether.ids import ActorId, Position
from aether.ports.bus import Subscription
from aether.ports.history import StoredCommit
from aether.wire import Command


class InboxMessage(NamedTuple):
    """A message of the inbox stream; sequences grow and are never used twice."""

    sequence: int
    payload: bytes


SENDING_BYTES_MAX = 1024 * 1024
"""Of commits that send something so many bytes are read at once, and what comes with the last of them."""

Hear: TypeAlias = Callable[[int, int, InboxMessage | None], None]
"""Takes two sequences and the tell to the shard that stands at the later one: after the earlier one there is no other.

Without a tell there is none between them.
"""

HearCommits: TypeAlias = Callable[[Position, Position, Sequence[StoredCommit]], None]
"""Takes two positions and the commits of the shard between them that send something, the later one included."""


class InboxBatch(NamedTuple):
    """Some messages in the order of the stream, and whether there are more."""

    messages: list[InboxMessage]
    more: bool


class InboxSize(NamedTuple):
    """The first and the last sequence of the stream, how many messages it has, and how many bytes they are."""

    first: int
    last: int
    messages: int
    bytes: int


class WentBack(NamedTuple):
    """The inbox stream has lost its last messages, and goes on with sequences that it never had.

    What commits after one position and up to the other have sent may be lost, and may have been applied before.
    """

    after: Position
    until: Position


class TellPlace(NamedTuple):
    """A command that was told, and where it stands.

    - `command`: what is to be run.
    - `sequence`: in the inbox stream. `after`: the tell to the same actor that has to be applied before; 0 for none.
    - `given_up`: the answer (`encode_error`) with which it failed the last time, when it is not to be tried any more:
      its actor commits that. b"" else.
    - `due`: when the tick was due that it is, None for what is no tick.
    """

    command: Command
    sequence: int
    after: int
    given_up: bytes
    due: datetime | None = None


class Inbox(Protocol):
    """The stream of tells, and which commits send some. What is read is on the disk. All of it raises `Unavailable`."""

    @property
    def tell_bytes_max(self) -> int:
        """Largest tell, in bytes."""
        ...

    @property
    def relays_at_once(self) -> int:
        """How many tells of a shard may be on their way at once; each is stored or not, whatever comes of another."""
        ...

    @property
    def scan_again_s(self) -> float:
        """After so many seconds `commits_that_send` of the same positions is complete for sure; 0: it is at once."""
        ...

    @property
    def epoch(self) -> int:
        """Another number when what was read may be gone: the server was started again, or is another one."""
        ...

    async def went_back(self) -> WentBack | None:
        """What the stream has lost when it went back last. None of its sequences comes again from now on."""
        ...

    async def commands_done(self, actor_id: ActorId, command_ids: set[str], after: Position) -> set[str]:
        """Which of these were told to the actor and are done: a commit of it after a position says so."""
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

    def relay(self, target: int, source: int, payload: bytes, mark: int) -> Awaitable[int | None]:
        """Store a tell: its sequence, or None, and nothing is stored, when the source's mark is not at `mark`.

        None, too, when that mark was not written over this very connection: after another one began the server may
        have lost what it had stored last, and the mark's sequence may be another message's.
        """
        ...

    def relay_task(self, task: str, source: int, payload: bytes, mark: int) -> Awaitable[int | None]:
        """Store the start of a task; as `relay` does. It is handed out to a worker (`Tasks`)."""
        ...

    async def relayed(self, source: int, after: int, mark: int) -> list[tuple[int, Place]]:
        """The tells and task starts from a shard after a sequence, in order: all that stand before its mark.

        Of each its sequence and where it was sent. Raises `UnreadableEvent` for one that does not say it.
        """
        ...

    async def end_of_commits(self) -> Position:
        """The last position of the stream of commits, as its leader knows it."""
        ...

    async def commits_that_send(self, shard: int, after: Position, until: Position) -> list[StoredCommit]:
        """The commits of a shard that send something, and maybe some that do not, in order.

        When they take `SENDING_BYTES_MAX` or more they are complete up to the last of them; else, if `until` has been
        known for `scan_again_s`, up to that. Before that a replaced leader may leave out the last.
        """
        ...

    async def tells(self, target: int, after: int) -> InboxBatch:
        """Some of the tells to a shard after a sequence, in order and without a gap."""
        ...

    async def next_tell(self, target: int, after: int) -> int:
        """The sequence of the first tell to a shard after a sequence, as the stream's leader knows it; 0 for none."""
        ...

    async def end_of_tells(self) -> int:
        """The last sequence of the inbox stream, as its leader knows it."""
        ...

    async def send(self, target: int, payload: bytes, message_id: str) -> int:
        """Store a client's tell, once for an id that comes again within two minutes; its sequence.

        Raises `InvalidCommand` with the path `id` when that id came with another tell.
        """
        ...

    async def applied_mark(self, shard: int) -> int:
        """Up to which sequence all tells to a shard are applied, as it was written last; 0 when it never was."""
        ...

    async def write_applied_mark(self, shard: int, sequence: int) -> None:
        """Write that all tells to a shard up to this sequence are applied, which stays true."""
        ...

    async def write_dead_letter(self, tell: int, payload: bytes, expected: int) -> int | None:
        """Write the row of a tell that is given up, by its sequence, if the one before is at `expected` (0: none).

        The row's own sequence, once it is on the disk; None, and nothing is stored, when the last one is another.
        Raises `InvalidCommand` for one that is too large.
        """
        ...

    async def dead_letter(self, tell: int) -> InboxMessage | None:
        """The row of a tell, as the stream's leader knows it."""
        ...

    async def dead_letters(self, after: int) -> InboxBatch:
        """Some of the rows after a sequence, in the order in which they were written; of one tell there may be more."""
        ...

    async def send_again(self, target: int, payload: bytes, tell: int, row: int) -> int | None:
        """Store what a dead letter has sent again, once; its sequence, though another one has stored it.

        None, and nothing is stored by us, when its row, which we wrote at `row`, is another one by now.
        """
        ...

    async def size(self) -> InboxSize:
        """What the stream has now."""
        ...

    async def made(self) -> Any:
        """Which stream it is, and over which connection: sequences of another one mean nothing here."""
        ...

    async def until_on_disk(self, sequence: int) -> None:
        """Return when all that was read up to a sequence is on the disk."""
        ...

    async def purge(self, below: int, made: Any) -> int:
        """Remove what is before a sequence, or less, all from the beginning on; how many messages that were.

        Raises `Unavailable` when the stream is another one than `made` said, or the connection.
        """
        ...

    async def follow(self, shard: int, hear: Hear, ring: Callable[[], None]) -> Subscription:
        """Call `hear` with tells to the shard as they are stored, and `ring` when some may have been; best effort.

        What `hear` is given is on the disk, and what it says of the tells between stays true.
        """
        ...

    async def follow_commits(self, shard: int, hear: HearCommits, ring: Callable[[], None]) -> Subscription:
        """The same for the commits of a shard, now and then."""
        ...

    def on_connected(self, connected: Callable[[], None]) -> Callable[[], None]:
        """Call this with each new connection, until what is returned is called."""
        ...
