"""The choice between storing each and storing together, against stores of known speed."""

from hypothesis import given
from hypothesis import strategies as st

from aether.core.grouping import Grouping, Way

RATES = st.tuples(st.floats(100, 100_000), st.floats(100, 100_000))


def run(grouping: Grouping, each_per_s: float, together_per_s: float, commits: int, now_s: float) -> float:
    """Settle so many commits with a backlog, at the speed of the way that is chosen."""
    for _ in range(commits):
        now_s += 1 / (each_per_s if grouping.way is Way.EACH else together_per_s)
        grouping.settled(1, 100, now_s)
    return now_s


@given(RATES)
def test_with_a_backlog_the_faster_way_is_found_and_mostly_used(rates: tuple[float, float]) -> None:
    each_per_s, together_per_s = rates
    grouping = Grouping(retrial_s=1e9)
    run(grouping, each_per_s, together_per_s, 600, 0.0)
    slower, faster = sorted(rates)
    if faster > slower * 1.01:
        assert grouping.way is (Way.EACH if each_per_s > together_per_s else Way.TOGETHER)


@given(RATES, RATES)
def test_a_rate_that_has_grown_old_is_measured_again(before: tuple[float, float], after: tuple[float, float]) -> None:
    grouping = Grouping(retrial_s=1.0)
    now_s = run(grouping, *before, 600, 0.0)
    used = {Way.EACH: 0, Way.TOGETHER: 0}
    for _ in range(40):
        now_s = run(grouping, *after, 257, now_s + 10.0)
        used[grouping.way] += 1
    assert min(used.values()) > 0, "both ways are tried again and again"


@given(RATES, st.integers(0, 15))
def test_without_a_backlog_every_commit_goes_at_once(rates: tuple[float, float], backlog: int) -> None:
    grouping = Grouping()
    now_s = run(grouping, *rates, 600, 0.0)
    grouping.settled(1, backlog, now_s)
    assert grouping.way is Way.EACH
