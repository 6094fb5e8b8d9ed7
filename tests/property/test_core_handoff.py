"""Laws of a shard's life."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aether.core.cluster import handoff
from aether.core.cluster.handoff import ANSWERING, LOSABLE, TRANSITIONS, Phase, ShardTrigger, advance
from aether.core.transitions import IllegalTransition

happenings = st.lists(st.sampled_from(ShardTrigger), max_size=40)


@given(happenings)
def test_what_cannot_happen_changes_nothing(events: list[ShardTrigger]) -> None:
    phase = Phase.NOT_HELD
    for event in events:
        if (phase, event) in TRANSITIONS:
            phase = advance(phase, event)
        else:
            with pytest.raises(IllegalTransition, match="cannot happen"):
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
    assert phase in reachable(Phase.NOT_HELD)
    assert Phase.NOT_HELD in reachable(phase)


@pytest.mark.parametrize("phase", Phase)
def test_a_shard_that_may_be_open_can_be_lost_unless_a_write_of_ours_will_tell(phase: Phase) -> None:
    writing = {Phase.ACQUIRING, Phase.RELEASING, Phase.RECLAIMING}
    assert (phase in LOSABLE) == (phase not in writing | {Phase.NOT_HELD})
    assert (phase in LOSABLE) == ((phase, ShardTrigger.LOST) in TRANSITIONS)


@pytest.mark.parametrize("phase", [Phase.ACQUIRING, Phase.RELEASING, Phase.RECLAIMING])
def test_a_write_can_be_stored_refused_or_unknown(phase: Phase) -> None:
    outcomes = {trigger for before, trigger in TRANSITIONS if before is phase}
    assert ShardTrigger.UNKNOWN in outcomes
    assert outcomes & {ShardTrigger.ACQUIRED, ShardTrigger.RELEASED}


def test_nothing_answers_while_the_row_may_not_be_ours() -> None:
    assert not ANSWERING & {Phase.NOT_HELD, Phase.ACQUIRING, Phase.RELEASING, Phase.EXPIRED, Phase.RECLAIMING}


def test_the_theory_of_operation_names_every_phase() -> None:
    assert handoff.__doc__ is not None
    for phase in Phase:
        assert phase.name in handoff.__doc__
