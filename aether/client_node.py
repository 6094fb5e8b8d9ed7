"""The adapters of one namespace as a client needs them: the ports, and what only clients ask of them."""

from collections.abc import AsyncIterator, Callable
from typing import Protocol

from aether.ids import ActorId, Position
from aether.jetstream.stream_settings import SettingDifference
from aether.ports import (
    Clock,
    EventBus,
    Inbox,
    Listing,
    SnapshotStore,
    StoredCommit,
    StreamReading,
    Table,
    Tasks,
    Timers,
    Transport,
)


class ClientTransport(Transport, Protocol):
    """A transport as a client needs it."""

    async def ask_info(self) -> bytes:
        """What some worker of the pool says of it. Raises `NotSent` when there is none, `Unavailable`."""
        ...

    async def ask_metrics(self, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        """Ask all workers what they have measured: `enough` gets each answer, until it is or the time is up.

        Returns at once when there is no connection or no worker. Never raises.
        """
        ...

    async def ask_waiting(self, enough: Callable[[bytes], bool], timeout_s: float) -> None:
        """Ask all workers which tells wait at them, as `ask_metrics` does. Never raises."""
        ...

    def hang_up(self) -> None:
        """End the requests in flight with `Unavailable`, and the waits for owners: nothing more will be asked."""
        ...


class ClientStore(Listing, StreamReading, Protocol):
    """Histories as a client reads them."""

    def read_batches(self, actor_id: ActorId, after: Position) -> AsyncIterator[list[StoredCommit]]:
        """An actor's commits after a position, some at a time, complete up to the last one now."""
        ...


class ClientNode(Protocol):
    """The adapters of one namespace that a client needs. `server` is its name for people."""

    @property
    def namespace(self) -> str: ...  # noqa: D102 - a field
    @property
    def shards(self) -> int: ...  # noqa: D102 - a field
    @property
    def clock(self) -> Clock: ...  # noqa: D102 - a field
    @property
    def server(self) -> str: ...  # noqa: D102 - a field
    @property
    def transport(self) -> ClientTransport: ...  # noqa: D102 - a field
    @property
    def event_store(self) -> ClientStore: ...  # noqa: D102 - a field
    @property
    def snapshots(self) -> SnapshotStore: ...  # noqa: D102 - a field
    @property
    def bus(self) -> EventBus: ...  # noqa: D102 - a field
    @property
    def table(self) -> Table: ...  # noqa: D102 - a field
    @property
    def inbox(self) -> Inbox: ...  # noqa: D102 - a field
    @property
    def tasks(self) -> Tasks: ...  # noqa: D102 - a field
    @property
    def timers(self) -> Timers: ...  # noqa: D102 - a field

    @property
    def trouble(self) -> str:
        """Why there is no connection to the server now; "" when there is one."""
        ...

    async def repair(self, *, change: bool) -> list[SettingDifference]:
        """What of the namespace's streams and buckets is not as needed, changed where it can be."""
        ...
