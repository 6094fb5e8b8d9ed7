"""Whether a backlog of commits is stored together: in one atomic batch, for which a server syncs once, if it does.

A batch costs a server some milliseconds of staging whatever it holds, so it pays where single commits are slow. That is
measured: while many are unacknowledged, the time between acknowledgements is what the server takes for one. What is
measured is forgotten after a while, and then it is measured anew. Pure: time and counts come in, a choice comes out.
"""

from enum import Enum
from math import inf


class CommitBatching(Enum):
    """How commits of different actors are stored."""

    AUTO = "auto"
    SINGLE = "single"
    BATCH = "batch"


BACKLOG_MIN = 16
"""With so many commits unacknowledged the server is what they wait for; with fewer there is no backlog."""

SAMPLE = 64
ROUNDS = 2
"""So many acknowledgements, and so many times what is open, say how fast single commits are: they come in trains."""

MEMORY = 1_024
"""What was measured counts as so many commits at most beside what is measured now."""

STAGING_S = 0.0025
"""What a batch costs a server beside its commits (2 ms were measured), in seconds."""

COMMIT_S = 0.00006
"""What a commit costs in a batch, in seconds, until batches were seen."""

CLEARLY = 0.85
"""A batch must take at most so much of the time of its commits one by one: it is more work for the server."""

FORGET_S = 10.0
SLOW_S = 0.001
"""What was measured so long ago is measured anew; a time that is longer than this so many times later."""


class _Mean:
    """A mean of times for a commit, in seconds, in which the latest weigh most; it is `known` until it is too old."""

    __slots__ = ("_measured_at_s", "_weight", "value_s")

    def __init__(self) -> None:
        self.value_s = 0.0
        self._weight = 0.0
        self._measured_at_s = -inf

    def add(self, took_s: float, commits: int, now_s: float) -> None:
        """So many commits took so long together."""
        if not self.known(now_s):
            self._weight = 0.0
        self._weight = min(self._weight, MEMORY) + commits
        self.value_s += (took_s / commits - self.value_s) * commits / self._weight
        self._measured_at_s = now_s

    def known(self, now_s: float, commits_min: int = 1) -> bool:
        """Whether at least so many commits were measured, lately."""
        age_s = now_s - self._measured_at_s
        return self._weight >= commits_min and age_s <= FORGET_S * max(1.0, self.value_s / SLOW_S)


class Batching:
    """The choice of one runtime. One writer: its committer, which has one batch under way or any number of singles."""

    __slots__ = ("_batch", "_batch_sent_s", "_busy_since_s", "_mode", "_single")

    def __init__(self, mode: CommitBatching = CommitBatching.AUTO) -> None:
        self._mode = mode
        self._single = _Mean()
        self._batch = _Mean()
        self._batch_sent_s = 0.0
        self._busy_since_s = inf

    def pays(self, commits: int, now_s: float) -> bool:
        """Whether so many commits that are not acknowledged, sent or waiting, had better be stored together."""
        if self._mode is not CommitBatching.AUTO:
            return self._mode is CommitBatching.BATCH
        if commits < BACKLOG_MIN or not self._single.known(now_s, max(SAMPLE, ROUNDS * commits)):
            return False
        in_batch_s = self._batch.value_s if self._batch.known(now_s) else COMMIT_S
        return STAGING_S + commits * in_batch_s < CLEARLY * commits * self._single.value_s

    def single_sent(self, in_flight: int, now_s: float) -> None:
        """A commit was sent on its own; so many are unacknowledged now."""
        if in_flight == BACKLOG_MIN:
            self._busy_since_s = now_s

    def singles_done(self, commits: int, in_flight: int, now_s: float) -> None:
        """So many singles have their outcomes, which came together; so many are still unacknowledged."""
        if self._busy_since_s < inf:
            self._single.add(now_s - self._busy_since_s, commits, now_s)
        self._busy_since_s = now_s if in_flight >= BACKLOG_MIN else inf

    def batch_sent(self, now_s: float) -> None:
        """A batch is sent."""
        self._batch_sent_s = now_s

    def batch_done(self, commits: int, now_s: float) -> None:
        """All commits of the batch have their outcomes."""
        self._batch.add(max(0.0, now_s - self._batch_sent_s - STAGING_S), commits, now_s)
