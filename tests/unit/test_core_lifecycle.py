"""The life of a machine: the table is total where it must be and illegal input changes nothing."""

import pytest

from aether.core.actor.lifecycle import TRANSITIONS, Phase, Trigger, advance
from aether.core.transitions import IllegalTransition


def test_every_phase_but_the_last_can_be_left_and_every_phase_can_be_reached() -> None:
    left = {phase for phase, _ in TRANSITIONS}
    reached = set(TRANSITIONS.values()) | {Phase.REPLAYING}
    assert left == set(Phase) - {Phase.STOPPED}
    assert reached == set(Phase)


def test_an_open_turn_or_commit_cannot_be_stopped() -> None:
    for phase in (Phase.RUNNING, Phase.COMMITTING):
        with pytest.raises(IllegalTransition, match="stopped cannot happen"):
            advance(phase, Trigger.STOPPED)


def test_only_the_history_makes_a_machine_idle_after_anything_but_a_plain_yes() -> None:
    into_idle = {trigger for (_, trigger), phase in TRANSITIONS.items() if phase is Phase.IDLE}
    assert into_idle == {Trigger.REPLAYED, Trigger.TURN_EMPTY, Trigger.COMMITTED}


def test_what_is_not_in_the_table_raises() -> None:
    for phase in Phase:
        for trigger in Trigger:
            if (phase, trigger) not in TRANSITIONS:
                with pytest.raises(IllegalTransition) as raised:
                    advance(phase, trigger)
                assert (raised.value.state, raised.value.trigger) == (phase, trigger)
