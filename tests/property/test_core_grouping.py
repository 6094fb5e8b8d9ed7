"""The choice between storing each and storing together, against stores of known speed."""

import random
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aether.core.grouping import Grouping, Trial, Way

RATES = st.tuples(st.floats(500, 50_000), st.floats(500, 50_000))
CALLERS = st.integers(32, 600)


@dataclass
class Store:
    """A closed loop of callers on a store that takes a time a commit in each way, and tells in lumps of some size.

    Commits on their own that are held back, so that few are in flight, are slower by a factor.
    """

    callers: int
    each_per_s: float
    together_per_s: float
    lump: int = 1
    few_are_slower: float = 1.0
    grouping: Grouping = field(default_factory=Grouping)
    now_s: float = 1.0
    used: dict[Way, int] = field(default_factory=lambda: {Way.EACH: 0, Way.TOGETHER: 0})
    in_flight: int = 0
    _line: int = 0
    _in_flight: deque[tuple[Trial, int, bool]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._call(self.callers)

    def chose(self, way: Way) -> bool:
        """Whether this is the way now."""
        return self.grouping.way is way

    def run(self, commits: int) -> None:
        """Let so many commits settle, as the committer does it."""
        done = 0
        while done < commits:
            self._send()
            done += self._settle()

    def end(self) -> None:
        """Nobody calls again, and what was called settles."""
        for trial, commits, _ in self._in_flight:
            self.grouping.settled(trial, commits, self.now_s)
        for _ in range(self._line):
            self.grouping.settled(self.grouping.sent(1), 1, self.now_s)
        self._in_flight.clear()
        self._line = 0

    def _call(self, commits: int) -> None:
        for _ in range(commits):
            self.grouping.joined(self.now_s)
        self._line += commits

    def _send(self) -> None:
        if self.grouping.way is Way.TOGETHER:
            if self._line and not self._in_flight:
                self._in_flight.append((self.grouping.sent(self._line), self._line, True))
                self.in_flight, self._line = self._line, 0
            return
        while self._line and not self.grouping.full:
            self._in_flight.append((self.grouping.sent(1), 1, False))
            self.in_flight += 1
            self._line -= 1

    def _settle(self) -> int:
        """One batch, or a lump of singles that all come at the time of the last one."""
        lump = [self._in_flight.popleft()]
        while self._in_flight and len(lump) < self.lump and not lump[0][2] and not self._in_flight[0][2]:
            lump.append(self._in_flight.popleft())
        together = lump[0][2]
        count = sum(commits for _, commits, _ in lump)
        each_per_s = self.each_per_s / (self.few_are_slower if self.grouping.full else 1.0)
        self.now_s += count / (self.together_per_s if together else each_per_s)
        self.used[Way.TOGETHER if together else Way.EACH] += count
        for trial, commits, _ in lump:
            self.in_flight -= commits
            self.grouping.settled(trial, commits, self.now_s)
            self._call(commits)
        return count


def at_a_load(
    per_s: float, each_s: float, together_s: float, commits: int, each_at_first_s: float | None = None
) -> dict[Way, int]:
    """How commits were stored that come at random, in a store that takes a time for each or a batch, and any number.

    The first 2,000 may take another time, and do not count.
    """
    grouping, used = Grouping(), dict.fromkeys(Way, 0)
    line, in_flight, settled, arrives_s = 0, 0, 0, 0.0
    chance = random.Random(1)  # noqa: S311 - arrivals, not a secret
    underway: list[tuple[float, int, int, Trial]] = []
    sent = 0
    while settled < commits:
        if settled < 2_000:
            used = dict.fromkeys(Way, 0)
        if not underway or arrives_s < underway[0][0]:
            line, now_s = line + 1, arrives_s
            arrives_s += chance.expovariate(per_s)
            grouping.joined(now_s)
        else:
            now_s, _, count, trial = heappop(underway)
            in_flight, settled = in_flight - count, settled + count
            grouping.settled(trial, count, now_s)
        way = grouping.way
        while line and (not in_flight if way is Way.TOGETHER else not grouping.full):
            count = line if way is Way.TOGETHER else 1
            line, in_flight = line - count, in_flight + count
            used[way] += count
            one_s = each_at_first_s if each_at_first_s and settled < 2_000 else each_s
            ends_s = now_s + (together_s if way is Way.TOGETHER else one_s)
            sent += 1
            heappush(underway, (ends_s, sent, count, grouping.sent(count)))
    return used


@settings(max_examples=50)
@given(st.floats(2_000, 20_000), st.floats(0.001, 0.02), st.floats(0.001, 0.02))
def test_at_a_load_that_both_carry_the_shorter_wait_is_chosen(per_s: float, each_s: float, together_s: float) -> None:
    """Both do as many a second as come. In a batch a commit waits for half of the batch before it, too."""
    assume(per_s * each_s < 60)  # few show a way that needs more in flight as slower than it is
    used = at_a_load(per_s, each_s, together_s, 32_000)
    wait_s = 1.5 * together_s
    if each_s * 2 < wait_s:
        assert used[Way.EACH] > 24_000
    elif wait_s * 2 < each_s and wait_s * per_s > 32:
        assert used[Way.TOGETHER] > 24_000


def test_a_far_store_that_needs_many_in_flight_is_recognised_after_a_bad_start() -> None:
    """30 ms for one, 60 ms for a batch: 32 at once show a thousand a second, and 5,000 come."""
    used = at_a_load(5_000, 0.03, 0.06, 90_000, each_at_first_s=0.3)
    assert used[Way.EACH] > 40_000


@settings(max_examples=50)
@given(RATES, CALLERS, st.integers(1, 300))
def test_with_a_backlog_the_better_way_is_found_and_mostly_used(
    rates: tuple[float, float], callers: int, lump: int
) -> None:
    """Also when acknowledgements come in lumps: the time between two of them says nothing."""
    store = Store(callers, *rates, lump=min(lump, callers))
    store.run(20_000)
    slower, faster = sorted(rates)
    if faster > slower * 3:
        assert store.used[Way.EACH if rates[0] > rates[1] else Way.TOGETHER] > 16_000


@settings(max_examples=50)
@given(RATES, RATES, CALLERS)
def test_a_store_that_changes_its_speed_is_noticed(
    before: tuple[float, float], after: tuple[float, float], callers: int
) -> None:
    store = Store(callers, *before, grouping=Grouping(stay_trials_max=8))
    store.run(6_000)
    store.each_per_s, store.together_per_s = after
    store.run(20 * 600)
    store.used = dict.fromkeys(Way, 0)
    store.run(10_000)
    slower, faster = sorted(after)
    if faster > slower * 1.5:
        assert store.used[Way.EACH if after[0] > after[1] else Way.TOGETHER] > 7_000


@given(RATES, st.integers(0, 14))
def test_soon_after_the_backlog_is_gone_every_commit_goes_at_once(rates: tuple[float, float], backlog: int) -> None:
    store = Store(100, *rates)
    store.run(600)
    store.end()
    grouping = store.grouping
    for _ in range(backlog):
        grouping.joined(store.now_s)
    for number in range(1_000):
        store.now_s += 0.001
        grouping.joined(store.now_s)
        grouping.settled(grouping.sent(1), 1, store.now_s + 0.0005)
        assert number < 64 + 16 or (grouping.way, grouping.full) == (Way.EACH, False)


@given(st.floats(1, 100))
def test_a_pause_is_no_slowness(pause_s: float) -> None:
    grouping = Grouping()

    def a_burst(commits: int, now_s: float) -> None:
        for _ in range(commits):
            grouping.joined(now_s)
        for trial in [grouping.sent(1) for _ in range(commits)]:
            grouping.settled(trial, 1, now_s + 0.001)

    a_burst(100, 1.0)
    ways = [grouping.way]
    a_burst(128, 1.0 + pause_s)
    assert [*ways, grouping.way] == [Way.EACH, Way.TOGETHER]
    assert grouping._wait_s[Way.EACH] < 0.002


def test_a_way_that_needs_many_in_flight_is_not_judged_by_few() -> None:
    """A probe shows 15,000/s of 30,000/s here, and the other way had been the better one."""
    store = Store(500, 3_000, 20_000, few_are_slower=2.0)
    store.run(3_000)
    assert store.grouping._better is Way.TOGETHER
    store.each_per_s = 30_000
    store.run(10_000)
    store.used = dict.fromkeys(Way, 0)
    store.run(10_000)
    assert store.used[Way.EACH] > 8_000


def test_another_server_is_noticed_long_before_the_next_trial() -> None:
    store = Store(200, 20_000, 5_000)
    while store.grouping._trials_left * 128 < 32_000:
        store.run(1_000)
    store.each_per_s = 1_000
    store.run(8_000)
    store.used = dict.fromkeys(Way, 0)
    store.run(10_000)
    assert store.used[Way.TOGETHER] > 8_000


def test_the_way_that_seems_slower_gets_no_more_than_its_trial() -> None:
    store = Store(600, 1_000, 20_000)
    store.run(5_000)
    assert store.grouping._better is Way.TOGETHER
    before = store.used[Way.EACH]
    while store.chose(Way.TOGETHER):
        store.run(1)
    store._send()
    assert (store.in_flight, store.grouping.full) == (32, True)
    while store.chose(Way.EACH):
        store.run(1)
    assert store.used[Way.EACH] - before == 32
