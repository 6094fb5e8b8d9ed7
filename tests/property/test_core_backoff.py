"""Laws of retry delays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.core.backoff import Backoff


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_never_nothing_and_never_over_the_cap(attempt: int, jitter: float) -> None:
    backoff = Backoff(first_s=0.02, cap_s=1.0)
    assert 0.01 <= backoff.delay_s(attempt, jitter) <= 1.0


@given(st.floats(0, 1, exclude_max=True))
def test_delays_grow_until_the_cap(jitter: float) -> None:
    delays = [Backoff().delay_s(attempt, jitter) for attempt in range(12)]
    assert delays == sorted(delays)
    assert delays[-1] == pytest.approx(Backoff().cap_s * (0.5 + 0.5 * jitter))
