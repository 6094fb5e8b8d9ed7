"""A cron rule is due at each instant that brute force finds, and at no other, also where clocks are moved."""

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aether.errors import InvalidCommand
from aether.model.cron import RANGES, CronRule

MOVES = (
    # The clocks go forward, and back.
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    # By half an hour, and by two.
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    # At midnight, and over it.
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 10, 29, 21, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 4, 5, 3, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ("Atlantic/Azores", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    # Another offset for good: by half an hour, by an hour, by a day.
    ("Asia/Pyongyang", datetime(2015, 8, 14, 15, tzinfo=UTC)),
    ("Asia/Pyongyang", datetime(2018, 5, 4, 15, tzinfo=UTC)),
    ("Africa/Juba", datetime(2021, 1, 31, 21, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 3, 22, 2, tzinfo=UTC)),
    # They stay.
    ("UTC", datetime(2026, 6, 1, 9, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2024, 2, 28, 20, tzinfo=UTC)),
)
ZONES = tuple({zone: None for zone, _ in MOVES})
MINUTE = timedelta(minutes=1)


@st.composite
def fields(draw: st.DrawFn, number: int) -> str:
    low, high = RANGES[number]
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))
    step = draw(st.integers(1, high))
    return draw(st.sampled_from(["*", f"*/{step}", f"{first}", f"{first}-{last}", f"{first}-{last}/{step}",
                                 f"{first},{last}"]))  # fmt: skip


minutes_and_hours = st.tuples(fields(1), fields(2))
days = st.tuples(fields(3), st.sampled_from(["*", "3,10-11", "*/2"]), fields(5))


@cache
def values(number: int, field: str) -> frozenset[int]:
    """Written apart from what is tested: each number of the range is asked whether the field has it."""
    low, high = RANGES[number]

    def has(value: int) -> bool:
        for part in field.split(","):
            span, _, step = part.partition("/")
            ends = (low, high) if span == "*" else tuple(int(end) for end in span.split("-"))
            first, last = ends[0], ends[-1]
            if first <= value <= last and (value - first) % int(step or 1) == 0:
                return True
        return False

    return frozenset(value for value in range(low, high + 1) if has(value))


def says(rule: str, wall: datetime) -> bool:
    _, minute, hour, date, month, weekday = rule.split()
    if wall.minute not in values(1, minute) or wall.hour not in values(2, hour) or wall.month not in values(4, month):
        return False
    by_date = wall.day in values(3, date)
    by_weekday = wall.isoweekday() % 7 in {day % 7 for day in values(5, weekday if weekday != "*" else "0-6")}
    return by_date and by_weekday if "*" in (date[0], weekday[0]) else by_date or by_weekday


def brute_force(rule: str, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """Every minute of the time that passes, and of the wall clock, is looked at."""
    instants = [start + n * MINUTE for n in range(-1, int((end - start) / MINUTE) + 1)]
    walls = [one.astimezone(zone).replace(tzinfo=None, fold=0) for one in instants]
    if rule.split()[2].startswith("*"):
        return [one for one, wall in zip(instants[1:], walls[1:], strict=True) if says(rule, wall)]
    found: list[datetime] = []
    reached = walls[0]
    for one, wall in zip(instants[1:], walls[1:], strict=True):
        passed = int((wall - reached) / MINUTE)
        if any(says(rule, reached + n * MINUTE) for n in range(1, passed + 1)):
            found.append(one)
        reached = max(reached, wall)
    return found


@given(minutes_and_hours, st.one_of(st.just(("*", "*", "*")), days), st.sampled_from(MOVES))
@settings(max_examples=100, deadline=None)
def test_a_rule_is_due_when_brute_force_says_so(
    often: tuple[str, str], seldom: tuple[str, str, str], move: tuple[str, datetime]
) -> None:
    zone, near = ZoneInfo(move[0]), move[1]
    rule = " ".join(["0", *often, *seldom])
    try:
        cron = CronRule(rule)
    except InvalidCommand:
        assert brute_force(rule, zone, near, near + timedelta(hours=1)) == []
        return
    start, end = near - timedelta(hours=4), near + timedelta(hours=44)
    found: list[datetime] = []
    tick = start - timedelta(microseconds=1)
    while (tick := cron.after(tick, zone)) <= end:
        found.append(tick)
    assert found == brute_force(rule, zone, start, end)


@pytest.mark.parametrize(
    ("rule", "zone", "after", "ticks"),
    [
        # 02:30 does not exist on 29 March in Berlin: it is due when the clocks go forward, once.
        ("0 30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]),
        ("0 */20 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z", ["2026-03-29T01:00Z", "2026-03-30T00:00Z"]),
        # 02:30 comes twice on 25 October: it is due the first time.
        ("0 30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z", ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]),
        # Every hour means every hour that passes.
        ("0 30 * * * *", "Europe/Berlin", "2026-03-29T00:00Z", ["2026-03-29T00:30Z", "2026-03-29T01:30Z"]),
        ("0 30 * * * *", "Europe/Berlin", "2026-10-25T00:00Z", ["2026-10-25T00:30Z", "2026-10-25T01:30Z"]),
        ("15 0 12 29 2 *", "UTC", "2096-03-01T00:00Z", ["2104-02-29T12:00:15Z"]),
        ("*/25 59 23 31 DEC MON-FRI", "UTC", "2026-12-31T23:58Z", ["2026-12-31T23:59:00Z", "2026-12-31T23:59:25Z"]),
        # So does every second hour.
        ("0 0 */2 * * *", "Europe/Berlin", "2026-10-25T00:00Z", ["2026-10-25T01:00Z", "2026-10-25T03:00Z"]),
        # Within a second, just before the clocks go forward.
        ("0 0 * * * *", "Europe/Berlin", "2026-03-29T00:00:00.500Z", ["2026-03-29T01:00Z", "2026-03-29T02:00Z"]),
        ("0 0 3 * * *", "Europe/Berlin", "2026-03-29T00:59:59.500Z", ["2026-03-29T01:00Z", "2026-03-30T01:00Z"]),
        # Sunday is 0, and 7.
        ("0 0 0 * * 7", "UTC", "2026-01-01T00:00Z", ["2026-01-04T00:00Z", "2026-01-11T00:00Z"]),
        ("0 0 0 * * 6-7", "UTC", "2026-01-01T00:00Z", ["2026-01-03T00:00Z", "2026-01-04T00:00Z"]),
        ("0 0 0 * * SAT-SUN", "UTC", "2026-01-01T00:00Z", ["2026-01-03T00:00Z", "2026-01-04T00:00Z"]),
        ("0 0 0 * * 5-0/2", "UTC", "2026-01-01T00:00Z", ["2026-01-02T00:00Z", "2026-01-04T00:00Z"]),
        ("0 0 0 * * SUN-SUN", "UTC", "2026-01-01T00:00Z", ["2026-01-04T00:00Z", "2026-01-11T00:00Z"]),
        # Of what never comes together, one suffices.
        ("0 0 0 31 2 MON", "UTC", "2026-01-01T00:00Z", ["2026-02-02T00:00Z", "2026-02-09T00:00Z"]),
        ("0 0 0 28,31 2 *", "UTC", "2026-01-01T00:00Z", ["2026-02-28T00:00Z", "2027-02-28T00:00Z"]),
        # The first hour of the day comes twice, with another offset before than half a year earlier.
        ("0 30 * 25 10 *", "Atlantic/Azores", "2026-01-01T00:00Z", ["2026-10-25T00:30Z", "2026-10-25T01:30Z"]),
        # A step from a number on.
        ("5/20 * * * * *", "UTC", "2026-01-01T00:00:06Z", ["2026-01-01T00:00:25Z", "2026-01-01T00:00:45Z"]),
        ("0 0 0 * * 1/3", "UTC", "2026-01-02T00:00Z", ["2026-01-04T00:00Z", "2026-01-05T00:00Z"]),
        # A day that Samoa left out.
        ("0 0 9 30 12 *", "Pacific/Apia", "2011-12-29T00:00Z", ["2011-12-30T10:00Z", "2012-12-29T19:00Z"]),
    ],
)
def test_moved_clocks(rule: str, zone: str, after: str, ticks: list[str]) -> None:
    tick = datetime.fromisoformat(after)
    for due in ticks:
        tick = CronRule(rule).after(tick, ZoneInfo(zone))
        assert tick == datetime.fromisoformat(due)


@given(st.floats(0, 2_000_000_000), st.sampled_from(ZONES))
def test_the_next_tick_is_later(unix_s: float, zone: str) -> None:
    tick = datetime.fromtimestamp(unix_s, UTC)
    for rule in ("* * * * * *", "*/7 * * * * *", "* * 2 * * *", "0 0 0 1 1 *"):
        assert CronRule(rule).after(tick, ZoneInfo(zone)) > tick


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("0 9 * * *", "rule"),
        ("60 * * * * *", "second"),
        ("0 x * * * *", "minute"),
        ("0 0 24 * * *", "hour"),
        ("0 0 0 0 * *", "day of month"),
        ("0 0 0 * 13 *", "month"),
        ("0 0 0 * * 8", "day of week"),
        ("0 0 0 * * MON-", "day of week"),
        ("0 0 5-3 * * *", "hour"),
        ("0 0 0 * * FRI-MON", "day of week"),
        ("0 0 0 * NOV-FEB *", "month"),
        ("0 */0 * * * *", "minute"),
        ("0 1,, * * * *", "minute"),
        (f"0 {'0' * 5_000} * * * *", "minute"),
        ("0 \u0661 * * * *", "minute"),
        ("0 0 0 30 2 *", "rule"),
        ("0 0 0 31 4,6 *", "rule"),
    ],
)
def test_a_wrong_rule_names_the_field(rule: str, path: str) -> None:
    with pytest.raises(InvalidCommand) as refused:
        CronRule(rule)
    assert refused.value.path == path
