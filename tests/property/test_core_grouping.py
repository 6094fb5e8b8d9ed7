"""The choice between storing each and storing together, against stores of known speed."""

import random
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aether.core.grouping import FEW, Grouping, Way

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
    _in_flight: deque[int] = field(default_factory=deque)

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
        for commits in self._in_flight:
            self.grouping.settled(commits, self.now_s)
        for _ in range(self._line):
            self.grouping.sent(1)
            self.grouping.settled(1, self.now_s)
        self._in_flight.clear()
        self._line = 0

    def _call(self, commits: int) -> None:
        for _ in range(commits):
            self.grouping.joined(self.now_s)
        self._line += commits

    def _send(self) -> None:
        if self.grouping.way is Way.TOGETHER:
            if self._line and not self._in_flight:
                self.grouping.sent(self._line)
                self._in_flight.append(self._line)
                self.in_flight, self._line = self._line, 0
            return
        while self._line and not self.grouping.full:
            self.grouping.sent(1)
            self._in_flight.append(1)
            self.in_flight += 1
            self._line -= 1

    def _settle(self) -> int:
        """One batch, or a lump of singles that all come at the time of the last one."""
        lump = [self._in_flight.popleft()]
        together = lump[0] > 1
        while self._in_flight and len(lump) < self.lump:
            lump.append(self._in_flight.popleft())
        count = sum(lump)
        each_per_s = self.each_per_s / (self.few_are_slower if self.grouping.full and self.in_flight <= 128 else 1.0)
        self.now_s += count / (self.together_per_s if together else each_per_s)
        self.used[Way.TOGETHER if together else Way.EACH] += count
        for commits in lump:
            self.in_flight -= commits
            self.grouping.settled(commits, self.now_s)
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
    underway: list[tuple[float, int, int]] = []
    sent, batches = 0, 0
    while settled < commits:
        if settled < 2_000:
            used = dict.fromkeys(Way, 0)
        if not underway or arrives_s < underway[0][0]:
            line, now_s = line + 1, arrives_s
            arrives_s += chance.expovariate(per_s)
            grouping.joined(now_s)
        else:
            now_s, _, count = heappop(underway)
            in_flight, settled, batches = in_flight - count, settled + count, batches - (count > 1)
            grouping.settled(count, now_s)
        way = grouping.way
        while line and not batches and (not in_flight if way is Way.TOGETHER else not grouping.full):
            count = line if way is Way.TOGETHER else 1
            line, in_flight, batches = line - count, in_flight + count, batches + (count > 1)
            used[way] += count
            one_s = each_at_first_s if each_at_first_s and settled < 2_000 else each_s
            ends_s = now_s + (together_s if way is Way.TOGETHER else one_s)
            sent += 1
            grouping.sent(count)
            heappush(underway, (ends_s, sent, count))
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


class Always:
    """No choice at all, as a measure for one."""

    full = False

    def __init__(self, way: Way) -> None:
        self.way = way

    def joined(self, now_s: float) -> None:
        """Nothing to learn."""

    def sent(self, commits: int) -> None:
        """Nothing to learn."""

    def settled(self, commits: int, now_s: float) -> None:
        """Nothing to learn."""


def waits_s(
    chooser: Grouping | Always, per_s: float, each_s: float, batch_s: float, batched_s: float, commits: int = 16_000
) -> list[float]:
    """How long commits that come at random wait for a store that does one thing at a time, in order.

    The first half is left aside. The store takes `each_s` for one, and `batch_s` and `batched_s` a commit for a batch.
    """
    chance = random.Random(1)  # noqa: S311 - arrivals, not a secret
    line: deque[float] = deque()
    underway: deque[tuple[float, list[float]]] = deque()
    arrives_s, free_s, found = 0.0, 0.0, list[float]()
    while len(found) < commits:
        if not underway or arrives_s < underway[0][0]:
            now_s = arrives_s
            line.append(now_s)
            arrives_s += chance.expovariate(per_s)
            chooser.joined(now_s)
        else:
            now_s, joined_s = underway.popleft()
            found += [now_s - one_s for one_s in joined_s]
            chooser.settled(len(joined_s), now_s)
        while line and not (underway and len(underway[0][1]) > 1):
            if chooser.way is Way.TOGETHER and not underway:
                sent = list(line)
            elif chooser.way is Way.EACH and not chooser.full:
                sent = [line[0]]
            else:
                break
            for _ in sent:
                line.popleft()
            free_s = max(free_s, now_s) + (each_s if len(sent) == 1 else batch_s + batched_s * len(sent))
            underway.append((free_s, sent))
            chooser.sent(len(sent))
    return sorted(found[commits // 2 :])


@settings(max_examples=25)
@given(st.floats(0.2, 0.8), st.floats(1e-4, 1e-3), st.floats(1e-3, 8e-3), st.floats(5e-6, 5e-5))
def test_at_any_load_it_waits_about_as_in_the_better_way(
    load: float, each_s: float, batch_s: float, batched_s: float
) -> None:
    """Of what the store carries at all. In the 99th percentile are commits that wait while singles are explored."""
    per_s = load * max(1 / each_s, 500 / (batch_s + 500 * batched_s))
    assume(per_s * each_s < 15)  # the first singles of more are still felt much later
    assume(batch_s > 3 * each_s)  # else batches pay from less than what counts as a backlog
    store = (per_s, each_s, batch_s, batched_s)
    ways = [waits_s(Always(way), *store) for way in Way]
    chosen = waits_s(Grouping(), *store)
    for share, allowed_s in ((0.5, batch_s + 16 * each_s), (0.99, batch_s + 128 * each_s)):
        better_s = min(way[int(share * len(way))] for way in ways)
        assert chosen[int(share * len(chosen))] < 1.5 * better_s + allowed_s


@pytest.mark.parametrize("per_s", [14_000, 18_000])
def test_exploring_singles_is_not_felt_where_only_batches_carry_the_load(per_s: float) -> None:
    """A store that syncs: 4,000 singles a second, or batches that take 6 ms and 0.03 more for each commit."""
    store = (per_s, 0.000_25, 0.006, 0.000_03)
    chosen, alone = waits_s(Grouping(), *store, commits=60_000), waits_s(Always(Way.TOGETHER), *store, commits=60_000)
    for share in (0.5, 0.99, 0.999):
        assert chosen[int(share * len(chosen))] < 1.15 * alone[int(share * len(alone))]


def test_a_far_store_is_told_from_a_slow_one_when_it_is_first_explored() -> None:
    """It takes 30 ms for one, and all that are sent at once. Whoever sends few sees few."""
    used = at_a_load(5_000, 0.03, 0.06, 30_000, each_at_first_s=0.3)
    assert used[Way.EACH] > 20_000


@given(st.integers(16, 128))
def test_until_both_ways_are_known_a_backlog_is_stored_each_on_its_own(commits: int) -> None:
    """Also when nothing has settled yet. No more are sent than are needed to know how fast that is."""
    grouping = Grouping()
    for number in range(commits):
        grouping.joined(number * 1e-4)
        assert (grouping.way, grouping.full) == (Way.EACH, False)
        grouping.sent(1)
    assert grouping.full == (commits == 128)
    for number in range(commits):
        assert grouping.way is Way.EACH
        grouping.settled(1, 1 + number * 1e-4)


def test_a_small_batch_before_a_flood_says_little() -> None:
    """Those that came while it was under way waited, but not for their batch."""
    grouping = Grouping()
    for _ in range(128):
        grouping.joined(1.0)
        grouping.sent(1)
    for number in range(128):
        grouping.settled(1, 1.001 + number / 1_000)
    now_s = 2.0
    for batch, meanwhile in ((100, 8), (8, 300), (300, 0)):
        for _ in range(0 if now_s > 2 else batch):
            grouping.joined(now_s)
        grouping.sent(batch)
        for _ in range(meanwhile):
            grouping.joined(now_s)
        now_s += 0.02
        grouping.settled(batch, now_s)
    assert 20 <= grouping.pays_from < 50


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
    store = Store(callers, *before, grouping=Grouping(stay_commits_max=1_024))
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
        grouping.sent(1)
        grouping.settled(1, store.now_s + 0.0005)
        assert number < 1 or (grouping.way, grouping.full) == (Way.EACH, False)


@given(st.floats(1, 100))
def test_a_pause_is_no_slowness(pause_s: float) -> None:
    grouping = Grouping()

    def a_burst(commits: int, now_s: float) -> None:
        for _ in range(commits):
            grouping.joined(now_s)
        for _ in range(commits):
            grouping.sent(1)
        for _ in range(commits):
            grouping.settled(1, now_s + 0.001)

    a_burst(100, 1.0)
    ways = [grouping.way]
    a_burst(128, 1.0 + pause_s)
    assert [*ways, grouping.way] == [Way.EACH, Way.TOGETHER]
    later_s = 2.0 + pause_s
    for _ in range(50):
        grouping.joined(later_s)
    grouping.sent(50)
    grouping.settled(50, later_s + 0.001)
    assert grouping.pays_from == pytest.approx(228 / 2)


def test_a_way_that_needs_many_in_flight_is_not_judged_by_few() -> None:
    """A probe shows 15,000/s of 30,000/s here, and the other way had been the better one."""
    store = Store(500, 3_000, 20_000, few_are_slower=2.0)
    store.run(3_000)
    assert store.used[Way.TOGETHER] > 2_000
    store.each_per_s = 30_000
    store.run(20_000)
    store.used = dict.fromkeys(Way, 0)
    store.run(10_000)
    assert store.used[Way.EACH] > 8_000


@pytest.mark.parametrize("callers", [40, 60, 300])
def test_callers_that_call_in_a_lump_are_no_backlog(callers: int) -> None:
    """Singles wait less here; half as many open commits more would have been reason enough for batches."""
    store = Store(callers, 13_000, 12_000)
    store.run(20_000)
    assert store.chose(Way.EACH)
    store._call(callers // 2)
    assert store.grouping._open >= store.grouping.pays_from
    assert store.chose(Way.EACH)
    store._call(callers)
    assert store.chose(Way.TOGETHER)


def test_batches_that_a_lump_began_are_doubted_soon() -> None:
    """Whatever had made doubts of the way before seldom."""
    store = Store(40, 13_000, 12_000)
    store.run(60_000)
    store._call(45)
    assert store.chose(Way.TOGETHER)
    store.used = dict.fromkeys(Way, 0)
    store.run(10_000)
    assert store.used[Way.EACH] > 5_000


def test_another_server_is_noticed_long_before_the_next_trial() -> None:
    store = Store(200, 20_000, 5_000)
    store.run(60_000)
    store.each_per_s = 1_000
    store.run(8_000)
    store.used = dict.fromkeys(Way, 0)
    store.run(10_000)
    assert store.used[Way.TOGETHER] > 8_000


def test_the_way_that_seems_slower_gets_no_more_than_its_trial() -> None:
    """At first as many as tell a slow store from a far one; once it is known, a few that say that it is as it was."""
    store = Store(600, 1_000, 20_000)
    store.run(500)
    trials: list[int] = []
    for _ in range(3):
        assert store.chose(Way.TOGETHER)
        before = store.used[Way.EACH]
        while store.chose(Way.TOGETHER):
            store.run(1)
        store._send()
        assert (store.in_flight, store.grouping.full) == (FEW, True)
        while store.chose(Way.EACH):
            store.run(1)
        trials.append(store.used[Way.EACH] - before)
    assert trials == [FEW + 32, FEW, FEW]
