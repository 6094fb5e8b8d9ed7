"""Everything that cannot be a model is a `ModelError` with the file and line of what is wrong (marked `# wrong`)."""

import dataclasses
import functools
import inspect
import linecache
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from uuid import uuid4

import msgspec
import pytest

from aether.errors import ModelError
from aether.model.actor import Actor
from aether.model.decider import Decider
from aether.model.handlers import command, event, query
from aether.model.model import Model


@dataclass(frozen=True)
class Happened:
    """The event of most actors here."""

    what: str = ""


@dataclass(frozen=True)
class Ended:
    """Another event."""


class Fine(Actor):
    """An actor without fault."""

    @event
    def happened(self, e: Happened) -> None:
        """Apply."""


class Strange:
    """A class that JSON cannot carry."""


def bad_model_name() -> None:
    Model("Bank Of Bank", actors=[Fine])  # wrong


def model_name_is_no_text() -> None:
    Model(None, actors=[Fine])  # type: ignore[arg-type]  # wrong


def no_actors() -> None:
    Model("bank")  # wrong


def projections() -> None:
    Model("bank", actors=[Fine], projections=[object()])  # wrong


def no_actor_class() -> None:
    Model("bank", actors=[Strange])  # type: ignore[list-item]  # wrong


def the_base_class_itself() -> None:
    Model("bank", actors=[Actor])  # wrong


def bad_kind() -> None:
    class Account(Fine, kind="Bank-Account"):  # wrong
        pass

    Model("bank", actors=[Account])


def bad_class_name_for_a_kind() -> None:
    class _Hidden(Fine):  # wrong
        pass

    Model("bank", actors=[_Hidden])


def duplicate_kind() -> None:
    class Account(Fine):
        pass

    class Other(Fine, kind="account"):  # wrong
        pass

    Model("bank", actors=[Account, Other])


def field_without_default() -> None:
    class Account(Fine):
        total: int = 0
        balance: int  # wrong

    Model("bank", actors=[Account])


def field_without_default_or_factory() -> None:
    class Account(Fine):
        balance: int = dataclasses.field(repr=False)  # wrong

    Model("bank", actors=[Account])


def default_of_another_type() -> None:
    class Account(Fine):
        balance: int = None  # type: ignore[assignment]  # wrong

    Model("bank", actors=[Account])


def factory_of_another_type() -> None:
    class Account(Fine):
        names: list[str] = dataclasses.field(default_factory=lambda: [1])  # type: ignore[list-item]  # wrong

    Model("bank", actors=[Account])


def state_that_is_no_json() -> None:
    class Account(Fine):
        strange: Strange = Strange()  # wrong

    Model("bank", actors=[Account])


def state_that_hides_an_attribute() -> None:
    class Account(Fine):
        version: int = 0  # wrong

    Model("bank", actors=[Account])


def state_that_a_method_hides() -> None:
    class Account(Fine):
        noted: int = 0  # wrong

        @event  # type: ignore[no-redef]  # the fault is the point
        def noted(self, e: Ended) -> None: ...  # noqa: F811

    Model("bank", actors=[Account])


def annotated_kind() -> None:
    class Account(Fine):
        kind: str = "account"  # type: ignore[misc]  # wrong

    Model("bank", actors=[Account])


def unknown_name_in_a_field() -> None:
    class Account(Fine):
        balance: "Nowhere" = 0  # type: ignore[name-defined]  # noqa: F821  # wrong

    Model("bank", actors=[Account])


def own_init() -> None:
    class Account(Fine):
        def __init__(self) -> None:  # wrong
            pass

    Model("bank", actors=[Account])


def own_emit() -> None:
    class Account(Fine):
        @command  # wrong
        def emit(self) -> None:  # type: ignore[override]
            pass

    Model("bank", actors=[Account])


def own_property() -> None:
    class Account(Fine):
        @property  # wrong
        def context(self) -> Any:
            return 1

    Model("bank", actors=[Account])


def untyped_argument() -> None:
    class Account(Fine):
        @command  # wrong
        def deposit(self, amount) -> None:  # type: ignore[no-untyped-def]
            pass

    Model("bank", actors=[Account])


def untyped_reply() -> None:
    class Account(Fine):
        @query  # wrong
        def deposit(self):  # type: ignore[no-untyped-def]
            pass

    Model("bank", actors=[Account])


def variadic_places() -> None:
    class Account(Fine):
        @command  # wrong
        def deposit(self, *amounts: int) -> None:
            pass

    Model("bank", actors=[Account])


def variadic_names() -> None:
    class Account(Fine):
        @command  # wrong
        def deposit(self, /, **amounts: int) -> None:
            pass

    Model("bank", actors=[Account])


def argument_that_is_no_json() -> None:
    class Account(Fine):
        @command  # wrong
        def deposit(self, amount: Strange) -> None:
            pass

    Model("bank", actors=[Account])


def reply_that_is_no_json() -> None:
    class Account(Fine):
        @query  # wrong
        def deposit(self) -> Iterable[int]:
            return []

    Model("bank", actors=[Account])


def default_of_an_argument() -> None:
    class Account(Fine):
        @command  # wrong
        def deposit(self, amount: int = None) -> None:  # type: ignore[assignment]  # noqa: RUF013 - the fault is the point
            pass

    Model("bank", actors=[Account])


def unknown_name_in_an_argument() -> None:
    class Account(Fine):
        @command  # wrong
        def deposit(self, amount: "Nowhere") -> None:  # type: ignore[name-defined]  # noqa: F821
            pass

    Model("bank", actors=[Account])


def generator() -> None:
    class Account(Fine):
        @command  # wrong
        def deposit(self) -> Iterator[int]:
            yield 1

    Model("bank", actors=[Account])


def asynchronous_generator() -> None:
    class Account(Fine):
        @query  # wrong
        async def deposit(self) -> AsyncIterator[int]:
            yield 1

    Model("bank", actors=[Account])


def no_self() -> None:
    class Account(Fine):
        @command  # type: ignore[arg-type]  # wrong
        def deposit() -> None:
            pass

    Model("bank", actors=[Account])


def private_command() -> None:
    class Account(Fine):
        @command  # wrong
        def _deposit(self) -> None:
            pass

    Model("bank", actors=[Account])


def reserved_command() -> None:
    class Account(Fine):
        @command  # wrong
        def aether_deposit(self) -> None:
            pass

    Model("bank", actors=[Account])


def two_roles() -> None:
    @query  # wrong
    @command
    def deposit(self: Any) -> None:
        pass


def mark_on_no_function() -> None:
    command(property(lambda self: 1))  # type: ignore[call-overload]  # wrong


def logged(handler: Any) -> Any:
    @functools.wraps(handler)
    def wrapper(*args: Any) -> Any:
        return handler(*args)

    return wrapper


def logged_in_secret(handler: Any) -> Any:
    def wrapper(*args: Any) -> Any:
        return handler(*args)

    return wrapper


def decorator_above() -> None:
    class Account(Fine):
        @logged  # wrong
        @command
        def deposit(self) -> None:
            pass

    Model("bank", actors=[Account])


def decorator_that_tells_nothing_above() -> None:
    class Account(Fine):
        @logged_in_secret  # wrong
        @query
        def deposit(self) -> None:
            pass

    Model("bank", actors=[Account])


def class_method_above() -> None:
    class Account(Fine):
        @classmethod  # wrong
        @command
        def deposit(cls) -> None:
            pass

    Model("bank", actors=[Account])


def property_above() -> None:
    class Account(Fine):
        @property  # wrong
        @query
        def deposit(self) -> None:
            pass

    Model("bank", actors=[Account])


def cached_property_above() -> None:
    class Account(Fine):
        @functools.cached_property  # wrong
        @query
        def deposit(self) -> None:
            pass

    Model("bank", actors=[Account])


def static_method_below() -> None:
    class Account(Fine):
        @command  # type: ignore[arg-type]  # wrong
        @staticmethod
        def deposit() -> None:
            pass


def command_under_two_names() -> None:
    class Account(Fine):
        @command  # wrong
        def deposit(self) -> None:
            pass

        pay_in = deposit

    Model("bank", actors=[Account])


def unmarked_override() -> None:
    class Account(Fine):
        def happened(self, e: Happened) -> None:  # wrong
            pass

    Model("bank", actors=[Account])


def asynchronous_event() -> None:
    class Account(Actor):
        @event  # type: ignore[type-var]  # wrong
        async def happened(self, e: Happened) -> None:
            pass

    Model("bank", actors=[Account])


def untyped_event() -> None:
    class Account(Actor):
        @event  # wrong
        def happened(self, e) -> None:  # type: ignore[no-untyped-def]
            pass

    Model("bank", actors=[Account])


def event_without_argument() -> None:
    class Account(Actor):
        @event  # type: ignore[type-var]  # wrong
        def happened(self) -> None:
            pass

    Model("bank", actors=[Account])


def event_that_is_no_class() -> None:
    class Account(Actor):
        @event  # wrong
        def happened(self, e: int) -> None:
            pass

    Model("bank", actors=[Account])


def event_or_none() -> None:
    class Account(Actor):
        @event  # wrong
        def happened(self, e: Happened | None) -> None:
            pass

    Model("bank", actors=[Account])


def event_that_is_no_json() -> None:
    @dataclass  # wrong
    class Odd:
        strange: Strange

    class Account(Actor):
        @event
        def odd(self, e: Odd) -> None:
            pass

    Model("bank", actors=[Account])


def event_twice() -> None:
    class Account(Fine):
        @event  # wrong
        def again(self, e: Happened) -> None:
            pass

    Model("bank", actors=[Account])


def two_events_of_one_name() -> None:
    other = dataclasses.make_dataclass("Happened", [("more", int, 0)])

    class Account(Fine):
        @event  # wrong
        def again(self, e: "other") -> None:  # type: ignore[valid-type]
            pass

    Model("bank", actors=[Account])


def bad_schema_version() -> None:
    class Odd(msgspec.Struct):  # wrong
        schema_version = "two"

    class Account(Actor):
        @event
        def odd(self, e: Odd) -> None:
            pass

    Model("bank", actors=[Account])


def decide(state: int, command: Happened) -> list[Happened]:
    return [command]


def evolve(state: int, event: Happened) -> int:
    return state


def no_upcast_for_an_older_version() -> None:
    @dataclass  # wrong
    class Odd:
        schema_version: ClassVar[int] = 2

    class Account(Actor):
        @event
        def odd(self, e: Odd) -> None:
            """An event."""

    Model("bank", actors=[Account])


def no_upcast_for_older_versions() -> None:
    @dataclass  # wrong
    class Odd:
        schema_version: ClassVar[int] = 3

    class Account(Actor):
        @event
        def odd(self, e: Odd) -> None:
            """An event."""

    Model("bank", actors=[Account])


def upcast_without_a_raised_version() -> None:
    @dataclass  # wrong
    class Odd:
        @staticmethod
        def upcast(fields: dict[str, Any], schema_version: int) -> dict[str, Any]:
            return fields

    class Account(Actor):
        @event
        def odd(self, e: Odd) -> None:
            """An event."""

    Model("bank", actors=[Account])


def upcast_that_is_no_function() -> None:
    @dataclass  # wrong
    class Odd:
        schema_version: ClassVar[int] = 2
        upcast: ClassVar[str] = "later"

    class Account(Actor):
        @event
        def odd(self, e: Odd) -> None:
            """An event."""

    Model("bank", actors=[Account])


def upcast_that_is_a_method() -> None:
    @dataclass  # wrong
    class Odd:
        schema_version: ClassVar[int] = 2

        def upcast(self, fields: dict[str, Any], schema_version: int) -> dict[str, Any]:
            return fields

    class Account(Actor):
        @event
        def odd(self, e: Odd) -> None:
            """An event."""

    Model("bank", actors=[Account])


def decider_kind() -> None:
    wrong = Decider(0, decide, evolve, kind="Bad")  # wrong
    Model("bank", actors=[wrong])


def decider_kind_is_no_text() -> None:
    wrong = Decider(0, decide, evolve, kind=5)  # type: ignore[call-overload]  # wrong
    Model("bank", actors=[wrong])


def decider_without_commands() -> None:
    def decided(state, command):  # type: ignore[no-untyped-def]  # wrong
        return []

    Model("bank", actors=[Decider(0, decided, evolve, kind="bad")])


def decider_without_events() -> None:
    def evolved(state, event):  # type: ignore[no-untyped-def]  # wrong
        return state

    Model("bank", actors=[Decider(0, decide, evolved, kind="bad")])


def decider_with_three_arguments() -> None:
    def evolved(state: int, event: Happened, more: int) -> int:  # wrong
        return state

    Model("bank", actors=[Decider(0, decide, evolved, kind="bad")])  # type: ignore[arg-type]


def decider_with_an_asynchronous_fold() -> None:
    async def evolved(state: int, event: Happened) -> int:  # wrong
        return state

    Model("bank", actors=[Decider(0, decide, evolved, kind="bad")])


def decider_with_another_initial() -> None:
    wrong = Decider("zero", decide, evolve, kind="bad")  # type: ignore[misc]  # wrong
    Model("bank", actors=[wrong])


def decider_of_no_function() -> None:
    wrong = Decider(0, decide, max, kind="bad")  # type: ignore[misc]  # wrong
    Model("bank", actors=[wrong])


def decider_command_that_is_no_class() -> None:
    def decided(state: int, command: int) -> list[Happened]:  # wrong
        return []

    Model("bank", actors=[Decider(0, decided, evolve, kind="bad")])


def decider_reply_of_no_command() -> None:
    wrong = Decider(0, decide, evolve, kind="bad", replies={Strange: int})  # wrong
    Model("bank", actors=[wrong])


def decider_query_named_as_a_command() -> None:
    def happened(state: int) -> int:  # wrong
        return state

    Model("bank", actors=[Decider(0, decide, evolve, kind="bad", queries=[happened])])


def command_declared_twice() -> None:
    class Account(Fine):
        @command
        def pay(self) -> None:
            """The first."""

        @command(blocking=True)  # type: ignore[no-redef]  # wrong
        def pay(self, amount: int) -> None:  # noqa: F811 - what is tried
            """The second."""


def event_methods_of_one_name() -> None:
    class Account(Fine):
        @event
        def _(self, e: Happened) -> None:
            """The first."""

        @event  # wrong
        def _(self, e: Ended) -> None:
            """The second."""


def event_method_that_hides_another() -> None:
    class Account(Fine):
        @event  # wrong
        def happened(self, e: Ended) -> None:  # type: ignore[override]
            """Apply another event."""

    Model("bank", actors=[Account])


def cached_property_of_the_state() -> None:
    class Account(Fine):
        balance: int = 0

        @functools.cached_property  # wrong
        def rich(self) -> bool:
            return self.balance > 10

    Model("bank", actors=[Account])


def cached_method() -> None:
    class Account(Fine):
        @functools.lru_cache  # noqa: B019 - what is tried  # wrong
        def rich(self) -> bool:
            return True

    Model("bank", actors=[Account])


def container_that_is_no_state() -> None:
    class Account(Fine):
        owners = []  # type: ignore[var-annotated]  # noqa: RUF012 - what is tried  # wrong

    Model("bank", actors=[Account])


def private_container_that_is_no_state() -> None:
    class Account(Fine):
        __owners = []  # type: ignore[var-annotated]  # noqa: RUF012 - what is tried  # wrong

    Model("bank", actors=[Account])


def field_without_annotation() -> None:
    class Account(Fine):
        owners = dataclasses.field(default_factory=list)  # type: ignore[var-annotated]  # wrong

    Model("bank", actors=[Account])


def final_without_a_type() -> None:
    class Account(Fine):
        limit: Final = 3  # wrong

    Model("bank", actors=[Account])


def factory_that_fails() -> None:
    class Account(Fine):
        share: float = dataclasses.field(default_factory=lambda: 1 / 0)  # wrong

    Model("bank", actors=[Account])


def factory_of_another_value_each_time() -> None:
    class Account(Fine):
        name: str = dataclasses.field(default_factory=lambda: uuid4().hex)  # wrong

    Model("bank", actors=[Account])


def kind_is_no_text() -> None:
    class Account(Fine):  # wrong
        kind = 5  # type: ignore[assignment]

    Model("bank", actors=[Account])


def actors_are_no_list() -> None:
    Model("bank", actors=Fine)  # type: ignore[arg-type]  # wrong


CASES = [
    (command_declared_twice, "Account.pay is declared twice, and hides the @command of line"),
    (event_methods_of_one_name, "Account._ is declared twice, and hides the @event of line"),
    (event_method_that_hides_another, "Account.happened hides Fine.happened, and nothing applies Happened any more"),
    (cached_property_of_the_state, "Account.rich is cached by cached_property"),
    (cached_method, "Account.rich is cached by lru_cache"),
    (container_that_is_no_state, "Account.owners has no annotation, so it is no state, and all actors share it"),
    (
        private_container_that_is_no_state,
        "Account.__owners has no annotation.*A constant has a name in capitals, or is a ",
    ),
    (field_without_annotation, "Account.owners is a dataclasses.field without an annotation, so it is no state"),
    (final_without_a_type, r"Account.limit is a Final without a type: write `limit: ClassVar\[...\] =` for a constant"),
    (factory_that_fails, "the default of Account.share cannot be made: ZeroDivisionError: division by zero"),
    (factory_of_another_value_each_time, "the default of Account.name is another one each time"),
    (kind_is_no_text, "a kind is a text, not a int"),
    (actors_are_no_list, r"actors is a list, not <class '.*Fine'>; write actors=\[...\]"),
    (bad_model_name, "namespace"),
    (model_name_is_no_text, "namespace"),
    (no_actors, "no actors"),
    (projections, "projections are not supported yet"),
    (no_actor_class, "Actor classes and Deciders"),
    (the_base_class_itself, "Actor classes and Deciders"),
    (bad_kind, "snake_case"),
    (bad_class_name_for_a_kind, "snake_case.*kind="),
    (duplicate_kind, "second actor of kind 'account'"),
    (field_without_default, "starts from nothing"),
    (field_without_default_or_factory, "starts from nothing"),
    (default_of_another_type, "default of Account.balance"),
    (factory_of_another_type, "default of Account.names"),
    (state_that_is_no_json, "cannot be stored as JSON"),
    (state_that_hides_an_attribute, "hides an attribute"),
    (state_that_a_method_hides, r"Account.noted is a state field and a method, which hides it"),
    (annotated_kind, "ClassVar"),
    (unknown_name_in_a_field, "Nowhere"),
    (own_init, "has an __init__"),
    (own_emit, "hides what every actor has"),
    (own_property, "hides what every actor has"),
    (untyped_argument, r"deposit\(amount\) has no type"),
    (untyped_reply, "does not say what it returns"),
    (variadic_places, r"\*amounts"),
    (variadic_names, r"\*\*amounts"),
    (argument_that_is_no_json, "cannot be stored as JSON.*Strange"),
    (reply_that_is_no_json, "the reply of account.deposit"),
    (default_of_an_argument, r"default of account.deposit\(amount\)"),
    (unknown_name_in_an_argument, "Nowhere"),
    (generator, "generator"),
    (asynchronous_generator, "generator"),
    (no_self, "takes no actor"),
    (private_command, "begin with '_'"),
    (reserved_command, "begin with '_' or 'aether'"),
    (two_roles, "@command and as @query"),
    (mark_on_no_function, "directly on a method"),
    (decorator_above, "put @command above its other decorators"),
    (decorator_that_tells_nothing_above, "put @query above its other decorators"),
    (class_method_above, "put @command above its other decorators"),
    (property_above, "put @query above its other decorators"),
    (cached_property_above, "put @query above its other decorators"),
    (static_method_below, "directly on a method"),
    (command_under_two_names, "pay_in is the command deposit once more"),
    (unmarked_override, "overrides a method marked @event"),
    (asynchronous_event, "plain method"),
    (untyped_event, "annotate which event"),
    (event_without_argument, "takes `self` and the event"),
    (event_that_is_no_class, "cannot have int as an event"),
    (event_or_none, "NoneType"),
    (event_that_is_no_json, "the event Odd of account"),
    (event_twice, "two @event methods for Happened"),
    (two_events_of_one_name, "two event types named Happened"),
    (bad_schema_version, "schema_version"),
    (no_upcast_for_an_older_version, r"nothing reads what version 1 of it stored: add `@staticmethod def upcast\("),
    (no_upcast_for_older_versions, "what versions 1 to 2 of it stored"),
    (upcast_without_a_raised_version, "upcast is never called while Odd.schema_version is 1"),
    (upcast_that_is_no_function, "upcast is no static method"),
    (upcast_that_is_a_method, r"cannot be called with \(fields, schema_version\): missing a required argument"),
    (decider_kind, "snake_case"),
    (decider_kind_is_no_text, "a kind is a text, not a int"),
    (decider_without_commands, "no command types"),
    (decider_without_events, "no event types"),
    (decider_with_three_arguments, "two arguments"),
    (decider_with_an_asynchronous_fold, "neither `async`"),
    (decider_with_another_initial, "initial state"),
    (decider_of_no_function, "plain functions"),
    (decider_command_that_is_no_class, "a command is a dataclass"),
    (decider_reply_of_no_command, "no command of it"),
    (decider_query_named_as_a_command, "two commands named happened"),
]


@pytest.mark.parametrize(("build", "message"), CASES, ids=lambda one: getattr(one, "__name__", ""))
def test_what_cannot_be_a_model_is_a_model_error_at_its_line(build: Callable[[], None], message: str) -> None:
    lines, first = inspect.getsourcelines(build)
    wrong = next(number for number, line in enumerate(lines, first) if line.rstrip().endswith("# wrong"))
    with pytest.raises(ModelError, match=message) as refused:
        build()
    assert (refused.value.file, refused.value.line) == (__file__, wrong)
    assert str(refused.value).startswith(f"{__file__}:{wrong}: ")


def test_constants_and_class_variables_may_be_containers() -> None:
    class Account(Fine):
        LIMITS = {"day": 5}  # noqa: RUF012 - a constant
        names: ClassVar[list[str]] = []

        @staticmethod
        @functools.cache
        def tax(amount: int) -> int:
            return amount // 5

    Model("bank", actors=[Account])


def test_a_class_without_a_source_file_still_gets_a_clear_error() -> None:
    source = "class Account(Fine):\n    balance: int\n"
    names: dict[str, Any] = {"Fine": Fine, "__name__": "notebook"}
    exec(compile(source, "<cell 7>", "exec"), names)  # noqa: S102 - what a notebook does
    linecache.clearcache()
    with pytest.raises(ModelError, match="starts from nothing") as refused:
        Model("bank", actors=[names["Account"]])
    assert (refused.value.file, refused.value.line) == ("<cell 7>", 1)


SETTINGS = {"kind", "snapshot_version", "command_window_s", "tells_in_order"}
"""What a class may set."""


@pytest.mark.parametrize("name", sorted({name for name in vars(Actor) if not name.startswith("_")} - SETTINGS))
def test_no_command_hides_what_every_actor_has(name: str) -> None:
    names: dict[str, Any] = {"Actor": Actor, "command": command}
    exec(f"class A(Actor):\n    @command\n    def {name}(self) -> None: ...\n", names)  # noqa: S102 - names vary
    with pytest.raises(ModelError, match="hides what every actor has"):
        Model("taken", actors=[names["A"]])
