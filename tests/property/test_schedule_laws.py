"""What comes after a tick, and which ticks an actor expects: both against a slow and plain reference."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.json import decode, encode
from msgspec.structs import replace

from aether.core.actor.agenda import Agenda
from aether.ids import ActorId
from aether.model.schedules import CATCH_UP, Cron, Every
from aether.sends import CancelSchedule, Send, SetSchedule

NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)
ME = ActorId("account", "alice")

recurring = st.one_of(
    st.builds(lambda seconds: Every(seconds=seconds), st.integers(1, 500)),
    st.builds(
        Cron,
        st.sampled_from(["0 * * * * *", "*/7 * * * * *", "0 30 2 * * *", "0 0 */2 * * SAT-SUN"]),
        st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
    ),
)


@given(recurring, st.sampled_from(CATCH_UP), st.floats(-100, 10_000))
def test_what_comes_after_a_tick_is_found_by_going_through_all(
    when: Every | Cron, catch_up: Any, late_s: float
) -> None:
    recurrence = when.recurrence._replace(catch_up=catch_up)
    tick = when.first(NOON)
    now = tick + timedelta(seconds=late_s)
    following = recurrence.after(tick)
    while catch_up != "all" and following is not None and following <= now:
        following = recurrence.after(following)
    assert recurrence.after_run(tick, now) == following


names = st.sampled_from("abc")
steps = st.one_of(
    st.tuples(st.just("set"), names, st.booleans()),
    st.tuples(st.just("cancel"), names),
    st.tuples(st.just("tick"), st.integers(0, 10)),
    st.tuples(st.just("store")),
)


@given(st.lists(steps, max_size=40))
def test_an_actor_expects_the_next_tick_of_the_last_setting_of_each_name(made: list[Any]) -> None:
    """Beside the agenda stands a dictionary, and every tick of every setting is asked for."""
    agenda, expected = Agenda(), dict[str, str]()
    ticks: list[SetSchedule] = []

    def opens(send: Send) -> None:
        agenda.open([send])
        if isinstance(send, SetSchedule):
            ticks.append(send)
            expected[send.name] = send.firing_id
        elif isinstance(send, CancelSchedule):
            expected.pop(send.name, None)

    for step in made:
        match step:
            case ("set", name, again):
                rule = "every 60" if again else ""
                opens(
                    SetSchedule(
                        name=name, id=f"s{len(ticks)}", at=NOON, kind=ME.kind, key=ME.key, command="go", rule=rule
                    )
                )
            case ("cancel", name):
                opens(CancelSchedule(name=name))
            case ("tick", number) if number < len(ticks):
                tick = ticks[number]
                waited = expected.get(tick.name) == tick.firing_id
                agenda.close(tick.firing_id)
                if waited:
                    del expected[tick.name]
                if waited and tick.rule:
                    opens(replace(tick, at=tick.at + timedelta(minutes=1)))
            case ("store",):
                agenda = decode(encode(agenda), type=Agenda)
            case _:
                pass
        assert {one.firing_id for one in ticks if agenda.expects(one.firing_id)} == set(expected.values())
        assert len(agenda) == len(expected)
