"""Undeclared events that a handler emits are found when the model is built, and nothing else is taken for one."""

import inspect
from dataclasses import dataclass
from typing import Any

import pytest

from aether import Actor, Model, ModelError, command, event


@dataclass(frozen=True)
class Known:
    """Declared."""


@dataclass(frozen=True)
class Unknown:
    """Declared nowhere."""


class Chosen:
    """A class that makes instances of another one."""

    def __new__(cls) -> Any:
        return Known()


def made() -> Known:
    """No class."""
    return Known()


class Base(Actor):
    """What its subclasses emit depends on them."""

    @command
    def lose(self) -> None:
        """Emits what not every subclass takes."""
        if self.id.key:
            self.emit(Unknown())


class Taking(Base):
    """Takes it."""

    @event
    def lost(self, e: Unknown) -> None: ...


class Missing(Base):
    """Does not."""

    @event
    def known(self, e: Known) -> None: ...


class Others(Actor):
    """Nothing here is certain to be an undeclared event."""

    @command
    def all_forms(self, Unknown: str = "") -> None:
        """An argument with a class's name, a function, a class that makes others, a value."""
        self.emit(Unknown())  # type: ignore[operator]
        self.emit(made())
        self.emit(Chosen())
        value = Known()
        self.emit(value)

    @command
    def within(self) -> None:
        """Another `self`."""

        def inner(self: Any) -> None:
            self.emit(Unknown())

        del inner

    @event
    def known(self, e: Known) -> None: ...


def test_an_event_that_no_method_takes_is_found_with_its_line() -> None:
    with pytest.raises(ModelError, match=r"missing\.lose emits Unknown, which no @event method takes") as refused:
        Model("tests", actors=[Missing])
    lines, first = inspect.getsourcelines(Base)
    emits = first + next(n for n, line in enumerate(lines) if "self.emit" in line)
    assert (refused.value.file, refused.value.line) == (__file__, emits)
    assert refused.value.message.endswith("missing takes: Known")


def test_a_subclass_that_takes_it_is_good() -> None:
    Model("tests", actors=[Taking])


def test_what_is_not_certain_is_left_for_the_run() -> None:
    Model("tests", actors=[Others])


def test_a_handler_without_source_is_left_for_the_run() -> None:
    names: dict[str, Any] = {"Actor": Actor, "command": command, "Unknown": Unknown}
    exec("class A(Actor):\n    @command\n    def lose(self) -> None:\n        self.emit(Unknown())\n", names)  # noqa: S102 - it has no source
    Model("tests", actors=[names["A"]])
