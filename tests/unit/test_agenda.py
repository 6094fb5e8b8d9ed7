"""An actor's agenda: what it expects, what closes it, and that history and snapshots agree on it."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import Raw
from msgspec.json import decode, encode
from msgspec.structs import replace

from aether.core.actor.agenda import Agenda, OpenTask, is_tick_or_result
from aether.errors import UnreadableEvent
from aether.ids import ActorId, Position
from aether.sends import (
    CancelSchedule,
    CancelTask,
    Send,
    SetSchedule,
    StartTask,
    decode_sends,
    encode_sends,
    made_id,
    sent_by,
)
from aether.tells import Tell
from aether.wire import Event, instant, new_event

ALICE = ActorId("account", "alice")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TELL = Tell(kind="account", key="bob", command="deposit", args=Raw(b'{"amount":1}'))
EVENT = new_event(version=1, source="/bank/account/alice", type="Deposited", time=instant(0), data=b"{}")
TASK = StartTask(id="t1", task="charge", then="paid", failed="payment_failed")


def setting(id: str = "s1", at: datetime = NOON, rule: str = "", **more: Any) -> SetSchedule:
    """A schedule of alice."""
    wanted = {"name": "expiry", "kind": "account", "key": "alice", "command": "expire", **more}
    return SetSchedule(id=id, at=at, rule=rule, **wanted)


def test_a_task_is_expected_until_its_result_is_there() -> None:
    agenda = Agenda()
    assert not agenda.expects(TASK.result_id)
    agenda.open([TELL, TASK])
    assert agenda.tasks == {"t1": OpenTask("charge", "paid", "payment_failed")}
    assert agenda.expects("task:t1")
    assert not agenda.expects("task:t2")
    agenda.close("t1")
    assert agenda.expects("task:t1")
    agenda.close("task:t1")
    assert not agenda.expects("task:t1")
    assert not agenda


def test_a_cancelled_task_is_not_expected() -> None:
    agenda = Agenda()
    agenda.open([TASK, CancelTask(id="t1"), CancelTask(id="t9")])
    assert not agenda.expects("task:t1")


def test_only_the_next_tick_of_the_last_setting_is_expected() -> None:
    agenda = Agenda()
    agenda.open([setting("s1"), setting("s2", NOON + timedelta(minutes=1))])
    first, second = setting("s1").firing_id, setting("s2", NOON + timedelta(minutes=1)).firing_id
    assert not agenda.expects(first)
    assert agenda.expects(second)
    assert not agenda.expects(setting("s2", NOON + timedelta(minutes=2)).firing_id)
    agenda.close(first)
    assert agenda.expects(second)
    agenda.close(second)
    assert not agenda.expects(second)
    assert not agenda


def test_a_tick_that_sets_the_next_one_keeps_its_schedule() -> None:
    agenda, later = Agenda(), NOON + timedelta(minutes=1)
    agenda.open([setting(rule="every 60")])
    agenda.close(setting().firing_id)
    agenda.open([setting(at=later, rule="every 60")])
    assert not agenda.expects(setting().firing_id)
    assert agenda.expects(setting(at=later).firing_id)
    agenda.open([CancelSchedule(name="expiry"), CancelSchedule(name="unknown")])
    assert not agenda


class Unwalked(dict[str, SetSchedule]):
    """Schedules that can only be looked up: one actor may have thousands, and all their ticks come."""

    def __iter__(self) -> Any:
        pytest.fail("all schedules are walked through")

    keys = values = items = __iter__


def test_of_many_schedules_that_of_a_tick_is_looked_up() -> None:
    many = [setting(f"s{n}", name=f"reminder {n}", rule="every 60") for n in range(100)]
    agenda, later = Agenda(), NOON + timedelta(minutes=1)
    agenda.open(many)
    agenda = decode(encode(agenda), type=Agenda)
    agenda.schedules = Unwalked(agenda.schedules)
    for one in many[:50]:
        following = replace(one, at=later)
        assert agenda.expects(one.firing_id)
        agenda.close(one.firing_id)
        agenda.open([following])
        assert (agenda.expects(one.firing_id), agenda.expects(following.firing_id)) == (False, True)
        agenda.open([CancelSchedule(name=one.name)])
        assert not agenda.expects(following.firing_id)
    for one in many[50:]:
        other = replace(one, id=f"other {one.id}")
        agenda.open([other])
        assert (agenda.expects(one.firing_id), agenda.expects(other.firing_id)) == (False, True)
        agenda.close(other.firing_id)
    assert not agenda


def test_only_schedules_and_tasks_are_stored() -> None:
    agenda = Agenda()
    agenda.open([setting(), TASK])
    assert set(decode(encode(agenda))) == {"schedules", "tasks"}


def test_a_schedule_does_not_keep_the_snapshot_that_it_was_read_from() -> None:
    agenda = Agenda()
    agenda.open([setting(rule="every 60", args=Raw(b'{"by":"bob"}'))])
    snapshot = encode(agenda)
    references = sys.getrefcount(snapshot)
    again = decode(snapshot, type=Agenda)
    assert again == agenda
    assert sys.getrefcount(snapshot) == references


def test_a_schedule_does_not_keep_the_commit_that_has_set_it() -> None:
    agenda, event = Agenda(), sending([TELL, setting(key="bob", args=Raw(b'{"by":"bob"}'))])
    sends = event.sends
    references = sys.getrefcount(sends)
    agenda.open(decode_sends(event, ALICE, Position(7)))
    assert bytes(agenda.schedules["expiry"].args) == b'{"by":"bob"}'
    assert sys.getrefcount(sends) == references


def test_other_commands_are_no_ticks_and_no_results() -> None:
    assert is_tick_or_result("task:t1")
    assert is_tick_or_result("timer:s1@2026")
    assert not is_tick_or_result("tell:5.0")
    assert not is_tick_or_result("mine")


def test_ids_are_the_same_when_a_handler_runs_again_and_others_when_its_command_is_carried_out_anew() -> None:
    made = {made_id(ALICE, "c-1", 5, 0), made_id(ALICE, "c-1", 5, 1), made_id(ALICE, "c-2", 5, 0)}
    made |= {made_id(ALICE, "c-1", 6, 0), made_id(ActorId("account", "bob"), "c-1", 5, 0)}
    assert len(made) == 5
    assert made_id(ALICE, "c-1", 5, 0) in made


@pytest.mark.parametrize(
    "send", [TELL, TASK, setting(rule="cron 0 0 9 * * *"), CancelTask(id="t1"), CancelSchedule(name="expiry")]
)
def test_what_is_sent_comes_back_from_a_commit_with_its_place(send: Send) -> None:
    events = [sending([TELL]), sending([send])]
    first, second = sent_by(events, ALICE, Position(7))
    assert (first.position, first.number, first.source) == (7, 0, "account/alice")
    assert type(second) is type(send)
    assert (second.position, second.number, second.source) == (7, 1, "account/alice")


@pytest.mark.parametrize("sends", ['[{"tag":"later"}]', '[{"tag":"task"}]', "{", '[{"kind":1}]', "[7]"])
def test_what_an_earlier_version_does_not_know_stops_the_actor(sends: str) -> None:
    with pytest.raises(UnreadableEvent, match=r"what the commit of account/alice at position 7 sends cannot be read"):
        sent_by([replace(EVENT, sends=sends)], ALICE, Position(7))


def sending(sends: list[Send]) -> Event:
    """A stored event whose command sent this."""
    return replace(EVENT, sends=encode_sends(sends))


@pytest.mark.parametrize("rule", ["", "every 60"])
def test_all_of_a_schedule_is_kept_so_that_it_can_be_armed_again(rule: str) -> None:
    caused: dict[str, Any] = {"correlationid": "order-7", "causationid": "c-1", "traceparent": "trace"}
    one, agenda = setting(rule=rule, args=Raw(b'{"by":"bob"}'), **caused), Agenda()
    agenda.open([one])
    assert decode(encode(agenda), type=Agenda).schedules == {"expiry": one}
