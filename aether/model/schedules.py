"""When a schedule is due: `At`, `After`, `Every` and `Cron`, as users write them, and as they are stored.

A stored schedule has its next tick, and a `Recurrence` from which the ticks after that follow. Pure: the time is given.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from math import inf
from typing import Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from aether.errors import InvalidCommand
from aether.ids import plain_text
from aether.model.cron import cron_rule

CatchUp: TypeAlias = Literal["one", "skip", "all"]
"""What becomes of ticks that were not run in time: one of them is run, none, or all, one after the other."""

CATCH_UP: tuple[CatchUp, ...] = ("one", "skip", "all")

DELAY_MAX = timedelta(days=366 * 100)
"""The longest delay: a slip in the unit is found when it is set, and not in a century."""

SHOWN_MAX = 1e300
"""A number from here on is not written into a message."""

NAME_BYTES_MAX = 100

EVERY = "every "
CRON = "cron "


class Recurrence(NamedTuple):
    """How a schedule goes on, as it is stored: `rule` is "" for a single tick, `every 60`, or `cron 0 0 9 * * *`."""

    rule: str = ""
    zone: str = ""
    catch_up: str = ""

    def after(self, tick: datetime) -> datetime | None:
        """The first tick after this one, in UTC; None when there is none. Raises `InvalidCommand` for an unknown rule.

        For `every`, `tick` is one of its ticks.
        """
        if not self.rule:
            return None
        try:
            if self.rule.startswith(EVERY):
                return tick.astimezone(UTC) + timedelta(seconds=int(self.rule[len(EVERY) :]))
            if self.rule.startswith(CRON):
                return cron_rule(self.rule[len(CRON) :]).after(tick, time_zone(self.zone))
        except OverflowError:
            return None
        raise InvalidCommand(f"a schedule by the rule {self.rule!r} cannot be read", path="rule")

    def after_run(self, tick: datetime, now: datetime) -> datetime | None:
        """The tick that is waited for once `tick` has been run, or left out, at `now`.

        With `all` it is the one after it, though it may be past; else the first one that is later than now.
        """
        following = self.after(tick)
        if following is None or self.catch_up == "all" or following > now:
            return following
        if self.rule.startswith(EVERY):
            step_s = int(self.rule[len(EVERY) :])
            missed = (now - tick) // timedelta(seconds=step_s)
            return tick.astimezone(UTC) + timedelta(seconds=step_s) * (missed + 1)
        return self.after(now)


@dataclass(frozen=True, slots=True)
class At:
    """Once, at this time. Raises `InvalidCommand` for one without a time zone, and outside of the years 1 to 9999."""

    time: datetime

    def __post_init__(self) -> None:
        if not isinstance(self.time, datetime):
            raise InvalidCommand(f"At takes a datetime, not {self.time!r}", path="time")
        if self.time.utcoffset() is None:
            example = "datetime(2026, 12, 24, 18, tzinfo=ZoneInfo('Europe/Berlin'))"
            raise InvalidCommand(f"At takes a datetime with a time zone, such as {example}", path="time")
        try:
            self.time.astimezone(UTC)
        except OverflowError:
            text = f"At takes a time of the years 1 to 9999 in UTC, not {self.time.isoformat()}"
            raise InvalidCommand(text, path="time") from None

    @property
    def recurrence(self) -> Recurrence:
        """None."""
        return Recurrence()

    def first(self, now: datetime) -> datetime:
        """Its tick, in UTC. Raises `InvalidCommand` for one that is more than a century away."""
        if self.time - now > DELAY_MAX:
            what = f"At takes a time at most a century from now, not {self.time.isoformat()}"
            raise InvalidCommand(f"{what}; what is never due needs no schedule", path="time")
        tick = self.time.astimezone(UTC)  # of a class of its own, perhaps, which has no JSON form
        return datetime.combine(tick.date(), tick.time(), UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """Once, after a delay. Raises `InvalidCommand` for one that is negative, or longer than a century."""

    seconds: float = 0
    minutes: float = 0
    hours: float = 0
    days: float = 0

    def __post_init__(self) -> None:
        delay = _delay("After", self.seconds, self.minutes, self.hours, self.days)
        if delay < timedelta(0):
            raise InvalidCommand(f"After takes a delay from now on, not {delay}", path="seconds")

    @property
    def recurrence(self) -> Recurrence:
        """None."""
        return Recurrence()

    def first(self, now: datetime) -> datetime:
        """Its tick, in UTC."""
        return now.astimezone(UTC) + _delay("After", self.seconds, self.minutes, self.hours, self.days)


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """Again and again: first after one interval, of whole seconds, at least one. Raises `InvalidCommand`.

    `catch_up` says what becomes of ticks that were not run in time.
    """

    seconds: float = 0
    minutes: float = 0
    hours: float = 0
    days: float = 0
    catch_up: CatchUp = "one"

    def __post_init__(self) -> None:
        delay = _delay("Every", self.seconds, self.minutes, self.hours, self.days)
        if delay < timedelta(seconds=1) or delay.microseconds:
            raise InvalidCommand(f"Every takes whole seconds, at least one, not {delay}", path="seconds")
        _check_catch_up("Every", self.catch_up)

    @property
    def recurrence(self) -> Recurrence:
        """How it goes on."""
        return Recurrence(f"{EVERY}{self._step // timedelta(seconds=1)}", "", self.catch_up)

    def first(self, now: datetime) -> datetime:
        """Its first tick, in UTC."""
        return now.astimezone(UTC) + self._step

    @property
    def _step(self) -> timedelta:
        return _delay("Every", self.seconds, self.minutes, self.hours, self.days)


@dataclass(frozen=True, slots=True)
class Cron:
    """By a rule of six fields (second, minute, hour, day of month, month, day of week) in a time zone.

    `zone` is a name of the time zone database, `catch_up` says what becomes of ticks that were not run in time. Raises
    `InvalidCommand` that names the field, for a zone that is not known here, and for a rule that can never be due.
    """

    rule: str
    zone: str = "UTC"
    catch_up: CatchUp = "one"

    def __post_init__(self) -> None:
        if not isinstance(self.rule, str):
            raise InvalidCommand(f"the rule of Cron is a text, not {self.rule!r}", path="rule")
        cron_rule(self.rule)
        if not isinstance(self.zone, str):
            raise InvalidCommand(f"the zone of Cron is a text, not {self.zone!r}", path="zone")
        time_zone(self.zone)
        _check_catch_up("Cron", self.catch_up)

    @property
    def recurrence(self) -> Recurrence:
        """How it goes on."""
        return Recurrence(f"{CRON}{cron_rule(self.rule).text}", self.zone, self.catch_up)

    def first(self, now: datetime) -> datetime:
        """Its first tick after now, in UTC."""
        return cron_rule(self.rule).after(now, time_zone(self.zone))


When: TypeAlias = At | After | Every | Cron
"""When a schedule is due."""


def checked_when(when: object) -> When:
    """The value itself. Raises `InvalidCommand` for what is none."""
    if not isinstance(when, At | After | Every | Cron):
        raise InvalidCommand(f"a schedule is due At, After, Every or by Cron, not {when!r}", path="when")
    return when


def checked_name(name: object) -> str:
    """The name of a schedule itself. Raises `InvalidCommand`."""
    if not isinstance(name, str):
        raise InvalidCommand(f"the name of a schedule is a text, not {name!r}", path="name")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidCommand("the name of a schedule cannot hold a lone surrogate", path="name") from None
    if not 1 <= size <= NAME_BYTES_MAX:
        raise InvalidCommand(f"the name of a schedule is 1 to {NAME_BYTES_MAX} bytes, not {size}", path="name")
    return plain_text(name)


@lru_cache(maxsize=256)
def time_zone(name: str) -> tzinfo:
    """The time zone of a name in the time zone database. Raises `InvalidCommand`."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, TypeError, OSError, LookupError):
        text = f"the time zone {name!r} is not known here; install tzdata where the system has no time zone database"
        raise InvalidCommand(text, path="zone") from None


def is_zone_known(name: str) -> bool:
    """Whether the time zone of a stored schedule is known here; "" is that of one that needs none."""
    try:
        return not name or time_zone(name) is not None
    except InvalidCommand:
        return False


def _delay(what: str, seconds: float, minutes: float, hours: float, days: float) -> timedelta:
    parts = {"seconds": seconds, "minutes": minutes, "hours": hours, "days": days}
    for name, value in parts.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value in (inf, -inf) or value != value:
            raise InvalidCommand(f"the {name} of {what} are a number, not {value!r}", path=name)
        if abs(value) > DELAY_MAX / timedelta(**{name: 1}):  # an int of any size is compared, and not written
            many = repr(value) if abs(value) < SHOWN_MAX else "so many"
            raise InvalidCommand(f"the {name} of {what} are at most a century, not {many}", path=name)
    delay = timedelta(**parts)
    if delay > DELAY_MAX:
        raise InvalidCommand(f"{what} takes at most a century, not {delay}", path="days")
    return delay


def _check_catch_up(what: str, catch_up: object) -> None:
    if catch_up not in CATCH_UP:
        text = f"catch_up of {what} is one of {', '.join(CATCH_UP)}, not {catch_up!r}"
        raise InvalidCommand(text, path="catch_up")
