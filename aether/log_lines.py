"""How the library's log lines are kept few and whole: an error always has words, and what repeats is one line.

Stateless but for `Repeated`, which belongs to one event loop. It configures no logging.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

NO_WORDS = "(its text cannot be made)"
"""Stands for what an error says whose `__str__` raises."""

TYPE_CHARS_MAX = 200
"""Characters of the name of an error's class that are told."""

_NAME = type.__dict__["__name__"]
"""The name of a class as it was made, whatever its metaclass says of it."""

REPEATED_EVERY_S = 30.0
"""How often what goes on and on is said again, with its count."""


def words(error: BaseException) -> str:
    """What an error says, or its class when it says nothing, as a `TimeoutError` does. Never raises."""
    try:
        return str(error).strip() or type_name(error)
    except BaseException:
        return NO_WORDS


def shown(error: BaseException) -> str:
    """An error's class and arguments. Never raises."""
    try:
        return repr(error)
    except BaseException:
        return f"{type_name(error)} {NO_WORDS}"


def type_name(error: BaseException) -> str:
    """The name of an error's class, cut: one that is made while the program runs can have any length. Never raises."""
    name: str = _NAME.__get__(type(error))
    return name[:TYPE_CHARS_MAX]


def printable(text: str) -> str:
    """The text as a part of one line: line breaks and whatever else is not printable as escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


class Repeated:
    """One message that may come many times in a row: the first is logged, later ones only counted for a while.

    What is only counted is logged for debugging. `over` begins anew.
    """

    __slots__ = ("_clock", "_counted", "_every_s", "_level", "_log", "_message", "_next_s")

    def __init__(
        self,
        log: logging.Logger,
        level: int,
        message: str,
        every_s: float = REPEATED_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._level = level
        self._message = message
        self._every_s = every_s
        self._clock = clock
        self._counted = 0
        self._next_s = 0.0

    def again(self, **fields: Any) -> None:
        """It happened, with these fields."""
        now_s = self._clock()
        if now_s < self._next_s:
            self._counted += 1
            self._log.debug(self._message, extra=fields)
            return
        more = {"times": self._counted + 1} if self._counted else {}
        self._log.log(self._level, self._message, extra={**fields, **more})
        self._counted = 0
        self._next_s = now_s + self._every_s

    def over(self) -> None:
        """It happens no more: the next time is a first one. How often it was only counted is said."""
        if self._counted:
            self._log.log(self._level, self._message, extra={"times_more": self._counted})
        self._counted = 0
        self._next_s = 0.0
