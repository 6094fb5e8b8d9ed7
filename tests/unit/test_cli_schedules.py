"""`aether schedules`: which wait, and to cancel one."""

import json
from typing import Any

import pytest
from msgspec import Raw

from aether.errors import DeadlineExceeded, Unavailable
from aether.sends import SetSchedule
from aether.wire import instant
from tests.support.command_line import Pool, Run, runner

EXPIRY = SetSchedule(
    name="expiry", id="s1", at=instant(1_800_000_000), kind="booking", key="b1", command="expire",
    args=Raw(b'{"why":"late"}'), source="booking/b1",
)  # fmt: skip
DAILY = SetSchedule(
    name="daily", id="s2", at=instant(1_800_000_600), kind="report", key="r", command="write", source="booking/b2",
    rule="cron 0 0 9 * * *", zone="Europe/Berlin", catch_up="skip",
)  # fmt: skip


class Stopped(Pool):
    """A server without workers."""

    async def schema(self) -> dict[str, Any]:
        raise Unavailable("no worker")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


def test_ls_lists_what_waits(run: Run) -> None:
    pool = Pool(set_schedules=[EXPIRY, DAILY])
    ran = run("schedules", "ls", pool=pool)
    once, daily = map(json.loads, ran.out.splitlines())
    assert once == {
        "next": "2027-01-15T08:00:00Z", "actor": "booking/b1", "name": "expiry", "rule": "once", "zone": "",
        "catch_up": "", "target": "booking/b1", "command": "expire", "args": {"why": "late"},
    }  # fmt: skip
    assert (daily["rule"], daily["zone"], daily["catch_up"]) == ("cron 0 0 9 * * *", "Europe/Berlin", "skip")
    assert daily["target"] == "report/r"
    assert pool.asked == [("schedules", "", "")]


def test_ls_asks_for_a_kind_or_an_actor(run: Run) -> None:
    pool = Pool()
    assert run("schedules", "ls", "account", pool=pool).code == 0
    assert run("schedules", "ls", "account", "b1", pool=pool).out == ""
    asked = [one for one in pool.asked if one[0] == "schedules"]
    assert asked == [("schedules", "account", ""), ("schedules", "account", "b1")]


def test_a_kind_without_any_is_one_of_the_model_or_an_error(run: Run) -> None:
    ran = run("schedules", "ls", "acount")
    assert (ran.code, ran.out) == (2, "")
    assert "the model has no actor 'acount'; its actors are account" in ran.err
    assert run("schedules", "ls", "booking", pool=Pool(set_schedules=[EXPIRY])).code == 0
    assert run("schedules", "ls", "acount", pool=Stopped()).code == 0


def test_cancel_names_what_was_cancelled(run: Run) -> None:
    pool = Pool(set_schedules=[EXPIRY, DAILY])
    ran = run("schedules", "cancel", "booking", "b2", "daily", pool=pool)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "cancelled daily of booking/b2: write of report/r was due at 2027-01-15T08:10:00Z\n"
    assert pool.asked == [("cancel schedule", "booking/b2", "daily")]


def test_cancel_of_what_is_not_set_is_bad_input(run: Run) -> None:
    ran = run("schedules", "cancel", "booking", "b1", "daily", pool=Pool(set_schedules=[EXPIRY, DAILY]))
    assert (ran.code, ran.out) == (2, "")
    assert "booking/b1 has no schedule 'daily'" in ran.err
    assert run("schedules", "cancel", "Booking", "b1", "daily").code == 2
    assert run("schedules", "cancel", "booking", "b1").code == 2


def test_cancel_says_how_to_find_out_what_came_of_it(run: Run) -> None:
    late = DeadlineExceeded("no answer within 10 s", outcome_known=False)
    ran = run("schedules", "cancel", "booking", "b1", "expiry", pool=Pool(error=late))
    assert ran.code == 3
    assert "ask again: if it was cancelled, there is no such schedule then" in ran.err
