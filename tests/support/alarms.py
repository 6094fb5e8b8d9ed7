"""An actor that has schedules, and one that they are for: each tick has its event."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from aether import Actor, After, Cron, Every, Model, Rejected, command, event, query


@dataclass(frozen=True, slots=True)
class Set:
    """A schedule was set, by its name; each setting has a number."""

    name: str
    number: int
    seconds: float = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class Rang:
    """A tick was run, from `source`, that was `due` then."""

    name: str
    number: int
    source: str = ""
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A schedule was cancelled."""

    name: str


class Alarm(Actor):
    """Sets, replaces and cancels schedules."""

    rung: int = 0
    settings: int = 0

    @command
    def once(self, name: str, seconds: float) -> int:
        """Ring once."""
        self.emit(Set(name, self.settings + 1, seconds))
        self.schedule(name, After(seconds=seconds), Alarm.ring, self.id.key, name, self.settings)
        return self.settings

    @command
    def often(self, name: str, seconds: float, catch_up: Literal["one", "skip", "all"] = "one") -> int:
        """Ring again and again."""
        self.emit(Set(name, self.settings + 1, seconds, again=True))
        self.schedule(name, Every(seconds=seconds, catch_up=catch_up), Alarm.ring, self.id.key, name, self.settings)
        return self.settings

    @command
    def daily(
        self, name: str, rule: str, zone: str, catch_up: Literal["one", "skip", "all"] = "one", key: str = ""
    ) -> int:
        """Ring by a rule, or have another one ring."""
        self.emit(Set(name, self.settings + 1))
        self.schedule(name, Cron(rule, zone, catch_up), Alarm.ring, key or self.id.key, name, self.settings)
        return self.settings

    @command
    def other(self, name: str, seconds: float, key: str, count: int = 1) -> int:
        """Have another one ring: once, or again and again."""
        self.emit(Set(name, self.settings + 1))
        when = After(seconds=seconds) if count == 1 else Every(seconds=seconds)
        self.schedule(name, when, Alarm.ring, key, name, self.settings)
        return self.settings

    @command
    def cancel(self, name: str) -> None:
        """Ring no more."""
        self.emit(Cancelled(name))
        self.cancel_schedule(name)

    @command
    def ring(self, name: str, number: int) -> None:
        """A tick. Some names fail, are refused, are silent, or set or cancel themselves."""
        if name.startswith("fails"):
            raise ZeroDivisionError("a bug")
        if name.startswith("refused"):
            raise Rejected("no")
        if name.startswith("silent"):
            return
        self.emit(Rang(name, number, self.context.caller, self.context.scheduled_for))
        if name.startswith("thrice") and self.rung == 3:
            self.cancel_schedule(name)
        if name.startswith("slower"):
            self.schedule(name, After(seconds=100), Alarm.ring, self.id.key, "done", number)

    @query
    def count(self) -> int:
        """How often it rang."""
        return self.rung

    @event
    def was_set(self, e: Set) -> None:
        """One more setting."""
        self.settings = e.number

    @event
    def rang(self, e: Rang) -> None:
        """One more tick."""
        self.rung += 1

    @event
    def was_cancelled(self, e: Cancelled) -> None:
        """Nothing."""


model = Model("alarms", actors=[Alarm])
