"""`At`, `After`, `Every` and `Cron`: what they refuse, and their ticks."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aether import After, At, Cron, Every, InvalidCommand
from aether.model.schedules import CatchUp, Recurrence, When, checked_name, checked_when

NOW = datetime(2026, 3, 28, 12, 0, 0, 500_000, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("made", "path"),
    [
        (lambda: At(datetime(2026, 1, 1)), "time"),  # noqa: DTZ001 - what is tested
        (lambda: At(datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))), "time"),
        (lambda: At(datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))), "time"),
        (lambda: At(NOW + timedelta(days=36_601)).first(NOW), "time"),
        (lambda: At("tomorrow"), "time"),  # type: ignore[arg-type]  # what is tested
        (lambda: After(seconds=-1), "seconds"),
        (lambda: After(minutes=float("nan")), "minutes"),
        (lambda: After(hours="1"), "hours"),  # type: ignore[arg-type]  # what is tested
        (lambda: After(days=True), "days"),
        (lambda: After(days=1e300), "days"),
        (lambda: After(seconds=10**400), "seconds"),
        (lambda: Every(hours=-(10**5000)), "hours"),
        (lambda: After(seconds=float("inf")), "seconds"),
        (lambda: After(days=36_600, hours=24), "days"),
        (Every, "seconds"),
        (lambda: Every(seconds=0.5), "seconds"),
        (lambda: Every(minutes=0.025), "seconds"),
        (lambda: Every(seconds=1, catch_up="none"), "catch_up"),  # type: ignore[arg-type]  # what is tested
        (lambda: Cron("0 0 9 * * *", catch_up=""), "catch_up"),  # type: ignore[arg-type]  # what is tested
        (lambda: Cron("0 0 9 * * *", zone="Europe/Atlantis"), "zone"),
        (lambda: Cron("0 0 9 * * *", zone="../etc/passwd"), "zone"),
        (lambda: Cron("0 0 9 * * *", zone=""), "zone"),
        (lambda: Cron("0 0 9 * * *", zone="Europe"), "zone"),
        (lambda: Cron("0 0 9 * * *", zone="x" * 300), "zone"),
        (lambda: Cron("0 0 9 * * *", zone=["UTC"]), "zone"),  # type: ignore[arg-type]  # what is tested
        (lambda: Cron("0 9 * * *"), "rule"),
        (lambda: Cron("0 0 9 30 2 *"), "rule"),
        (lambda: Cron(9), "rule"),  # type: ignore[arg-type]  # what is tested
        (lambda: checked_when(timedelta(hours=1)), "when"),
        (lambda: checked_name(""), "name"),
        (lambda: checked_name("n" * 101), "name"),
        (lambda: checked_name("\ud800"), "name"),
        (lambda: checked_name(1), "name"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_by_the_field(made: Callable[[], Any], path: str) -> None:
    with pytest.raises(InvalidCommand) as refused:
        made()
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("when", "first"),
    [
        (At(datetime(2026, 7, 1, 9, tzinfo=BERLIN)), "2026-07-01T07:00Z"),
        (After(), "2026-03-28T12:00:00.500Z"),
        (Every(seconds=1), "2026-03-28T12:00:01.500Z"),
        (After(seconds=0.25), "2026-03-28T12:00:00.750Z"),
        (After(days=1, hours=1, minutes=1, seconds=1), "2026-03-29T13:01:01.500Z"),
        (Every(minutes=1.5), "2026-03-28T12:01:30.500Z"),
        (Cron("0 0 9 * * *", "Europe/Berlin"), "2026-03-29T07:00Z"),
        (Cron("* * * * * *"), "2026-03-28T12:00:01Z"),
    ],
)
def test_the_first_tick(when: When, first: str) -> None:
    tick = when.first(NOW.astimezone(BERLIN))
    assert tick == datetime.fromisoformat(first)
    assert tick.tzinfo is UTC


@pytest.mark.parametrize(
    ("when", "tick", "now", "following"),
    [
        (Every(seconds=60, catch_up="one"), "12:00:00", "12:00:01", "12:01:00"),
        (Every(seconds=60, catch_up="one"), "12:00:00", "12:01:00", "12:02:00"),
        (Every(seconds=60, catch_up="one"), "12:00:00", "12:04:30", "12:05:00"),
        (Every(seconds=60, catch_up="one"), "12:00:00", "12:05:00", "12:06:00"),
        (Every(seconds=60, catch_up="skip"), "12:00:00", "12:04:30", "12:05:00"),
        (Every(seconds=60, catch_up="all"), "12:00:00", "12:04:30", "12:01:00"),
        (Cron("0 */10 * * * *", catch_up="one"), "12:00:00", "12:00:01", "12:10:00"),
        (Cron("0 */10 * * * *", catch_up="skip"), "12:00:00", "12:45:00", "12:50:00"),
        (Cron("0 */10 * * * *", catch_up="all"), "12:00:00", "12:45:00", "12:10:00"),
    ],
)
def test_the_tick_after_one_that_was_run(when: When, tick: str, now: str, following: str) -> None:
    def at(text: str) -> datetime:
        return datetime.fromisoformat(f"2026-03-28T{text}Z")

    assert when.recurrence.after_run(at(tick), at(now)) == at(following)


class Moment(datetime):
    """As libraries have them: pendulum, pandas, freezegun."""


def test_a_time_of_another_class_is_the_same_time() -> None:
    tick = At(Moment(2026, 3, 28, 13, 30, 15, 7, tzinfo=BERLIN)).first(NOW)
    assert (type(tick), tick) == (datetime, datetime(2026, 3, 28, 12, 30, 15, 7, tzinfo=UTC))


def test_a_time_long_ago_is_a_tick_that_is_past() -> None:
    assert At(datetime.min.replace(tzinfo=UTC)).first(NOW) == datetime.min.replace(tzinfo=UTC)


@pytest.mark.parametrize("when", [At(NOW), After(hours=1)])
def test_what_comes_once_does_not_go_on(when: When) -> None:
    assert when.recurrence == Recurrence()
    assert when.recurrence.after_run(NOW, NOW) is None


@pytest.mark.parametrize("catch_up", ["one", "skip", "all"])
def test_a_recurrence_is_stored_as_text(catch_up: CatchUp) -> None:
    assert Every(minutes=15, catch_up=catch_up).recurrence == Recurrence("every 900", "", catch_up)
    rule = Cron(" 0 0  9 * * mon ", "Europe/Berlin", catch_up)
    assert rule.recurrence == Recurrence("cron 0 0 9 * * MON", "Europe/Berlin", catch_up)


def test_a_rule_of_a_later_version_is_refused() -> None:
    with pytest.raises(InvalidCommand, match="moon"):
        Recurrence("moon full").after(NOW)


def test_no_tick_is_later_than_time() -> None:
    assert Recurrence("every 3153600000").after(datetime(9999, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("now", [timedelta(0), timedelta(days=1, hours=3)], ids=["in time", "late"])
def test_an_interval_is_of_the_time_that_passes_and_ends_in_utc(now: timedelta) -> None:
    tick = datetime(2026, 3, 28, 12, tzinfo=BERLIN)  # the clocks go forward in the night
    following = Every(days=1).recurrence.after_run(tick, tick.astimezone(UTC) + now)
    assert following == datetime(2026, 3, 29 + now.days, 11, tzinfo=UTC)
    assert following is not None
    assert following.tzinfo is UTC


def test_the_longest_name_is_one() -> None:
    assert checked_name("é" * 50) == "é" * 50
    with pytest.raises(InvalidCommand):
        checked_name("é" * 51)
