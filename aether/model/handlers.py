"""The decorators that say what a method of an actor is: `@command`, `@event`, `@query`.

They mark the function and give it back unchanged, so a handler stays an ordinary method. What a mark means is decided
when a model is built.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any, Literal, TypeAlias, TypeVar

from aether.model.declared import caller_frame, place_of_frame

Role: TypeAlias = Literal["command", "event", "query"]
"""What a method of an actor is."""

Handler = TypeVar("Handler", bound=Callable[..., Any])

_ROLE = "__aether_role__"


def command(handler: Handler) -> Handler:
    """A method that decides: it may emit events or raise `Rejected`. Raises `ModelError` on anything but a method."""
    return _marked(handler, "command")


def event(handler: Handler) -> Handler:
    """The method that applies events of its argument's type: the only place where state changes, and synchronous.

    Raises `ModelError` on anything but a method.
    """
    return _marked(handler, "event")


def query(handler: Handler) -> Handler:
    """A method that reads and emits nothing. Raises `ModelError` on anything but a method."""
    return _marked(handler, "query")


def role_of(member: Any) -> Role | None:
    """What a class's member was marked as."""
    return member.__dict__.get(_ROLE) if isinstance(member, FunctionType) else None


def _marked(handler: Handler, role: Role) -> Handler:
    place = place_of_frame(caller_frame(2))
    if not isinstance(handler, FunctionType):
        raise place.error(f"@{role} goes directly on a method, not on {handler!r}; put it below other decorators")
    before = handler.__dict__.get(_ROLE)
    if before is not None:
        raise place.error(f"{handler.__qualname__} is marked as @{before} and as @{role}; a method is one of them")
    handler.__dict__[_ROLE] = role
    return handler
