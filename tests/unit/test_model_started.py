"""What the source of handlers says that they start, for the board: tasks with their ends, and schedules."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from aether import Actor, After, Model, PolicyContext, TaskFailed, command, event, policy, query, task
from examples.agent.model import model as agent
from examples.orders.model import model as orders

TERM = After(hours=2)


@task
async def charge(cents: int) -> str:
    """Take money."""
    return str(cents)


@task
async def mail() -> None:
    """Write."""


@dataclass(frozen=True)
class Asked:
    """It was asked for."""


class Paying(Actor):
    """Starts tasks in every way that the source can say."""

    @command
    def pay(self, cents: int) -> None:
        first = charge(cents)
        self.start_task(first, then=Paying.paid, failed=Paying.lost)
        if cents > 1:
            self._twice(cents)

    @command
    def again(self, cents: int) -> None:
        """Names its own class by another way, and one that no source names."""
        self.start_task(charge(cents), then=type(self).paid)
        chosen: Any = (mail, charge)[cents % 2]
        self.start_task(chosen())
        number = str(cents)
        self.schedule(number, TERM, (Paying.pay, Paying.pay)[0], self.id.key, cents)
        other: Any = self
        other.start_task(mail())

    def _twice(self, cents: int) -> None:
        self.start_task(mail())
        self.start_task(mail())
        self.schedule("late", After(minutes=5), Paying.pay, self.id.key, cents)
        self.schedule(f"term {cents}", TERM, Paying.lost, self.id.key, TaskFailed("", "", 1))
        if cents > 100:
            self._twice(cents - 1)

    @command
    def paid(self, number: str) -> None:
        self.emit(Asked())

    @command
    def lost(self, failure: TaskFailed) -> None: ...

    @event
    def _asked(self, e: Asked) -> None: ...


@policy
def on_asked(event: Asked, context: PolicyContext[Paying]) -> None:
    context.start_task(mail(), failed=Paying.lost)
    context.schedule("later", TERM, Paying.paid, context.id.key, "1")


MODEL = Model("paying", actors=[Paying], tasks=[charge, mail], policies=[on_asked])


def of(name: str) -> dict[str, str]:
    return {"kind": "paying", "command": name}


def test_tasks_are_found_with_what_starts_them_and_who_hears_of_their_end() -> None:
    assert MODEL.schema()["starts"] == [
        {"by": of("pay"), "task": "charge", "then": of("paid"), "failed": of("lost")},
        {"by": of("pay"), "task": "mail", "then": None, "failed": None},
        {"by": of("again"), "task": "charge", "then": of("paid"), "failed": None},
        {"by": {"policy": "on_asked"}, "task": "mail", "then": None, "failed": of("lost")},
    ]


def test_schedules_are_found_with_when_they_are_due() -> None:
    assert MODEL.schema()["schedules"] == [
        {"by": of("pay"), "name": "late", "when": "After(minutes=5)", "run": of("pay")},
        {"by": of("pay"), "name": "term {cents}", "when": "TERM", "run": of("lost")},
        {"by": of("again"), "name": "{number}", "when": "TERM", "run": None},
        {"by": {"policy": "on_asked"}, "name": "later", "when": "TERM", "run": of("paid")},
    ]


def test_the_examples_say_all_that_they_start() -> None:
    found = {
        (one["task"], (one["then"] or {}).get("command"), (one["failed"] or {}).get("command"))
        for one in orders.schema()["starts"] + agent.schema()["starts"]
    }
    assert found == {
        ("charge", "paid", "payment_failed"),
        ("void", None, None),
        ("use_tool", "tool_answered", "fail"),
        ("complete", "model_answered", "fail"),
    }
    assert [one["name"] for one in orders.schema()["schedules"]] == ["hold"]


def test_a_subclass_has_what_it_inherits_under_its_own_kind() -> None:
    class Other(Paying):
        """Another kind."""

    starts = Model("others", actors=[Other], tasks=[charge, mail]).schema()["starts"]
    assert {one["by"]["kind"] for one in starts} == {"other"}
    assert starts[2]["then"] == {"kind": "other", "command": "paid"}


def test_it_is_not_part_of_what_a_model_is() -> None:
    class Plain(Actor):
        """Starts nothing."""

        @command
        def go(self) -> None: ...

    class Starts(Plain):
        """Starts something."""

        kind = "plain"

        @command
        def go(self) -> None:
            self.start_task(mail())

    Starts.__doc__ = Plain.__doc__
    plain, starts = (Model("same", actors=[one], tasks=[mail]) for one in (Plain, Starts))
    assert "starts" not in plain.schema()
    assert [one["task"] for one in starts.schema()["starts"]] == ["mail"]
    assert plain.fingerprint == starts.fingerprint


def test_a_function_without_its_source_says_nothing() -> None:
    names: dict[str, Any] = {"Actor": Actor, "command": command, "mail": mail, "__name__": __name__}
    source = "class Typed(Actor):\n    @command\n    def go(self) -> None:\n        self.start_task(mail())\n"
    exec(source, names)  # noqa: S102 - a class that is in no file
    assert "starts" not in Model("typed", actors=[names["Typed"]], tasks=[mail]).schema()


def logged(handler: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(handler)
    def run(*args: Any, **kwargs: Any) -> Any:
        return handler(*args, **kwargs)

    return run


SHOP = SimpleNamespace(mail=mail)


def chosen() -> Any:
    """Some call of a task: which, only a run knows."""
    return mail()


def starts_of(cls: type[Actor]) -> list[str]:
    return [one["task"] for one in Model("some", actors=[cls], tasks=[charge, mail]).schema().get("starts", [])]


def test_names_of_a_function_around_it_of_objects_and_of_decorated_handlers_are_known() -> None:
    local = charge

    class Some(Actor):
        """Names tasks in more ways."""

        @command
        @logged
        def closure(self) -> None:
            self.start_task(local(1))

        @command
        def of_an_object(self) -> None:
            first = same = SHOP.mail()
            self.start_task(same)
            self.start_task(first)

    assert starts_of(Some) == ["charge", "mail"]


def test_only_commands_start_something_and_only_tasks_are_started() -> None:
    class Some(Actor):
        """Would start something in a query, and something that no source names."""

        @command
        def go(self) -> None:
            self.start_task(chosen())
            self.none  # type: ignore[misc]  # noqa: B018 - a name that the source has

        @query
        def asks(self) -> None:
            self.start_task(mail())

        def none() -> None:  # type: ignore[misc]
            ...

    assert starts_of(Some) == []


def test_the_methods_of_a_handler_are_read_in_the_order_of_its_source() -> None:
    class Some(Actor):
        """Uses two methods."""

        @command
        def go(self) -> None:
            self._first()
            self._second()

        def _second(self) -> None:
            self.start_task(charge(1))

        def _first(self) -> None:
            self.start_task(mail())

    assert starts_of(Some) == ["mail", "charge"]


def test_a_long_time_is_cut() -> None:
    class Some(Actor):
        """Says at length when it is due."""

        @command
        def go(self) -> None:
            self.schedule("late", After(seconds=1 + 1 + 1, minutes=2 + 2 + 2, hours=3 + 3 + 3, days=1), Some.go, "k")

    (one,) = Model("some", actors=[Some]).schema()["schedules"]
    assert one["when"] == "After(seconds=1 + 1 + 1, minutes=2 + 2 + 2, hours=3 + 3 + 3…"
    assert len(one["when"]) == 60


def test_a_name_that_is_not_set_yet_is_of_no_task() -> None:
    class Some(Actor):
        """Names what comes later."""

        @command
        def go(self) -> None:
            self.start_task(later(1))

    assert starts_of(Some) == []
    later = charge
    assert starts_of(Some) == ["charge"]


def test_a_name_that_no_schedule_can_have_ends_no_worker_when_it_starts() -> None:
    class Some(Actor):
        """Has a name with half of a character."""

        @command
        def go(self) -> None:
            self.schedule("\ud83d at", After(days=1), Some.go, "k")

    assert b'"? at"' in Model("some", actors=[Some]).schema_json()
