"""The whole suite's settings: how long Hypothesis searches.

`ci` is the default and derandomized, so that a run fails for what changed and not for its luck; `nightly` searches
longer and somewhere else each night, and a test may take as long as that needs. Choose with HYPOTHESIS_PROFILE. Neither
has a deadline: nothing here is timed.
"""

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aether.system.environment import is_compiled
from tests.support.nightly import NIGHTLY, TEST_LIMIT_S

if "AETHER_COMPILED" in os.environ and is_compiled() != (os.environ["AETHER_COMPILED"] == "1"):
    raise RuntimeError(f"AETHER_COMPILED is {os.environ['AETHER_COMPILED']}, and what would be tested is not so")

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=100, print_blob=True)
settings.register_profile(
    "nightly",
    deadline=None,
    max_examples=5_000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_itemcollected(item: pytest.Item) -> None:
    """A nightly test has its own limit, before that of its mark."""
    if NIGHTLY:
        item.add_marker(pytest.mark.timeout(TEST_LIMIT_S), append=False)


@given(st.none())
def _begin_hypothesis(_: None) -> None:
    """Have Hypothesis make its random generator: it warns when nothing seems to hold one, and sees nothing frozen."""


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the garbage collector need not go through it in each test."""
    _begin_hypothesis()
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test has printed and logged is text that can be sent: xdist ends at a lone surrogate."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report
