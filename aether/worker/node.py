"""The adapters that a worker needs, and how it gets those over NATS JetStream."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

from aether.jetstream.adapters import connect_worker
from aether.ports import Connection, EventStore, Inbox, Subscription, Tasks, Timers, Transport
from aether.system.clock import SystemClock
from aether.worker.settings import WorkerSettings
from aether.worker_barrier import sync_barrier


class InformingTransport(Transport, Protocol):
    """A transport that also answers questions about the pool."""

    async def info(self, inform: Callable[[], bytes]) -> Subscription:
        """Answer them, until stopped. Raises `Unavailable`."""
        ...

    async def answer_waiting(self, inform: Callable[[], bytes]) -> Subscription:
        """Answer each question about the tells that wait at this worker. Raises `Unavailable`."""
        ...

    async def answer_metrics(self, inform: Callable[[], bytes]) -> Subscription:
        """Answer each question about what the workers have measured, each for itself. Raises `Unavailable`."""
        ...


class Node(Connection, Protocol):
    """The adapters of one worker."""

    @property
    def transport(self) -> InformingTransport: ...  # noqa: D102 - a field
    @property
    def event_store(self) -> EventStore: ...  # noqa: D102 - a field
    @property
    def inbox(self) -> Inbox: ...  # noqa: D102 - a field
    @property
    def tasks(self) -> Tasks: ...  # noqa: D102 - a field
    @property
    def timers(self) -> Timers: ...  # noqa: D102 - a field

    @property
    def table_age_s(self) -> float:
        """How old a table is that was made anew in place of one that was lost; infinity for every other one."""
        ...

    async def restore(self) -> list[str]:
        """Make what of the namespace was deleted, empty; what was. Raises `ConfigError`, `Unavailable`."""
        ...

    def on_connected(self, connected: Callable[[], None]) -> None:
        """Call this with each new connection to the server."""
        ...


Connect: TypeAlias = Callable[
    [WorkerSettings, Callable[[str], None], Callable[[], None]], AbstractAsyncContextManager[Node]
]
"""Gives a worker its adapters, for its settings; calls back when nothing can be made durable any more, and now and then
while it waits for what is not the worker's doing."""


@asynccontextmanager
async def connected_node(
    settings: WorkerSettings, failed: Callable[[str], None], waits: Callable[[], None]
) -> AsyncIterator[Node]:
    """The adapters of one worker over NATS JetStream: a `Connect`. Raises `ConfigError`, `Unavailable`."""
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(
            connect_worker(
                settings.connection,
                settings.namespace,
                settings.storage,
                SystemClock(),
                append_timeout_s=settings.runtime.append_timeout_s,
                active_vms_max=settings.runtime.active_vms_max,
            )
        )
        if settings.storage.sync == "barrier":
            store = Path(settings.storage.nats_store)
            await stack.enter_async_context(sync_barrier(node, store, settings.sync_failure, failed, waits))
        yield node
