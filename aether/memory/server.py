"""What a server holds: for each namespace one stream, one table, the snapshots, and who listens.

`InMemoryServer` is shared by the connections of several nodes in one process and one event loop. Each method of
`NamespaceContent` is one synchronous step, so it is atomic. Nothing here knows of nodes, faults or awaiting: that is
`Link` and the adapters.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from aether.errors import ConfigError
from aether.ids import ActorId, Position
from aether.memory.clock import AlarmClock, LoopClock
from aether.memory.faults import Faults
from aether.memory.feed import Feed
from aether.memory.task_queue import TaskQueue
from aether.memory.timer_table import TimerTable
from aether.names import check_namespace, shard_of
from aether.ports import START, AppendOutcome, Committed, Conflict, NotStored, Refused, Row, StoredCommit

PAYLOAD_BYTES_MAX = 1_000_000
"""Largest message unless said otherwise: a NATS server's default limit, less room for headers."""

Deliver: TypeAlias = Callable[[ActorId, bytes, Callable[[bytes], None]], None]
"""Takes a command, and where its answer goes."""


@dataclass(frozen=True, slots=True)
class Snapshots:
    """An actor's snapshot now and the one before, which a stale replica still gives."""

    now: bytes | None = None
    before: bytes | None = None


class InboxEntry(NamedTuple):
    """A message of the inbox stream."""

    subject: str
    payload: bytes


GONE = InboxEntry("", b"")
"""What stands in place of a message that was removed."""


class NamespaceContent:
    """One namespace's content."""

    def __init__(self, shards: int, clock: AlarmClock) -> None:
        self.shards = shards
        self.commits: list[StoredCommit] = []
        self.histories: dict[ActorId, list[StoredCommit]] = {}
        self.snapshots: dict[ActorId, Snapshots] = {}
        self.rows: dict[str, Row] = {}
        self.append_listeners: dict[Callable[[], None], None] = {}
        self.watchers: dict[Feed[Row | None], None] = {}
        self.serving: dict[int, dict[Deliver, None]] = {}
        self.informers: dict[Callable[[], bytes], None] = {}
        self.metrics: dict[Callable[[], bytes], None] = {}
        self.waiting_tells: dict[Callable[[], bytes], None] = {}
        self.announcement_listeners: dict[Callable[[Sequence[int]], None], None] = {}
        self.tells: list[InboxEntry] = []
        self.timers = TimerTable(shards, clock)
        self.restarts = 0
        """How often the server was restarted: what was on its way to it then is gone."""
        self.tells_by_id: dict[str, int] = {}
        self.tell_bells: dict[Callable[[int, InboxEntry], None], None] = {}
        self.task_queues: dict[str, TaskQueue] = {}
        self.failed_tasks: dict[str, bytes] = {}
        self.cancelled_tasks: dict[str, str] = {}
        self.cancel_followers: dict[Feed[tuple[str, str]], None] = {}
        self.infos: dict[Callable[[], bytes], None] = {}
        self.refusal = ""
        """Why nothing is stored now, as a server with a full disk says; "" when all is."""
        self._queues_by_subject: dict[str, TaskQueue] = {}
        self._clock = clock
        self._revision = 0

    @property
    def changes(self) -> int:
        """Another number each time that a commit, a tell or a timer was stored, or a timer was due."""
        return len(self.commits) + len(self.tells) + self.timers.changes

    def last(self, actor_id: ActorId) -> StoredCommit | None:
        """The actor's last commit."""
        history = self.histories.get(actor_id)
        return history[-1] if history else None

    def after(self, actor_id: ActorId, position: Position) -> list[StoredCommit]:
        """The actor's commits after `position`."""
        history = self.histories.get(actor_id, [])
        return history[bisect_right(history, position, key=lambda commit: commit.position) :]

    def keys(self, kind: str, shard: int) -> list[str]:
        """The keys of a kind's actors of one shard that have a history."""
        return [one.key for one in self.actors(shard) if one.kind == kind]

    def actors(self, shard: int) -> list[ActorId]:
        """The actors of one shard that have a history."""
        return [one for one in self.histories if shard_of(one, self.shards) == shard]

    def append(self, actor_id: ActorId, payload: bytes, expected: Position) -> AppendOutcome:
        """Store the commit at the next position of the stream if the actor's last one is `expected`."""
        if self.refusal:
            return Refused(self.refusal)
        last = self.last(actor_id)
        if expected != (last.position if last else START):
            return Conflict()
        commit = StoredCommit(actor_id, Position(len(self.commits) + 1), payload)
        self.commits.append(commit)
        self.histories.setdefault(actor_id, []).append(commit)
        for ring in list(self.append_listeners):
            ring()
        return Committed(commit.position)

    def store_tell(
        self, entry: "InboxEntry", expected: tuple[str, int] | None = None, message_id: str = ""
    ) -> int | None:
        """The entry's sequence in the inbox; None when the last one of a subject is at another one than expected.

        Raises `NotStored` while nothing is stored.
        """
        if self.refusal:
            raise NotStored(self.refusal)
        if message_id in self.tells_by_id:
            return self.tells_by_id[message_id]
        if expected is not None and self.last_tell(expected[0]) != expected[1]:
            return None
        self.tells.append(entry)
        if message_id:
            self.tells_by_id[message_id] = len(self.tells)
        for ring in list(self.tell_bells):
            ring(len(self.tells), entry)
        if (queue := self._queues_by_subject.get(_without_source(entry.subject))) is not None:
            queue.add(len(self.tells), entry.payload)
        return len(self.tells)

    def purge_tells(self, below: int) -> int:
        """Remove the entries before a sequence; how many there were."""
        count = 0
        for index, entry in enumerate(self.tells[: max(0, below - 1)]):
            if entry is not GONE:
                self.tells[index] = GONE
                count += 1
        return count

    def task_queue(self, task: str, starts: str) -> TaskQueue:
        """The queue of a task, made with all that is stored of it; `starts` is the subject of all its starts."""
        queue = self.task_queues.get(task)
        if queue is None:
            queue = self.task_queues[task] = self._queues_by_subject[_without_source(starts)] = TaskQueue(self._clock)
            for sequence, entry in enumerate(self.tells, 1):
                if _without_source(entry.subject) == _without_source(starts):
                    queue.add(sequence, entry.payload)
        return queue

    def first_open_start(self, task_of: Callable[[str], str | None]) -> int:
        """The first start that is not done, of a task with a queue or without; 0 for none."""
        first = [one for one in (queue.first for queue in self.task_queues.values()) if one]
        for sequence, entry in enumerate(self.tells, 1):
            if task_of(entry.subject) is not None and _without_source(entry.subject) not in self._queues_by_subject:
                first.append(sequence)
                break
        return min(first, default=0)

    def queue_of_start(self, sequence: int) -> TaskQueue:
        """The queue that a start in the inbox is in."""
        return self._queues_by_subject[_without_source(self.tells[sequence - 1].subject)]

    def cancel_task(self, task_id: str, reason: str) -> None:
        """A task is cancelled, or with "" that is forgotten; every follower gets it."""
        if reason:
            self.cancelled_tasks[task_id] = reason
        else:
            self.cancelled_tasks.pop(task_id, None)
        for follower in list(self.cancel_followers):
            follower.push((task_id, reason))

    def last_tell(self, subject: str) -> int:
        """The sequence of the last entry of a subject in the inbox; 0 when there is none."""
        for sequence in range(len(self.tells), 0, -1):
            if self.tells[sequence - 1].subject == subject:
                return sequence
        return 0

    def live(self, key: str) -> Row | None:
        """The row of `key`, unless there is none or it is gone."""
        row = self.rows.get(key)
        return row if row is not None and row.value is not None else None

    def put(self, key: str, value: bytes | None, ttl_s: float | None = None) -> int:
        """Write a row, or with None its end, at the next revision; every watcher gets it. Returns the revision."""
        if self.refusal and value is not None:
            raise NotStored(self.refusal)
        self._revision += 1
        row = Row(key, value, self._revision)
        self.rows[key] = row
        for watcher in list(self.watchers):
            watcher.push(row)
        if ttl_s is not None:
            self._clock.call_after(ttl_s, lambda: self._expire(row))
        return row.revision

    def rows_after(self, revision: int) -> list[Row]:
        """The last state of each row that changed after `revision`, ended rows included, in revision order."""
        return sorted((row for row in self.rows.values() if row.revision > revision), key=lambda row: row.revision)

    def _expire(self, row: Row) -> None:
        if self.rows[row.key] == row:
            self.put(row.key, None)


def _without_source(subject: str) -> str:
    return subject.rpartition(".")[0]


class InMemoryServer:
    """Namespaces, isolated from each other.

    `clock` defaults to the running time of this machine. `faults` is the plan of every connection that brings none.
    """

    def __init__(
        self,
        *,
        clock: AlarmClock | None = None,
        faults: Faults | None = None,
        payload_bytes_max: int = PAYLOAD_BYTES_MAX,
    ) -> None:
        self.clock: AlarmClock = clock or LoopClock()
        self.faults = faults or Faults.none()
        self.payload_bytes_max = payload_bytes_max
        self._spaces: dict[str, NamespaceContent] = {}

    def space(self, namespace: str, shards: int) -> NamespaceContent:
        """The namespace's content; the first to ask decides its `shards`.

        Raises `ConfigError` for a namespace that cannot be one, or when it has another number of shards.
        """
        found = self._spaces.setdefault(check_namespace(namespace), NamespaceContent(shards, self.clock))
        if found.shards != shards:
            raise ConfigError(f"namespace {namespace} has {found.shards} shards, not {shards}", setting="shards")
        return found
