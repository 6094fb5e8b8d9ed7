"""Every policy that cannot be is a `ModelError` with the file and line of what is wrong (marked `# wrong`)."""

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from aether.errors import ModelError
from aether.model.actor import Actor
from aether.model.handlers import command, event, query
from aether.model.model import Model
from aether.model.policy import PolicyContext, policy


@dataclass(frozen=True)
class Base:
    """The base of an event."""


@dataclass(frozen=True)
class Paid(Base):
    """An event of Booking."""


@dataclass(frozen=True)
class Nobodys:
    """An event of no actor."""


class Booking(Actor):
    """Emits."""

    @event
    def paid(self, e: Paid) -> None:
        """Apply."""

    @query
    def read(self) -> None:
        """Nothing."""


class Other(Actor):
    """An actor that no model here has."""

    @command
    def go(self) -> None:
        """Nothing."""


class Idle(Actor):
    """Has no events."""


def built(*policies: Any) -> None:
    Model("hotel", actors=[Booking, Idle], policies=policies)


def asynchronous() -> None:
    @policy  # type: ignore[arg-type]  # wrong
    async def on_paid(event: Paid, context: PolicyContext[Booking]) -> None: ...

    built(on_paid)


def generator() -> None:
    @policy  # type: ignore[arg-type]  # wrong
    def on_paid(event: Paid, context: PolicyContext[Booking]) -> Iterator[None]:
        yield

    built(on_paid)


def asynchronous_generator() -> None:
    @policy  # type: ignore[arg-type]  # wrong
    async def on_paid(event: Paid, context: PolicyContext[Booking]) -> AsyncIterator[None]:
        yield

    built(on_paid)


def base_of_an_event() -> None:
    @policy  # wrong
    def on_base(event: Base, context: PolicyContext[Booking]) -> None: ...

    built(on_base)


def untyped_event() -> None:
    @policy  # wrong
    def on_paid(event, context: PolicyContext[Booking]) -> None:  # type: ignore[no-untyped-def]
        """React."""

    built(on_paid)


def untyped_context() -> None:
    @policy  # wrong
    def on_paid(event: Paid, context) -> None:  # type: ignore[no-untyped-def]
        """React."""

    built(on_paid)


def untyped_return() -> None:
    @policy  # wrong
    def on_paid(event: Paid, context: PolicyContext[Booking]):  # type: ignore[no-untyped-def]
        """React."""

    built(on_paid)


def another_return() -> None:
    @policy  # type: ignore[arg-type]  # wrong
    def on_paid(event: Paid, context: PolicyContext[Booking]) -> int:
        return 1

    built(on_paid)


def another_context() -> None:
    @policy  # type: ignore[arg-type]  # wrong
    def on_paid(event: Paid, context: Booking) -> None:
        """React."""

    built(on_paid)


def one_argument() -> None:
    @policy  # type: ignore[arg-type]  # wrong
    def on_paid(event: Paid) -> None:
        """React."""

    built(on_paid)


def named_argument() -> None:
    @policy  # type: ignore[arg-type]  # wrong
    def on_paid(event: Paid, *, context: PolicyContext[Booking]) -> None:
        """React."""

    built(on_paid)


def unknown_name() -> None:
    @policy  # wrong
    def on_paid(event: "Nowhere", context: PolicyContext[Booking]) -> None:  # type: ignore[name-defined]  # noqa: F821
        """React."""

    built(on_paid)


def unknown_event() -> None:
    @policy  # wrong
    def on_nothing(event: Nobodys, context: PolicyContext[Any]) -> None:
        """React."""

    built(on_nothing)


def event_of_another_kind() -> None:
    @policy  # wrong
    def on_paid(event: Paid, context: PolicyContext[Idle]) -> None:
        """React."""

    built(on_paid)


def one_of_two_events_unknown() -> None:
    @policy  # wrong
    def on_paid(event: Paid | Nobodys, context: PolicyContext[Booking]) -> None:
        """React."""

    built(on_paid)


def unknown_kind() -> None:
    @policy  # wrong
    def on_paid(event: Paid, context: PolicyContext[Other]) -> None:
        """React."""

    built(on_paid)


def kind_that_is_no_kind() -> None:
    @policy  # wrong
    def on_paid(event: Paid, context: PolicyContext[int]) -> None:
        """React."""

    built(on_paid)


def two_of_one_name() -> None:
    @policy
    def on_paid(event: Paid, context: PolicyContext[Booking]) -> None:
        """React."""

    first = on_paid

    @policy  # type: ignore[no-redef]  # wrong
    def on_paid(event: Paid, context: PolicyContext[Any]) -> None:
        """React."""

    built(first, on_paid)


def the_same_twice() -> None:
    @policy  # wrong
    def on_paid(event: Paid, context: PolicyContext[Booking]) -> None:
        """React."""

    built(on_paid, on_paid)


def tells_a_command_of_no_actor_of_the_model() -> None:
    @policy(tells=[Other.go])  # wrong
    def on_paid(event: Paid, context: PolicyContext[Booking]) -> None:
        """React."""

    built(on_paid)


class Elsewhere(Actor, kind="booking"):
    """Another class of a kind that the model has."""

    @command
    def leave(self) -> None:
        """Nothing."""


def tells_a_command_that_its_actor_has_not() -> None:
    @policy(tells=[Elsewhere.leave])  # wrong
    def on_paid(event: Paid, context: PolicyContext[Booking]) -> None: ...

    built(on_paid)


def tells_a_query() -> None:
    @policy(tells=[Booking.read])  # type: ignore[list-item]  # wrong
    def on_paid(event: Paid, context: PolicyContext[Booking]) -> None:
        """React."""


def tells_a_single_command() -> None:
    @policy(tells=Other.go)  # type: ignore[call-overload, untyped-decorator]  # wrong
    def on_paid(event: Paid, context: PolicyContext[Booking]) -> None:
        """React."""


def on_no_function() -> None:
    policy(functools.partial(print))  # wrong


def no_policy() -> None:
    Model("hotel", actors=[Booking], policies=[print])  # type: ignore[list-item]  # wrong


CASES = [
    (asynchronous, "on_paid is a plain function: neither `async` nor a generator"),
    (generator, "on_paid is a plain function: neither `async` nor a generator"),
    (asynchronous_generator, "on_paid is a plain function: neither `async` nor a generator"),
    (base_of_an_event, "on_base is for Base, which is no event of booking"),
    (untyped_event, r"on_paid\(event\) has no type; annotate it"),
    (untyped_context, r"on_paid\(context\) has no type; annotate it"),
    (untyped_return, "on_paid returns nothing; write `-> None`"),
    (another_return, "on_paid returns nothing; write `-> None`"),
    (another_context, r"on_paid\(context\) is a PolicyContext\[...\] of an Actor class, not .*Booking"),
    (one_argument, "on_paid takes two arguments, the event and a PolicyContext"),
    (named_argument, "on_paid takes two arguments, the event and a PolicyContext"),
    (unknown_name, r"the annotation of on_paid\(event\), 'Nowhere', cannot be evaluated"),
    (unknown_event, "on_nothing is for Nobodys, which is no event of booking, idle"),
    (event_of_another_kind, "on_paid is for Paid, which is no event of idle"),
    (one_of_two_events_unknown, "on_paid is for Nobodys, which is no event of booking"),
    (unknown_kind, r"on_paid is for PolicyContext\[Other\], which is no Actor class of the model"),
    (kind_that_is_no_kind, r"on_paid is for PolicyContext\[int\], which is no Actor class of the model"),
    (two_of_one_name, r"a second policy 'on_paid'; the first is at .*test_policy_errors.py:\d+"),
    (the_same_twice, "a second policy 'on_paid'"),
    (tells_a_command_of_no_actor_of_the_model, "on_paid tells other.go, which is no command of the model"),
    (tells_a_command_that_its_actor_has_not, "on_paid tells booking.leave, which is no command of the model"),
    (tells_a_query, r"on_paid tells a tuple of commands, like \(Room.confirm,\), not \[<query"),
    (tells_a_single_command, "on_paid tells a tuple of commands"),
    (on_no_function, "@policy goes directly on a function, not on functools.partial"),
    (no_policy, "the policies of a model are functions marked with @policy, not <built-in function print>"),
]


@pytest.mark.parametrize(("build", "message"), CASES, ids=lambda one: getattr(one, "__name__", ""))
def test_what_cannot_be_a_policy_is_a_model_error_at_its_line(build: Callable[[], None], message: str) -> None:
    lines, first = inspect.getsourcelines(build)
    wrong = next(number for number, line in enumerate(lines, first) if line.rstrip().endswith("# wrong"))
    with pytest.raises(ModelError, match=message) as refused:
        build()
    assert (refused.value.file, refused.value.line) == (__file__, wrong)


S = TypeVar("S")


class Late(Booking):
    """Another kind of bookings."""


def test_a_policy_runs_once_for_each_event_of_the_kinds_it_is_for() -> None:
    @policy
    def bare(event: Paid, context: PolicyContext) -> None: ...  # type: ignore[type-arg]

    @policy
    def generic(event: Paid, context: PolicyContext[S]) -> None: ...

    @policy
    def twice(event: Paid, context: PolicyContext[Booking | Late]) -> None: ...

    @policy
    def one(event: Paid, context: PolicyContext[Late]) -> None: ...

    model = Model("hotel", actors=[Booking, Late], policies=[bare, generic, twice, one])
    ran = {kind.kind: [run.name for run in kind.events["Paid"].policies] for kind in model}
    assert ran == {"booking": ["bare", "generic", "twice"], "late": ["bare", "generic", "twice", "one"]}
