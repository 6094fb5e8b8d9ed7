"""Tasks: functions that call the outside world, run apart from any turn, and started by actors.

`@task` makes a `Task` of a function. Calling it runs nothing: it gives a `TaskCall`, which a handler starts with
`self.start_task(...)`. What a task is in a model is checked and compiled when the model is built (`task_type`).
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from functools import update_wrapper
from inspect import iscoroutinefunction
from types import FunctionType
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from aether.errors import InvalidCommand
from aether.ids import ActorId
from aether.model.annotations import annotations_of
from aether.model.declared import Place, caller_frame, local_names, place_of_frame

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

TIMEOUT_MAX_S = 24 * 3600.0
WAIT_MAX_S = 24 * 3600.0
ATTEMPTS_MAX = 2**63 - 1
"""What is written down of a task holds no larger number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a task is tried, and how long it waits in between.

    - `attempts`: how often in all, from 1 to 2**63 - 1. `first_s`: how long, in seconds, before the second attempt; it
      doubles with each one. `cap_s`: to how much at most, one day at most. Of each wait, up to half is left to chance.
    """

    first_s: float = 1.0
    cap_s: float = 60.0
    attempts: int = 8

    def __post_init__(self) -> None:
        for name, value in (("first_s", self.first_s), ("cap_s", self.cap_s)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= WAIT_MAX_S:
                raise ValueError(f"{name} is a number of seconds from 0 to {WAIT_MAX_S:g}, not {value!r}")
        if type(self.attempts) is not int or not 1 <= self.attempts <= ATTEMPTS_MAX:
            raise ValueError(f"attempts is a whole number from 1 to 2**63 - 1, not {self.attempts!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext:
    """What a task may know of its run: it is given to a function whose first parameter is a `TaskContext`.

    - `task_id`: the same on every attempt: the idempotency key for what is called. `attempt`: from 1.
    - `actor_id`: the actor that has started the task. `resources`: what the model's lifespan made in this worker.
    - `deadline`: when this attempt is given up, in UTC. `correlation_id`, `traceparent`: to be passed on.
    """

    task_id: str
    attempt: int
    actor_id: ActorId
    resources: Any
    deadline: datetime
    correlation_id: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class TaskFailed:
    """Why a task is given up: what its `failed` command is called with.

    `error_type` is the class of the last error by its name, `TimeoutError` for an attempt that took too long and
    `TaskCancelled` for a task that an operator has cancelled; `attempts` is how often it was tried.
    """

    message: str
    error_type: str
    attempts: int


class TaskCall(Generic[R_co]):
    """A task and the arguments to run it with. It runs when a handler gives it to `self.start_task`."""

    __slots__ = ("args", "kwargs", "task")

    def __init__(self, task: "Task[..., R_co]", args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs

    def __repr__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"<call of the task {self.task.name}({', '.join(given)})>"


class Task(Generic[P, R_co]):
    """A function that runs as a task. Calling it gives a `TaskCall`; `function` is the function itself, for tests."""

    def __init__(
        self,
        function: FunctionType,
        *,
        retry: Retry,
        timeout_s: float,
        max_running: int | None,
        place: Place,
        names: dict[str, Any],
    ) -> None:
        update_wrapper(self, function)
        self.function: Callable[..., Any] = function
        self.name: str = function.__name__
        self.retry = retry
        self.timeout_s = timeout_s
        self.max_running = max_running
        self.blocking = not iscoroutinefunction(function)
        self.place = place
        self.local_names = names

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> TaskCall[R_co]:
        """The call, which has not begun. Its arguments are checked when it is started."""
        return TaskCall(self, args, kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"


def checked_call(call: object, where: str) -> None:
    """Raise `InvalidCommand` for what is no call of a task; `where` is what it was given to."""
    if not isinstance(call, TaskCall):
        raise InvalidCommand(f"{where} takes a call of a task, like charge(5), not {call!r}", path="call")


class TaskDecorator(Protocol):
    """`@task(...)` with options."""

    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
@overload
def task(function: Callable[Concatenate[TaskContext, P], R], /) -> Task[P, R]: ...
@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(*, retry: Retry = Retry(), timeout_s: float = 30.0, max_running: int | None = None) -> TaskDecorator: ...
def task(
    function: Any = None, *, retry: Retry = Retry(), timeout_s: float = 30.0, max_running: int | None = None
) -> Any:
    """A function that calls the outside world: some worker runs it, at least once, apart from any turn.

    An asynchronous function runs on the worker's event loop, a plain one in a thread. A first parameter of type
    `TaskContext` is filled in. `retry` says what becomes of one that raises; an attempt that takes longer than
    `timeout_s` has failed; `max_running` is how many of this task one worker runs at once (default: as many as it runs
    of all). Raises `ModelError` on anything but a function, and for options that cannot be.
    """
    frame = caller_frame(1)
    place = place_of_frame(frame)
    if not isinstance(retry, Retry):
        raise place.error(f"retry is a Retry(...), not {retry!r}")
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s <= TIMEOUT_MAX_S:
        raise place.error(f"timeout_s is a number of seconds above 0, {TIMEOUT_MAX_S:g} at most, not {timeout_s!r}")
    if max_running is not None and (type(max_running) is not int or max_running < 1):
        raise place.error(f"max_running is a whole number, at least 1, not {max_running!r}")

    def decorate(decorated: Any) -> Task[Any, Any]:
        if not isinstance(decorated, FunctionType):
            raise place.error(f"@task goes directly on a function, not on {decorated!r}")
        names = local_names(frame, annotations_of(decorated).values())
        return Task(decorated, retry=retry, timeout_s=timeout_s, max_running=max_running, place=place, names=names)

    return decorate if function is None else decorate(function)
