"""The decorators that say what a method of an actor is: `@command`, `@event`, `@query`.

`@event` marks the function and gives it back; `@command` and `@query` put a typed attribute in its place
(`aether.model.methods`). What they mean is decided when a model is built.
"""

from collections.abc import Callable, Coroutine
from functools import cached_property, partialmethod
from inspect import CO_OPTIMIZED, iscoroutinefunction
from types import FrameType, FunctionType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from aether.model.declared import Place, caller_frame, closure_names, place_of_frame, place_of_function
from aether.model.methods import ActorMethod, Command, Query, Role

A = TypeVar("A")
P = ParamSpec("P")
R = TypeVar("R")

Applier = TypeVar("Applier", bound=Callable[[Any, Any], None])

_EVENT = "__aether_event__"


class CommandDecorator(Protocol):
    """`@command(...)` with options."""

    @overload
    def __call__(self, handler: Callable[Concatenate[A, P], Coroutine[Any, Any, R]], /) -> Command[A, P, R]: ...
    @overload
    def __call__(self, handler: Callable[Concatenate[A, P], R], /) -> Command[A, P, R]: ...


class QueryDecorator(Protocol):
    """`@query(...)` with options."""

    @overload
    def __call__(self, handler: Callable[Concatenate[A, P], Coroutine[Any, Any, R]], /) -> Query[A, P, R]: ...
    @overload
    def __call__(self, handler: Callable[Concatenate[A, P], R], /) -> Query[A, P, R]: ...


@overload
def command(handler: Callable[Concatenate[A, P], Coroutine[Any, Any, R]], /) -> Command[A, P, R]: ...
@overload
def command(handler: Callable[Concatenate[A, P], R], /) -> Command[A, P, R]: ...
@overload
def command(*, blocking: bool = False) -> CommandDecorator: ...
def command(handler: Any = None, *, blocking: bool = False) -> Any:
    """A method that decides: it may emit events or raise `Rejected`. Raises `ModelError` on anything but a method.

    `@command(blocking=True)` runs a plain method in a thread of the worker: it may block, and holds its actor only.
    """
    return _made(handler, Command, blocking)


@overload
def query(handler: Callable[Concatenate[A, P], Coroutine[Any, Any, R]], /) -> Query[A, P, R]: ...
@overload
def query(handler: Callable[Concatenate[A, P], R], /) -> Query[A, P, R]: ...
@overload
def query(*, blocking: bool = False) -> QueryDecorator: ...
def query(handler: Any = None, *, blocking: bool = False) -> Any:
    """A method that reads and emits nothing. Raises `ModelError` on anything but a method.

    `@query(blocking=True)` runs a plain method in a thread of the worker, as for a command.
    """
    return _made(handler, Query, blocking)


def event(handler: Applier) -> Applier:
    """The method that applies events of its argument's type: the only place where state changes, and synchronous.

    Raises `ModelError` on anything but a method.
    """
    frame = caller_frame(1)
    function = _checked(handler, "event", place_of_frame(frame))
    _check_first(function, frame)
    function.__dict__[_EVENT] = True
    return handler


def role_of(member: Any) -> Role | None:
    """What a class's member was declared as."""
    if isinstance(member, ActorMethod):
        return member.role
    return "event" if isinstance(member, FunctionType) and _EVENT in member.__dict__ else None


def handler_of(member: Any) -> FunctionType:
    """The function of a member that has a role."""
    function = member.handler if isinstance(member, ActorMethod) else member
    assert isinstance(function, FunctionType)
    return function


def hidden_method(member: Any) -> ActorMethod[Any, ..., Any] | None:
    """The command or query that a decorator above it has taken, so that its class has none."""
    inner: list[Any] = []
    if isinstance(member, property):
        inner = [member.fget]
    elif isinstance(member, cached_property | partialmethod):
        inner = [member.func]
    elif isinstance(member, classmethod | staticmethod):
        inner = [member.__func__]
    elif isinstance(member, FunctionType):
        within = [one for one in closure_names(member).values() if isinstance(one, ActorMethod) and one.actor is None]
        inner = [getattr(member, "__wrapped__", None), *within]
    return next((one for one in inner if isinstance(one, ActorMethod)), None)


def _made(handler: Any, made: type[ActorMethod[Any, ..., Any]], blocking: bool) -> Any:
    place = place_of_frame(caller_frame(2))

    def decorate(decorated: Any) -> ActorMethod[Any, ..., Any]:
        function = _checked(decorated, made.role, place)
        _check_first(function, caller_frame(1 if handler is None else 3))
        if blocking and iscoroutinefunction(function):
            name = function.__qualname__
            raise place.error(f"{name} is asynchronous, so it cannot be `blocking`: it runs on the loop")
        return made(function, blocking=blocking)

    return decorate if handler is None else decorate(handler)


def _check_first(function: FunctionType, frame: FrameType) -> None:
    """Raise `ModelError` when the class body that `frame` runs has a method of that name and a role already."""
    if frame.f_code.co_flags & CO_OPTIMIZED or frame.f_locals is frame.f_globals:
        return
    before = frame.f_locals.get(function.__name__)
    role = role_of(before)
    if role is not None and handler_of(before).__qualname__ == function.__qualname__:
        line = place_of_function(handler_of(before)).line
        text = f"{function.__qualname__} is declared twice, and hides the @{role} of line {line}; give it another name"
        raise place_of_function(function).error(text)


def _checked(handler: Any, role: Role, place: Place) -> FunctionType:
    before = role_of(handler)
    if before is not None:
        raise place.error(f"{handler.__qualname__} is marked as @{before} and as @{role}; a method is one of them")
    if not isinstance(handler, FunctionType):
        raise place.error(f"@{role} goes directly on a method, not on {handler!r}")
    return handler
