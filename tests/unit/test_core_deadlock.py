"""Circles in who waits for whom, and which handler of one is put off."""

from hypothesis import given
from hypothesis import strategies as st

from aether.core.actor.deadlock import Ask, CircleStep, Waits, circle_through, put_off

ACTORS = [f"node/{key}" for key in "abcdef"]
ASKS = st.builds(Ask, st.sampled_from(ACTORS), st.sampled_from([f"id-{n}" for n in range(9)]))
GRAPHS = st.dictionaries(
    st.sampled_from(ACTORS),
    st.builds(Waits, st.sampled_from([f"id-{n}" for n in range(9)]), st.lists(ASKS, max_size=3).map(tuple)),
)


def reaches(start: str, goal: str, waits: dict[str, Waits], seen: frozenset[str] = frozenset()) -> bool:
    """Whether an actor waits for another one, perhaps through others: by trying all ways."""
    asked = [ask.actor for ask in waits[start].asks] if start in waits else []
    return goal in asked or any(reaches(one, goal, waits, seen | {one}) for one in asked if one not in seen)


@given(GRAPHS, st.sampled_from(ACTORS))
def test_a_circle_is_found_when_there_is_one(waits: dict[str, Waits], actor: str) -> None:
    circle = circle_through(actor, waits)
    assert (circle is not None) == reaches(actor, actor, waits)
    for step, following in zip(circle or (), [*(circle or ())[1:], *(circle or ())[:1]], strict=True):
        assert step.runs == waits[step.actor].runs
        assert Ask(following.actor, step.asks) in waits[step.actor].asks
    assert circle is None or circle[0].actor == actor


def test_the_one_that_is_put_off_runs_something_else_than_it_is_asked_for() -> None:
    """`a` asks `b`, which runs that and asks `c`; `c` runs another command and asks `a`, whose handler is the first."""
    circle = (
        CircleStep("node/a", "own-a", "ask-1"),
        CircleStep("node/b", "ask-1", "ask-2"),
        CircleStep("node/c", "own-c", "ask-3"),
    )
    assert put_off(circle) == "node/c"
    assert {put_off((*circle[n:], *circle[:n])) for n in range(3)} == {"node/c"}
    assert put_off((circle[0], circle[1], CircleStep("node/c", "ask-2", "ask-3"))) == "node/a"


def test_a_circle_in_which_each_runs_what_it_is_asked_for_is_left_to_its_chain() -> None:
    assert put_off((CircleStep("node/a", "ask-2", "ask-1"), CircleStep("node/b", "ask-1", "ask-2"))) == ""
