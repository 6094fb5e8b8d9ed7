"""Stored events as they are stored: the event bus and its subscriptions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aether.ids import ActorId, Position, Version
from aether.ports.history import StoredCommit


@dataclass(frozen=True, slots=True)
class EventStored:
    """Notice that a commit was stored: after it the actor is at `version` and `position`."""

    actor_id: ActorId
    version: Version
    position: Position


class Subscription(Protocol):
    """Something that goes on until stopped."""

    async def stop(self) -> None:
        """End it. What was already delivered has been handed over when this returns. Idempotent."""
        ...


class EventBus(Protocol):
    """Every stored commit, on every node, in stream order; gaps are noticed and filled from the store."""

    async def subscribe(
        self, receive: Callable[[StoredCommit], None], *, kind: str | None = None, key: str | None = None
    ) -> Subscription:
        """Deliver commits stored from now on, of all actors, of one kind, or of one actor."""
        ...

    async def subscribe_to_event_stored(self, receive: Callable[[EventStored], None]) -> Subscription:
        """Deliver a notice for each commit stored from now on."""
        ...

    async def follow_shards(self, shards: Sequence[int], receive: Callable[[StoredCommit], None]) -> Subscription:
        """Deliver the commits of some shards as they are stored, cheaply: a lost one is not noticed here."""
        ...
