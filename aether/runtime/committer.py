"""The Committer: hands commits to the event store, a bounded number in flight, in the order they came.

Each actor has at most one commit in flight (its machine sees to that), so commits of different actors need no order.
They are published each on its own, or, while there is a backlog and they wait less that way, together: a batch is in
flight alone, and whatever comes meanwhile goes next (`aether.core.grouping` decides). A commit leaves only while its
shard's lease is valid, however long it was in line. It never blocks, owns no task.
"""

import logging
from collections import deque
from collections.abc import Callable

from aether.core.grouping import Grouping, Way
from aether.ids import ActorId, Position
from aether.ports import Append, AppendOutcome, EventStore, Fenced, Lease
from aether.runtime.cohort import Stage
from aether.runtime.counters import Counters

log = logging.getLogger("aether.committer")

TOGETHER_MIN = 8
"""Fewer commits than this are published each on its own."""

TOGETHER_BYTES_MAX = 4 * 1024 * 1024
"""A batch is staged in the server's memory: it ends when it has grown to this."""


class _Batch:
    """Commits that were sent together; so many have no outcome yet."""

    __slots__ = ("left", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = size


class _Commit:
    """One commit, from the line to its outcome: the store calls it with that."""

    __slots__ = ("_committer", "actor_id", "batch", "done", "expected", "outcome", "payload", "sent", "shard")

    def __init__(
        self,
        committer: "Committer",
        actor_id: ActorId,
        shard: int,
        payload: bytes,
        expected: Position,
        done: Callable[[AppendOutcome], None],
    ) -> None:
        self._committer = committer
        self.outcome: AppendOutcome | None = None
        self.sent = True
        self.batch: _Batch | None = None
        self.actor_id = actor_id
        self.shard = shard
        self.payload = payload
        self.expected = expected
        self.done = done

    def __call__(self, outcome: AppendOutcome) -> None:
        self.outcome = outcome
        self._committer.outcomes.add(self)

    def may_send(self) -> bool:
        """Whether it may leave at this instant."""
        return self._committer.may_send(self.shard)


class Committer:
    """One a runtime. Beyond the bound commits wait in line, each actor with one at most.

    `outcomes` and `commits` are stages of its runtime's cohort; commits come after all that may join the line.
    """

    def __init__(
        self,
        store: EventStore,
        counters: Counters,
        in_flight_max: int,
        now_s: Callable[[], float],
        lease: Lease,
        grouping: Grouping | None = None,
    ) -> None:
        self._store = store
        self._counters = counters
        self._in_flight_max = in_flight_max
        self._now_s = now_s
        self._lease = lease
        self._grouping = grouping or Grouping()
        self._in_flight = 0
        self._batch: _Batch | None = None
        self._line: deque[_Commit] = deque()
        self.outcomes: Stage[_Commit] = Stage(self._settle)
        self.commits: Stage[_Commit] = Stage(self._send)

    def commit(
        self, actor_id: ActorId, shard: int, payload: bytes, expected: Position, done: Callable[[AppendOutcome], None]
    ) -> None:
        """Append `payload` after `expected`; `done` gets the outcome, once: `Fenced` when the lease had ended."""
        self._counters.commits += 1
        self.commits.add(_Commit(self, actor_id, shard, payload, expected, done))

    def may_send(self, shard: int) -> bool:
        """Whether a commit for an actor of the shard may leave at this instant."""
        return self._lease.valid(shard, self._now_s())

    def _send(self, commits: list[_Commit]) -> None:
        """Let these join the line, and publish as much of it as may go now."""
        line, grouping, can_group = self._line, self._grouping, self._store.together_max > 1
        if commits:
            now_s = self._now_s()
            for commit in commits:
                grouping.joined(now_s)
                line.append(commit)
        if not line or self._batch is not None:
            return  # what comes until the outcome of a batch goes next
        if can_group and grouping.way is Way.TOGETHER:
            if not self._in_flight:
                self._send_together()
            return
        while line and self._in_flight < self._in_flight_max and not (can_group and grouping.full):
            self._send_one(line.popleft())

    def _send_together(self) -> None:
        if len(self._line) < TOGETHER_MIN:
            while self._line:
                self._send_one(self._line.popleft())
            return
        batch: list[_Commit] = []
        room = TOGETHER_BYTES_MAX
        while self._line and room > 0 and len(batch) < min(self._store.together_max, self._in_flight_max):
            commit = self._line.popleft()
            if not self.may_send(commit.shard):
                self._fence(commit)
                continue
            batch.append(commit)
            room -= len(commit.payload)
        if not batch:
            return
        self._batch = _Batch(len(batch))
        for commit in batch:
            commit.batch = self._batch
        self._grouping.sent(len(batch))
        self._in_flight += len(batch)
        self._counters.batches += 1
        self._store.publish_together(
            [Append(one.actor_id, one.payload, one.expected, one, one.may_send) for one in batch]
        )

    def _send_one(self, commit: _Commit) -> None:
        if not self.may_send(commit.shard):
            self._fence(commit)
            return
        self._grouping.sent(1)
        self._in_flight += 1
        self._store.publish(commit.actor_id, commit.payload, commit.expected, commit)

    def _fence(self, commit: _Commit) -> None:
        """The commit is not sent; its machine hears of it as of any outcome."""
        self._grouping.left(1)
        self._counters.commits_fenced += 1
        commit.sent = False
        commit(Fenced())

    def _settle(self, commits: list[_Commit]) -> None:
        """These have their outcomes: hand them over. The line goes on after all that they make possible."""
        if not commits:
            return
        now_s = self._now_s()
        for commit in commits:
            if commit.sent:
                self._landed(commit, now_s)
            assert commit.outcome is not None
            try:
                commit.done(commit.outcome)
            except Exception:  # one machine's bug must not keep the others' commits in line
                log.exception("an outcome could not be taken", extra={"actor": str(commit.actor_id)})

    def _landed(self, commit: _Commit, now_s: float) -> None:
        self._in_flight -= 1
        batch = commit.batch
        if batch is None:
            self._grouping.settled(1, now_s)
            return
        batch.left -= 1
        if not batch.left:
            self._batch = None
            self._grouping.settled(batch.size, now_s)
