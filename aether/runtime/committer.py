"""The Committer: hands commits to the event store, a bounded number in flight, in the order they came.

Each actor has at most one commit in flight (its machine sees to that), so commits of different actors need no order.
They are published each on its own, or, while there is a backlog and a server that is slow with singles, together: a
batch is in flight alone, and whatever comes meanwhile goes next (`aether.core.actor.batching` decides). A commit leaves
only while its shard's lease is valid, however long it was in line. It never blocks, owns no task.
"""

import logging
from collections import deque
from collections.abc import Callable

from aether.core.actor.batching import Batching
from aether.ids import ActorId, Position
from aether.ports import Append, AppendOutcome, EventStore, Fenced, Lease, Unknown
from aether.runtime.counters import Counters
from aether.runtime.pending_commit import CommitBatch, PendingCommit
from aether.runtime.pipeline import CommandPipeline

log = logging.getLogger("aether.committer")

TOGETHER_MIN = 8
"""Fewer commits than this are published each on its own."""

TOGETHER_BYTES_MAX = 4 * 1024 * 1024
"""A batch is staged in the server's memory: it ends when it has grown to this."""


class Committer:
    """One a runtime. Beyond the bound commits wait in line, each actor with one at most.

    It does the work of the pipeline's stages `outcomes` and `commits`; commits come after all that may join the line.
    """

    def __init__(
        self,
        store: EventStore,
        counters: Counters,
        pipeline: CommandPipeline,
        in_flight_max: int,
        now_s: Callable[[], float],
        lease: Lease,
        batching: Batching,
    ) -> None:
        self._store = store
        self._counters = counters
        self._pipeline = pipeline
        self._in_flight_max = in_flight_max
        self._now_s = now_s
        self._lease = lease
        self._batching = batching
        self._in_flight = 0
        self._batch: CommitBatch | None = None
        self._line: deque[PendingCommit] = deque()
        pipeline.outcomes.bind(self._hand_over_outcomes)
        pipeline.commits.bind(self._send)

    def commit(
        self,
        actor_id: ActorId,
        shard: int,
        payload: bytes,
        expected: Position,
        on_outcome: Callable[[AppendOutcome], None],
    ) -> None:
        """Append `payload` after `expected`; `on_outcome` gets the outcome, once: `Fenced` when the lease had ended."""
        self._counters.commits += 1
        pipeline = self._pipeline
        commit = PendingCommit(pipeline.outcomes, self._lease_valid, actor_id, shard, payload, expected, on_outcome)
        pipeline.commits.add(commit)

    def _lease_valid(self, shard: int) -> bool:
        return self._lease.valid(shard, self._now_s())

    def _send(self, commits: list[PendingCommit]) -> None:
        """Let these join the line, and publish as much of it as may go now."""
        try:
            self._line.extend(commits)
            self._advance()
        except BaseException as error:  # a fault of ours: those in line go back to their machines
            line, self._line = self._line, deque()
            for commit in line:
                commit.sent = False
                self._not_sent(commit, error)

    def _not_sent(self, commit: PendingCommit, error: BaseException) -> None:
        """Nothing more is known of a commit whose sending raised; its machine replays and tries again."""
        log.error("a commit could not be sent", exc_info=error, extra={"actor": str(commit.actor_id)})
        commit(Unknown(f"it could not be sent: {type(error).__name__}"))

    def _advance(self) -> None:
        line = self._line
        if not line or self._batch is not None:
            return  # what comes until the outcome of a batch goes next
        now_s = self._now_s()
        if self._store.together_max > 1 and self._batching.pays(len(line) + self._in_flight, now_s):
            if not self._in_flight:
                self._send_together(now_s)
            return
        while line and self._in_flight < self._in_flight_max:
            self._send_first(now_s)

    def _send_first(self, now_s: float) -> None:
        self._send_one(self._line[0], now_s)  # it stays in line until it is sent: what raises gives up who is in line
        self._line.popleft()

    def _send_together(self, now_s: float) -> None:
        if len(self._line) < TOGETHER_MIN:
            while self._line:
                self._send_first(now_s)
            return
        batch: list[PendingCommit] = []
        room, most = TOGETHER_BYTES_MAX, min(self._store.together_max, self._in_flight_max)
        while self._line and room > 0 and len(batch) < most:
            commit = self._line.popleft()
            if not self._leaves(commit, now_s):
                continue
            batch.append(commit)
            room -= len(commit.payload)
        if not batch:
            return
        self._batch = CommitBatch(len(batch))
        for commit in batch:
            commit.batch = self._batch
        self._in_flight += len(batch)
        self._counters.batches += 1
        try:
            self._batching.batch_sent(now_s)
            self._store.publish_together(
                [Append(one.actor_id, one.payload, one.expected, one, one.may_send) for one in batch]
            )
        except BaseException as error:
            for commit in batch:
                self._not_sent(commit, error)

    def _send_one(self, commit: PendingCommit, now_s: float) -> None:
        if not self._leaves(commit, now_s):
            return
        self._in_flight += 1
        try:
            self._batching.single_sent(self._in_flight, now_s)
            self._store.publish(commit.actor_id, commit.payload, commit.expected, commit)
        except BaseException as error:
            self._not_sent(commit, error)

    def _leaves(self, commit: PendingCommit, now_s: float) -> bool:
        """Whether the commit may be sent now. If not, its machine hears of it as of any outcome."""
        try:
            if self._lease.valid(commit.shard, now_s):
                commit.sent_s = now_s
                return True
            self._counters.commits_fenced += 1
            commit.sent = False
            commit(Fenced())
        except BaseException as error:
            commit.sent = False
            self._not_sent(commit, error)
        return False

    def _hand_over_outcomes(self, commits: list[PendingCommit]) -> None:
        """These have their outcomes: hand them over. The line goes on after all that they make possible."""
        if not commits:
            return
        batch = self._batch
        for commit in commits:
            if commit.sent:
                self._count_down(commit)
        try:
            self._measure(commits, batch)
        except BaseException:  # the choice of how to publish is worse for it, and nothing else
            log.exception("outcomes could not be counted")
        for commit in commits:
            try:
                outcome = commit.outcome
                assert outcome is not None
                commit.on_outcome(outcome)
            except BaseException:  # machines see to their own faults
                log.exception("an outcome could not be taken", extra={"actor": str(commit.actor_id)})

    def _count_down(self, commit: PendingCommit) -> None:
        self._in_flight -= 1
        batch = commit.batch
        if batch is not None:
            batch.left -= 1
            if not batch.left:
                self._batch = None

    def _measure(self, commits: list[PendingCommit], batch: CommitBatch | None) -> None:
        """What these outcomes say of how fast the store is; `batch` was under way when they came."""
        now_s, singles, seconds = self._now_s(), 0, self._counters.commit_seconds
        for commit in commits:
            if commit.sent:
                seconds.observe(now_s - commit.sent_s)
                if commit.batch is None:
                    singles += 1
        if singles:
            self._batching.singles_done(singles, self._in_flight, now_s)
        if batch is not None and self._batch is None:
            self._batching.batch_done(batch.size, now_s)
