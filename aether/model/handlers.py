"""The decorators that say what a method of an actor is: `@command`, `@event`, `@query`.

They mark the function and give it back unchanged, so a handler stays an ordinary method. What a mark means is decided
when a model is built.
"""

from collections.abc import Callable
from inspect import iscoroutinefunction
from types import FunctionType
from typing import Any, Literal, TypeAlias, TypeVar, overload

from aether.model.declared import Place, caller_frame, place_of_frame

Role: TypeAlias = Literal["command", "event", "query"]
"""What a method of an actor is."""

Handler = TypeVar("Handler", bound=Callable[..., Any])

_ROLE = "__aether_role__"
_BLOCKING = "__aether_blocking__"


@overload
def command(handler: Handler) -> Handler: ...
@overload
def command(*, blocking: bool) -> Callable[[Handler], Handler]: ...
def command(handler: Any = None, *, blocking: bool = False) -> Any:
    """A method that decides: it may emit events or raise `Rejected`. Raises `ModelError` on anything but a method.

    `@command(blocking=True)` runs a plain method in a thread of the worker: it may block, and holds its actor only.
    """
    return _marked(handler, "command", blocking)


def event(handler: Handler) -> Handler:
    """The method that applies events of its argument's type: the only place where state changes, and synchronous.

    Raises `ModelError` on anything but a method.
    """
    _marked(handler, "event", False)
    return handler


@overload
def query(handler: Handler) -> Handler: ...
@overload
def query(*, blocking: bool) -> Callable[[Handler], Handler]: ...
def query(handler: Any = None, *, blocking: bool = False) -> Any:
    """A method that reads and emits nothing. Raises `ModelError` on anything but a method.

    `@query(blocking=True)` runs a plain method in a thread of the worker, as for a command.
    """
    return _marked(handler, "query", blocking)


def is_blocking(handler: FunctionType) -> bool:
    """Whether a marked method is to run in a thread."""
    return bool(handler.__dict__.get(_BLOCKING))


def role_of(member: Any) -> Role | None:
    """What a class's member was marked as."""
    return member.__dict__.get(_ROLE) if isinstance(member, FunctionType) else None


def _marked(handler: Any, role: Role, blocking: bool) -> Any:
    place = place_of_frame(caller_frame(2))
    if handler is None:
        return lambda decorated: _mark(decorated, role, blocking, place)
    return _mark(handler, role, blocking, place)


def _mark(handler: Any, role: Role, blocking: bool, place: Place) -> Any:
    if not isinstance(handler, FunctionType):
        raise place.error(f"@{role} goes directly on a method, not on {handler!r}; put it below other decorators")
    before = handler.__dict__.get(_ROLE)
    if before is not None:
        raise place.error(f"{handler.__qualname__} is marked as @{before} and as @{role}; a method is one of them")
    if blocking and iscoroutinefunction(handler):
        raise place.error(f"{handler.__qualname__} is asynchronous, so it cannot be `blocking`: it runs on the loop")
    handler.__dict__[_ROLE] = role
    handler.__dict__[_BLOCKING] = blocking
    return handler
