"""Cron rules with six fields, and the instants at which they are due in a time zone. Pure.

The fields are second, minute, hour, day of the month, month and day of the week. In each: `*`, a number, a range
`a-b`, a step `*/n`, `a-b/n` or `a/n` (from `a` on), or several of these with commas; months and days of the week also
by their English names (`JAN`, `MON`; 0 and 7 are Sunday). When both days are restricted, either of them suffices, as in
every cron.

Theory of operation. A rule says times of a wall clock; where clocks are moved, some of those do not exist and some come
twice. A rule that names its hours is due once for each time that it says: one that is skipped is due at the moment when
the clocks go forward, one that comes twice is due the first time. A rule whose hour begins with `*` follows the time
that passes: it is due at each moment at which the wall clock shows such a time.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from aether.errors import InvalidCommand

FIELDS = ("second", "minute", "hour", "day of month", "month", "day of week")
RANGES = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
NAMES = {4: dict(zip(MONTHS, range(1, 13), strict=True)), 5: dict(zip(DAYS, range(7), strict=True))}
WEEKDAY = 5
SUNDAY = 7
LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)


class CronRule:
    """A rule. Raises `InvalidCommand` that names the field, also for a rule that can never be due."""

    __slots__ = ("_any_day", "_dates", "_hours", "_minutes", "_months", "_seconds", "_weekdays", "follows_time", "text")

    def __init__(self, text: str) -> None:
        fields = text.upper().split()
        if len(fields) != len(FIELDS):
            names = ", ".join(FIELDS)
            raise InvalidCommand(f"a cron rule has 6 fields ({names}), not {len(fields)}: {text!r}", path="rule")
        values = [_field(number, field) for number, field in enumerate(fields)]
        self.text = " ".join(fields)
        self._seconds, self._minutes, self._hours = values[:3]
        self._dates, self._months = frozenset(values[3]), frozenset(values[4])
        self._weekdays = frozenset(day % 7 for day in values[5])
        self._any_day = fields[3].startswith("*") or fields[5].startswith("*")
        self.follows_time = fields[2].startswith("*")
        if self._any_day and not any(min(values[3]) <= LONGEST[month - 1] for month in values[4]):
            what = f"the day of month {fields[3]!r} never comes in the month {fields[4]!r}"
            raise InvalidCommand(f"{what}: the rule {text!r} is never due", path="rule")

    def after(self, tick: datetime, zone: tzinfo) -> datetime:
        """The first instant after `tick` at which it is due, in UTC. Raises `OverflowError` past the year 9999."""
        follow = _following_time if self.follows_time else _following_clock
        return follow(self, tick.astimezone(UTC).replace(microsecond=0), zone)

    def wall_times(self, start: datetime) -> Iterator[datetime]:
        """The wall clock's times that the rule says, from `start` on, in order, without time zones."""
        day, since = start.date(), start.time()
        while True:
            if self._is_due_on(day):
                yield from (datetime.combine(day, at) for at in self._times(since))
            day, since = day + DAY, time()

    def _is_due_on(self, day: date) -> bool:
        if day.month not in self._months:
            return False
        by_date, by_weekday = day.day in self._dates, day.isoweekday() % 7 in self._weekdays
        return by_date and by_weekday if self._any_day else by_date or by_weekday

    def _times(self, since: time) -> Iterator[time]:
        hours, minutes, seconds = self._hours, self._minutes, self._seconds
        for hour in hours[bisect_left(hours, since.hour) :]:
            first = since.minute if hour == since.hour else 0
            for minute in minutes[bisect_left(minutes, first) :]:
                begin = since.second if (hour, minute) == (since.hour, since.minute) else 0
                for second in seconds[bisect_left(seconds, begin) :]:
                    yield time(hour, minute, second)


@lru_cache(maxsize=1024)
def cron_rule(text: str) -> CronRule:
    """The rule of a text. Raises `InvalidCommand`."""
    return CronRule(text)


def _field(number: int, text: str) -> list[int]:
    values: set[int] = set()
    for part in text.split(","):
        values.update(_part(number, part, text))
    return sorted(values)


def _part(number: int, part: str, text: str) -> range:
    low, high = RANGES[number]
    span, slash, step_text = part.partition("/")
    step = _number(number, step_text, text) if slash else 1
    if span == "*":
        first, last = low, high
    elif "-" in span:
        first, last = (_value(number, end, text) for end in span.split("-", 1))
        if number == WEEKDAY and first and not last:  # a week may end with it, too: FRI-SUN
            last = SUNDAY
    else:
        first = _value(number, span, text)
        last = high if slash else first
    if first > last or step < 1:
        raise _refusal(number, text, "a range ends before it begins" if first > last else "a step is at least 1")
    return range(first, last + 1, step)


def _value(number: int, text: str, field: str) -> int:
    named = NAMES.get(number, {}).get(text)
    if named is not None:
        return named
    low, high = RANGES[number]
    value = _number(number, text, field)
    if not low <= value <= high:
        raise _refusal(number, field, f"it is {low} to {high}, not {value}")
    return value


def _number(number: int, text: str, field: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4):
        raise _refusal(number, field, f"{text!r} is no number")
    return int(text)


def _refusal(number: int, text: str, why: str) -> InvalidCommand:
    return InvalidCommand(f"the {FIELDS[number]} of a cron rule cannot be {text!r}: {why}", path=FIELDS[number])


# ------------------------------------------------------------------------------------------------ wall clocks


def _following_clock(rule: CronRule, tick: datetime, zone: tzinfo) -> datetime:
    """Each time that the rule says is due once."""
    for wall in rule.wall_times(_wall(tick, zone)):
        instant = _instant(wall, zone)
        if instant > tick:
            return instant
    raise AssertionError("the times of a rule do not end")


def _following_time(rule: CronRule, tick: datetime, zone: tzinfo) -> datetime:
    """Each moment at which the wall clock shows a time that the rule says is due."""
    at = tick + SECOND
    while True:
        wall = _wall(at, zone)
        due = at + (next(rule.wall_times(wall)) - wall)
        while at < due:  # as long as the clocks are not moved it is due then
            later = min(due, at + DAY)
            if _offset(later, zone) != _offset(at, zone):
                at = _moved_at(at, later, zone)
                break
            at = later
        else:
            return due


def _instant(wall: datetime, zone: tzinfo) -> datetime:
    """When a wall clock first shows this time; when clocks go forward over it, the moment at which they do."""
    aware = wall.replace(tzinfo=zone)
    instant = aware.astimezone(UTC)
    if _wall(instant, zone) == wall:
        return instant
    return _moved_at(aware.replace(fold=1).astimezone(UTC), instant, zone)


def _moved_at(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The first second after `before`, and not after `after`, at which the clocks are moved already."""
    offset, low, high = _offset(before, zone), 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(before + middle * SECOND, zone) == offset:
            low = middle
        else:
            high = middle
    return before + high * SECOND


def _wall(instant: datetime, zone: tzinfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)


def _offset(instant: datetime, zone: tzinfo) -> timedelta | None:
    return instant.astimezone(zone).utcoffset()
