"""Laws of a shard's life."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.core.cluster import handoff
from aether.core.cluster.handoff import ANSWERING, LOSABLE, TRANSITIONS, Happening, Phase, advance

happenings = st.lists(st.sampled_from(Happening), max_size=40)


@given(happenings)
def test_what_cannot_happen_changes_nothing(events: list[Happening]) -> None:
    phase = Phase.AWAY
    for event in events:
        if (phase, event) in TRANSITIONS:
            phase = advance(phase, event)
        else:
            with pytest.raises(AssertionError, match="cannot happen"):
                advance(phase, event)


def reachable(start: Phase) -> set[Phase]:
    found, todo = {start}, [start]
    while todo:
        phase = todo.pop()
        for (before, _), after in TRANSITIONS.items():
            if before is phase and after not in found:
                found.add(after)
                todo.append(after)
    return found


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_can_be_reached_and_left_for_good(phase: Phase) -> None:
    assert phase in reachable(Phase.AWAY)
    assert Phase.AWAY in reachable(phase)


@pytest.mark.parametrize("phase", Phase)
def test_a_shard_that_may_be_open_can_be_lost_unless_a_write_of_ours_will_tell(phase: Phase) -> None:
    writing = {Phase.TAKING, Phase.RELEASING, Phase.RECLAIMING}
    assert (phase in LOSABLE) == (phase not in writing | {Phase.AWAY})
    assert (phase in LOSABLE) == ((phase, Happening.LOST) in TRANSITIONS)


@pytest.mark.parametrize("phase", [Phase.TAKING, Phase.RELEASING, Phase.RECLAIMING])
def test_a_write_can_be_stored_refused_or_unknown(phase: Phase) -> None:
    outcomes = {happening for before, happening in TRANSITIONS if before is phase}
    assert Happening.UNKNOWN in outcomes
    assert outcomes & {Happening.TAKEN, Happening.RELEASED}


def test_nothing_answers_while_the_row_may_not_be_ours() -> None:
    assert not ANSWERING & {Phase.AWAY, Phase.TAKING, Phase.RELEASING, Phase.LAPSED, Phase.RECLAIMING}


def test_the_theory_of_operation_names_every_phase() -> None:
    assert handoff.__doc__ is not None
    for phase in Phase:
        assert phase.name in handoff.__doc__
