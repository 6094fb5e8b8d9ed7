"""The choice of how commits are stored, against servers of known speed: it does about as well as the better way."""

from dataclasses import dataclass, field
from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.core.actor.batching import BACKLOG_MIN, FORGET_S, SAMPLE, Batching, CommitBatching

BATCH_MAX = 500
TOGETHER_MIN = 8


@dataclass
class Loop:
    """So many callers, each with one commit at a time, and a server that does one thing after the other.

    - `single_s`, `staging_s`, `commit_s`: what the server takes for a single, for a batch, and for a commit in it.
    - `away_s`: how long a message is on its way. `worker_s`: what the worker takes for a commit.
    """

    callers: int
    single_s: float
    staging_s: float = 0.002
    commit_s: float = 0.00006
    away_s: float = 0.0001
    worker_s: float = 0.00002
    mode: CommitBatching = CommitBatching.AUTO
    now_s: float = 1.0
    singles: int = 0
    batched: int = 0
    _free_s: float = 0.0
    _arriving: list[tuple[float, int, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.batching = Batching(self.mode)
        self.line, self.in_flight, self.batch = self.callers, 0, False

    def run(self, commits: int) -> float:
        """Let so many commits be stored; how long it took."""
        began_s, end = self.now_s, self.singles + self.batched + commits
        while self.singles + self.batched < end:
            self._send()
            self._finish()
        return self.now_s - began_s

    def _send(self) -> None:
        if not self.line or self.batch:
            return
        if self.batching.pays(self.line + self.in_flight, self.now_s):
            if not self.in_flight and self.line >= TOGETHER_MIN:
                count = min(self.line, BATCH_MAX)
                self.line, self.in_flight, self.batch = self.line - count, count, True
                self.batching.batch_sent(self.now_s)
                self._serve(self.staging_s + count * self.commit_s, count, True)
                return
            if self.in_flight:
                return
        while self.line:
            self.line, self.in_flight = self.line - 1, self.in_flight + 1
            self.batching.single_sent(self.in_flight, self.now_s)
            self._serve(self.single_s, 1, False)

    def _serve(self, takes_s: float, commits: int, batch: bool) -> None:
        self._free_s = max(self._free_s, self.now_s + self.away_s) + takes_s
        heappush(self._arriving, (self._free_s + self.away_s, commits, batch))

    def _finish(self) -> None:
        """What has arrived by now comes together; each caller calls again, which takes the worker a while."""
        self.now_s = max(self.now_s, self._arriving[0][0])
        singles = 0
        while self._arriving and self._arriving[0][0] <= self.now_s:
            _, commits, batch = heappop(self._arriving)
            self.in_flight -= commits
            self.line += commits
            if batch:
                self.batch, self.batched = False, self.batched + commits
                self.batching.batch_done(commits, self.now_s)
            else:
                singles += 1
        if singles:
            self.singles += singles
            self.batching.singles_done(singles, self.in_flight, self.now_s)
        self.now_s += self.line * self.worker_s


def took(mode: CommitBatching, callers: int, single_s: float, slow: float, away_s: float) -> float:
    loop = Loop(callers, single_s, 0.002 * slow, 0.00006 * slow, away_s, 0.00002 * slow, mode)
    loop.run(1_000 + 4 * callers)
    return loop.run(8_000)


@given(
    st.integers(1, 500),
    st.floats(0.00002, 0.02),
    st.floats(0.5, 4),
    st.sampled_from([0.0001, 0.002, 0.02]),
)
def test_it_is_about_as_fast_as_the_better_way(callers: int, single_s: float, slow: float, away_s: float) -> None:
    """On machines of many speeds, near and far."""
    auto, single, batch = (took(mode, callers, single_s, slow, away_s) for mode in CommitBatching)
    assert auto <= 1.25 * min(single, batch)


def test_a_server_that_syncs_each_write_gets_batches_and_one_that_does_not_gets_singles() -> None:
    syncs = Loop(100, 0.0002)
    syncs.run(20_000)
    assert syncs.batched > 0.9 * 20_000
    does_not = Loop(100, 0.00004)
    does_not.run(20_000)
    assert does_not.batched <= 0.05 * 20_000


@given(st.integers(1, BACKLOG_MIN - 1), st.floats(0.00002, 0.05))
def test_without_a_backlog_each_goes_at_once(callers: int, single_s: float) -> None:
    loop = Loop(callers, single_s)
    loop.run(2_000)
    assert loop.batched == 0


@pytest.mark.parametrize(("before", "after", "batched"), [(0.0002, 0.00003, False), (0.00003, 0.0005, True)])
def test_a_server_that_is_another_one_now_is_noticed(before: float, after: float, batched: bool) -> None:
    loop = Loop(200, before)
    loop.run(20_000)
    loop.single_s = after
    while loop.now_s < 1.0 + 3 * FORGET_S:
        loop.run(1_000)
    singles, together = loop.singles, loop.batched
    loop.run(20_000)
    share = (loop.batched - together) / (loop.batched - together + loop.singles - singles)
    assert share > 0.8 if batched else share < 0.2


@given(st.integers(0, 1_000), st.floats(0, 100), st.floats(0.00001, 0.1))
def test_what_is_switched_off_stays_off(commits: int, now_s: float, single_s: float) -> None:
    single, batch = Batching(CommitBatching.SINGLE), Batching(CommitBatching.BATCH)
    for one in (single, batch):
        one.single_sent(BACKLOG_MIN, 0.0)
        one.singles_done(SAMPLE, BACKLOG_MIN, SAMPLE * single_s)
    assert not single.pays(commits, now_s)
    assert batch.pays(commits, now_s)
