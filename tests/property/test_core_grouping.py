"""The choice between storing each and storing together, against stores of known speed."""

from hypothesis import given
from hypothesis import strategies as st

from aether.core.grouping import Grouping, Way

RATES = st.tuples(st.floats(100, 100_000), st.floats(100, 100_000))


def run(grouping: Grouping, each_per_s: float, together_per_s: float, commits: int, now_s: float) -> float:
    """Settle so many commits with a backlog, at the speed of the way that is chosen."""
    for _ in range(commits):
        now_s += 1 / (each_per_s if grouping.way is Way.EACH else together_per_s)
        grouping.settled(grouping.way, 1, 100, now_s)
    return now_s


@given(RATES)
def test_with_a_backlog_the_faster_way_is_found_and_mostly_used(rates: tuple[float, float]) -> None:
    grouping, used = Grouping(), {Way.EACH: 0, Way.TOGETHER: 0}
    now_s = 0.0
    for _ in range(400):
        now_s = run(grouping, *rates, 257, now_s)
        used[grouping.way] += 1
    slower, faster = sorted(rates)
    if faster > slower * 1.01:
        assert used[Way.EACH if rates[0] > rates[1] else Way.TOGETHER] > 350


@given(RATES, RATES)
def test_a_store_that_changes_its_speed_is_noticed(before: tuple[float, float], after: tuple[float, float]) -> None:
    grouping = Grouping()
    now_s = run(grouping, *before, 20_000, 0.0)
    now_s = run(grouping, *after, 66 * 257, now_s)
    used = {Way.EACH: 0, Way.TOGETHER: 0}
    for _ in range(200):
        now_s = run(grouping, *after, 257, now_s)
        used[grouping.way] += 1
    slower, faster = sorted(after)
    if faster > slower * 1.01:
        assert used[Way.EACH if after[0] > after[1] else Way.TOGETHER] > 150


@given(RATES, st.integers(0, 15))
def test_soon_after_the_backlog_is_gone_every_commit_goes_at_once(rates: tuple[float, float], backlog: int) -> None:
    grouping = Grouping()
    now_s = run(grouping, *rates, 600, 0.0)
    for _ in range(64):
        grouping.settled(grouping.way, 1, backlog, now_s)
    assert grouping.way is Way.EACH


@given(st.integers(257, 2_000))
def test_what_is_still_under_way_after_a_change_says_nothing_about_the_new_way(under_way: int) -> None:
    """With many in flight all of a trial would else be commits of the other way."""
    grouping = Grouping()
    now_s = run(grouping, 1_000, 1_000, 257, 0.0)
    assert grouping.way is Way.TOGETHER
    for _ in range(under_way):
        now_s += 1 / 1_000
        grouping.settled(Way.EACH, 1, 500, now_s)
    assert grouping.way is Way.TOGETHER
    now_s = run(grouping, 1_000, 20_000, 257, now_s)
    assert grouping.way is Way.TOGETHER, "it was measured by its own commits, and is the faster one"
