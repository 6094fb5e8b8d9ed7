"""Events as a client sees them: typed, one actor's from the beginning, or those of all actors as they are stored.

Nothing here sends a command. A `History` reads when it is awaited or iterated; an `EventStream` holds what its reader
has not taken yet, a bounded number, and belongs to one reader.
"""

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

from aether.errors import AetherError, InvalidCommand, Overloaded
from aether.ids import ActorId, Position, Version
from aether.live_stream import Begin, LiveStream
from aether.model.definition import ActorType
from aether.model.model import Model
from aether.ports import StoredCommit
from aether.runtime.fold import read_event
from aether.wire import Event, decode_commit, is_system_event

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)

STREAM_EVENTS_MAX = 65_536
"""Events that an `EventStream` holds for its reader."""


@dataclass(frozen=True, slots=True)
class HistoryEvent(Generic[E_co]):
    """One stored event, typed. `position` is its commit's.

    Aether's own events are left out of typed histories and streams; versions count them, so they may leave gaps.
    """

    actor_id: ActorId
    version: Version
    position: Position
    type: str
    time: datetime
    event: E_co
    command_id: str
    correlation_id: str


def typed_event(event: Event, position: Position, actor_id: ActorId, actor_type: ActorType) -> HistoryEvent[Any]:
    """The event as the model knows it. Raises `UnreadableEvent` for one that it cannot read."""
    return HistoryEvent(
        actor_id=actor_id,
        version=event.version,
        position=position,
        type=event.type,
        time=event.time,
        event=read_event(event, position, actor_id, actor_type)[1],
        command_id=event.commandid,
        correlation_id=event.correlationid,
    )


class History(Awaitable[list[HistoryEvent[E]]]):
    """An actor's events, read when awaited or iterated. Raises `UnreadableEvent` for one the model cannot read."""

    def __init__(
        self, read: Callable[[], AsyncIterator[tuple[Event, Position]]], actor_id: ActorId, actor_type: ActorType
    ) -> None:
        self._read = read
        self._actor_id = actor_id
        self._actor_type = actor_type

    def __await__(self) -> Generator[Any, None, list[HistoryEvent[E]]]:
        return self._all().__await__()

    async def __aiter__(self) -> AsyncIterator[HistoryEvent[E]]:
        async for event, position in self._read():
            if not is_system_event(event):
                yield typed_event(event, position, self._actor_id, self._actor_type)

    async def _all(self) -> list[HistoryEvent[E]]:
        return [event async for event in self]


def wanted_events(model: Model, event_types: Iterable[Any]) -> frozenset[type[Any]]:
    """The classes as a set. Raises `InvalidCommand` for one that is no event of the model: none would ever come."""
    known = {event.type for actor_type in model.actor_types.values() for event in actor_type.events.values()}
    for one in event_types:
        if not isinstance(one, type) or one not in known:
            shown = getattr(one, "__name__", repr(one))
            raise InvalidCommand(f"no actor of the model {model.name} has the event {shown}", path="event_types")
    return frozenset(event_types)


class EventStream(LiveStream, Generic[E]):
    """Events of some classes as they are stored, from when it was entered; iterating enters it by itself.

    Iterating raises `UnreadableEvent` for an event that the model cannot read, `Overloaded` when events had to be
    left out because more than `STREAM_EVENTS_MAX` were waiting (`History` has them), and `ClientUnusable` when its
    client is closed, each once what had been received is read, and again from then on. `check` raises `ClientUnusable`.
    """

    def __init__(self, begin: Begin, check: Callable[[], None], model: Model, wanted: frozenset[type[Any]]) -> None:
        super().__init__(begin)
        self._check = check
        self._model = model
        self._wanted = wanted
        self._waiting: deque[HistoryEvent[E] | AetherError] = deque()

    async def __aenter__(self) -> Self:
        self._check()
        return await super().__aenter__()

    async def stop(self) -> None:
        """Receive no more; what has been received can still be read, and iterating ends then. Idempotent."""
        await self._stop()

    async def _begun(self) -> None:
        """What is stored from now on is all that it gives."""

    async def __anext__(self) -> HistoryEvent[E]:
        if not self._entered and not self._stopped and self._over is None:
            await self.__aenter__()
        while not self._waiting:
            await self._wait()
        item = self._waiting.popleft()
        if isinstance(item, AetherError):
            raise item
        return item

    def _receive(self, commit: StoredCommit) -> None:
        actor_type = self._model.actor_types.get(commit.actor_id.kind)
        if actor_type is None or self._over is not None:
            return
        try:
            for event in decode_commit(commit.payload, commit.actor_id, commit.position):
                if self._wants(event, actor_type):
                    self._put(typed_event(event, commit.position, commit.actor_id, actor_type))
        except AetherError as error:
            self._put(error)

    def _wants(self, event: Event, actor_type: ActorType) -> bool:
        if not self._wanted:
            return not is_system_event(event)
        event_type = actor_type.events.get(event.type)
        return event_type is not None and event_type.type in self._wanted

    def _put(self, item: HistoryEvent[E] | AetherError) -> None:
        if len(self._waiting) >= STREAM_EVENTS_MAX:
            self.end(Overloaded(f"the reader is {STREAM_EVENTS_MAX} events behind", limit="STREAM_EVENTS_MAX"))
        elif self._over is None:
            self._waiting.append(item)
            self._received.set()
