"""Laws of histograms: adding is counting in one, a difference undoes it, and quantiles lie where the durations do."""

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from aether.core.metrics.histogram import BOUNDS_S, Histogram, histogram_of

durations = st.lists(st.floats(0, 100) | st.sampled_from(BOUNDS_S), max_size=50)


def histogram(seconds: list[float]) -> Histogram:
    found = Histogram()
    for one in seconds:
        found.observe(one)
    return found


@given(durations)
def test_a_bucket_counts_what_is_at_most_its_bound_and_more_than_the_one_before(seconds: list[float]) -> None:
    found, below = histogram(seconds), 0
    for bound_s, count in zip(BOUNDS_S, found.counts, strict=False):
        below += count
        assert below == sum(one <= bound_s for one in seconds)
    assert found.count == len(seconds)


@given(durations, durations)
def test_adding_is_counting_all_in_one(some: list[float], others: list[float]) -> None:
    both = histogram(some)
    both.add(histogram(others))
    assert both.counts == histogram(some + others).counts


@given(durations, durations)
def test_what_was_counted_since_is_what_came_after(before: list[float], after: list[float]) -> None:
    gained = histogram(before + after).since(histogram(before))
    assert gained.counts == histogram(after).counts
    assert gained.sum_s >= 0


@given(durations, st.floats(0, 1))
def test_a_quantile_is_in_the_bucket_of_the_duration_that_it_estimates(seconds: list[float], share: float) -> None:
    estimate_s = histogram(seconds).quantile_s(share)
    if not seconds:
        assert estimate_s is None
        return
    assert estimate_s is not None
    rank = share * len(seconds)
    exact_s = sorted(seconds)[max(0, min(len(seconds) - 1, -int(-rank // 1) - 1))]
    bucket = min(bisect_left(BOUNDS_S, exact_s), len(BOUNDS_S) - 1)
    assert (BOUNDS_S[bucket - 1] if bucket else 0.0) <= estimate_s <= BOUNDS_S[bucket]


@given(durations)
def test_counts_by_the_same_bounds_are_the_same(seconds: list[float]) -> None:
    found = histogram(seconds)
    assert histogram_of(found.counts, list(BOUNDS_S), found.sum_s).counts == found.counts
