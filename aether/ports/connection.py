"""The adapters over one connection, as one value."""

from typing import Protocol

from aether.ports.bus import EventBus
from aether.ports.history import SnapshotStore
from aether.ports.table import Table
from aether.ports.transport import Transport
from aether.ports.worker import Clock


class Connection(Protocol):
    """The adapters made over one connection to the outside: what a Runtime needs beside its event store."""

    @property
    def namespace(self) -> str: ...  # noqa: D102 - a field
    @property
    def server(self) -> str: ...  # noqa: D102 - a field
    @property
    def shards(self) -> int: ...  # noqa: D102 - a field
    @property
    def transport(self) -> Transport: ...  # noqa: D102 - a field
    @property
    def snapshots(self) -> SnapshotStore: ...  # noqa: D102 - a field
    @property
    def bus(self) -> EventBus: ...  # noqa: D102 - a field
    @property
    def table(self) -> Table: ...  # noqa: D102 - a field
    @property
    def clock(self) -> Clock: ...  # noqa: D102 - a field
