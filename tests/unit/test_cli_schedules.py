"""`aether schedules ls`."""

import json

import pytest
from msgspec import Raw

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


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


def test_ls_lists_what_waits(run: Run) -> None:
    pool = Pool(set_schedules=[EXPIRY, DAILY])
    ran = run("schedules", "ls", pool=pool)
    once, daily = map(json.loads, ran.out.splitlines())
    assert once == {
        "next": "2027-01-15T08:00:00+00:00", "actor": "booking/b1", "name": "expiry", "rule": "once", "zone": "",
        "catch_up": "", "target": "booking/b1", "command": "expire", "args": {"why": "late"},
    }  # fmt: skip
    assert (daily["rule"], daily["zone"], daily["catch_up"]) == ("cron 0 0 9 * * *", "Europe/Berlin", "skip")
    assert daily["target"] == "report/r"
    assert pool.asked == [("schedules", "", "")]


def test_ls_asks_for_a_kind_or_an_actor(run: Run) -> None:
    pool = Pool()
    assert run("schedules", "ls", "booking", pool=pool).code == 0
    assert run("schedules", "ls", "booking", "b1", pool=pool).out == ""
    assert pool.asked == [("schedules", "booking", ""), ("schedules", "booking", "b1")]
