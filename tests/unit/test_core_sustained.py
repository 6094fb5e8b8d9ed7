"""What is observed for long enough, with nothing to the contrary in between."""

from aether.core.sustained import Sustained


def test_it_is_true_after_its_time() -> None:
    sustained = Sustained(25.0)
    assert [sustained.observed(now_s) for now_s in (10.0, 34.9, 35.0)] == [False, False, True]


def test_the_contrary_begins_it_anew() -> None:
    sustained = Sustained(25.0)
    assert not sustained.observed(10.0)
    sustained.over()
    assert not sustained.observed(35.0)
    assert sustained.observed(60.0)


def test_without_a_time_it_is_true_at_once() -> None:
    assert Sustained(0.0).observed(5.0)
