"""Tasks as a model takes them: what can be one, how arguments and results travel, and what is refused with its line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from aether import Actor, InvalidCommand, Model, ModelError, Retry, TaskCall, TaskContext, command, task
from aether.ids import ActorId
from aether.model.task_type import TaskType

CONTEXT = TaskContext(
    task_id="one", attempt=1, actor_id=ActorId("idle", "a"), resources=None, deadline=datetime(2026, 1, 1, tzinfo=UTC)
)


class Idle(Actor):
    """Starts none."""

    @command
    def nothing(self) -> None: ...


@dataclass(frozen=True)
class Receipt:
    """What a charge gives."""

    number: str
    amount: Decimal


@task(retry=Retry(first_s=2, cap_s=8, attempts=3), timeout_s=5, max_running=2)
async def charge(context: TaskContext, account: str, amount: Decimal = Decimal(1), *, note: str = "") -> Receipt:
    """Charge an account."""
    return Receipt(f"{context.task_id}/{account}/{note}", amount)


@task
def plain(text: str) -> int:
    return len(text)


def compiled(*tasks: Any) -> dict[str, TaskType]:
    return dict(Model("tasks", actors=[Idle], tasks=tasks).task_types)


async def test_a_task_takes_its_context_and_its_arguments_and_gives_its_result() -> None:
    one = compiled(charge)["charge"]
    call = charge("alice", Decimal("2.50"), note="x")
    assert isinstance(call, TaskCall)
    raw = one.encode_args(call.args, call.kwargs)
    assert raw == b'{"account":"alice","amount":"2.50","note":"x"}'
    result = await one.invoke(CONTEXT, one.decode_args(raw))
    assert one.decode_result(one.encode_result(result)) == Receipt("one/alice/x", Decimal("2.50"))
    assert (one.retry, one.timeout_s, one.max_running, one.blocking) == (
        Retry(first_s=2, cap_s=8, attempts=3),
        5,
        2,
        False,
    )
    assert one.description == "Charge an account."


def test_a_plain_function_is_a_task_that_blocks() -> None:
    one = compiled(plain)["plain"]
    assert one.blocking
    assert one.invoke(CONTEXT, one.decode_args(one.encode_args(("abc",), {}))) == 3
    assert (one.retry, one.timeout_s, one.max_running) == (Retry(), 30.0, None)
    assert plain.function("ab") == 2


def test_arguments_and_results_are_checked() -> None:
    one = compiled(charge)["charge"]
    for args, kwargs, path in ((("a", "much"), {}, "amount"), ((), {}, "account"), (("a",), {"other": 1}, "other")):
        with pytest.raises(InvalidCommand) as refused:
            one.encode_args(args, kwargs)
        assert refused.value.path == path
    with pytest.raises(TypeError, match="what the task charge returned is not of its declared type"):
        one.encode_result("a text")


def test_the_schema_describes_tasks_and_the_fingerprint_knows_them() -> None:
    without, model = Model("tasks", actors=[Idle]), Model("tasks", actors=[Idle], tasks=[charge])
    assert "tasks" not in without.schema()
    described = model.schema()["tasks"]["charge"]
    assert described["args"]["required"] == ["account"]
    assert described["result"] == {"$ref": "#/$defs/Receipt"}
    assert without.fingerprint != model.fingerprint


def refusals() -> list[tuple[Any, str]]:
    @task
    def untyped(amount) -> None: ...  # type: ignore[no-untyped-def]

    @task
    def many(*amounts: int) -> None: ...

    @task
    def silent(amount: int): ...  # type: ignore[no-untyped-def]

    @task
    def unstorable(amount: int) -> Callable[[], None]: ...  # type: ignore[empty-body]

    @task
    def takes_what_cannot_be_stored(amount: object) -> None: ...

    @task
    def late(amount: int, context: TaskContext) -> None: ...

    @task
    def steps(amount: int) -> Any:
        yield amount

    @task
    def method(self, amount: int) -> None: ...  # type: ignore[no-untyped-def]

    @task
    def wrong_default(amount: int = "many") -> None: ...  # type: ignore[assignment]

    def named() -> None: ...

    named.__name__ = "ä" * 42

    return [
        (task(named), "name that is too long"),
        (untyped, r"untyped\(amount\) has no type"),
        (many, r"many\(\*amounts\) is untyped"),
        (silent, "does not say what it returns"),
        (unstorable, "the result of the task unstorable cannot be stored as JSON"),
        (takes_what_cannot_be_stored, r"takes_what_cannot_be_stored\(amount\) cannot be stored as JSON"),
        (late, "a TaskContext is the first parameter"),
        (steps, "is a generator"),
        (method, "is a method"),
        (wrong_default, "the default of"),
    ]


@pytest.mark.parametrize(("declared", "why"), refusals(), ids=lambda one: getattr(one, "name", ""))
def test_what_could_not_run_is_refused_with_its_line(declared: Any, why: str) -> None:
    with pytest.raises(ModelError, match=why) as refused:
        compiled(declared)
    assert refused.value.file == __file__
    assert refused.value.line == declared.function.__code__.co_firstlineno


def test_a_context_that_would_not_be_filled_in_is_refused() -> None:
    @task
    def by_name(*, context: TaskContext) -> None: ...

    @task
    def maybe(context: TaskContext | None = None) -> None: ...

    for declared in (by_name, maybe):
        with pytest.raises(ModelError, match=r"\(context\): a TaskContext is the first parameter, by its place"):
            compiled(declared)


def test_two_tasks_of_one_name_are_refused() -> None:
    first = plain

    def another() -> Any:
        @task
        def plain() -> None: ...

        return plain

    with pytest.raises(ModelError, match=r"a second task 'plain'; the first is at .*test_model_tasks\.py:"):
        compiled(first, another())


def test_a_model_takes_nothing_else_for_a_task() -> None:
    with pytest.raises(ModelError, match="functions with @task, not"):
        compiled(plain.function)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"timeout_s": 0}, "timeout_s is a number of seconds above 0"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"timeout_s": 24 * 3600.0 + 1}, "86400 at most"),
        ({"max_running": 0}, "max_running is a whole number"),
        ({"retry": 3}, r"retry is a Retry\(...\)"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ModelError, match=why):
        task(**options)
    with pytest.raises(ModelError, match="directly on a function"):
        task(Idle.nothing)


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"attempts": 2**63},
        {"attempts": 1.5},
        {"first_s": -1},
        {"first_s": "1"},
        {"cap_s": True},
        {"cap_s": float("nan")},
        {"attempts": True},
        {"first_s": 24 * 3600.0 + 1},
        {"cap_s": 24 * 3600.0 + 1},
    ],
)
def test_retries_that_cannot_be_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Retry(**options)


def test_the_shortest_and_the_longest_that_can_be() -> None:
    assert Retry(first_s=0, cap_s=0, attempts=1) != Retry(first_s=24 * 3600.0, cap_s=24 * 3600.0)
    assert task(timeout_s=24 * 3600.0)(plain.function).timeout_s == 24 * 3600.0


def test_a_call_shows_its_arguments() -> None:
    assert repr(charge("alice", note="x")) == "<call of the task charge('alice', note='x')>"


def test_a_task_that_is_not_in_the_model_is_named() -> None:
    with pytest.raises(InvalidCommand, match=r"has no task 'plain'; it has: charge. Add it to Model\(tasks=\[...\]\)"):
        Model("tasks", actors=[Idle], tasks=[charge]).task_type(plain)
