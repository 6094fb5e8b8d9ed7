"""Policies: event, state and what is told are typed."""

from dataclasses import dataclass
from typing import Any, assert_type

from aether import Actor, ActorId, Model, Policy, PolicyContext, command, event, policy, query
from aether.testing import Told, told


@dataclass(frozen=True)
class Paid:
    """An event."""

    cents: int


class Room(Actor):
    """Is told."""

    @command
    def confirm(self, booking: str, cents: int = 0) -> None:
        """Take it."""

    @query
    def read(self) -> int:
        """Nothing."""
        return 0


class Booking(Actor):
    """Emits."""

    room: str = ""

    @event
    def paid(self, e: Paid) -> None:
        """Apply."""


@policy(tells=(Room.confirm,))
def on_paid(event: Paid, context: PolicyContext[Booking]) -> None:
    """What it knows, and what it tells."""
    assert_type(context.state, Booking)
    assert_type(context.id, ActorId)
    context.tell(Room.confirm, context.state.room, context.id.key, cents=event.cents)
    context.tell(Room.confirm, context.state.room, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    context.tell(Room.confirm, context.state.room)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    context.tell(Room.read, "12")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]


@policy
def for_all(event: Paid, context: PolicyContext[Any]) -> None:
    """Without options."""
    assert_type(context.state, Any)


assert_type(on_paid, Policy[Paid, Booking])
assert_type(for_all, Policy[Paid, Any])
model = Model("hotel", actors=[Booking, Room], policies=[on_paid, for_all])
assert_type(told(Room.confirm, "12", "b-1"), Told)
told(Room.confirm, "12", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@policy  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def asynchronous(event: Paid, context: PolicyContext[Booking]) -> None:
    """A policy is a plain function."""
