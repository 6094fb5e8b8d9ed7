"""Snapshots in a KV bucket, one key an actor, read from any replica and never believed more than the history.

Stateless: the bucket holds everything.
"""

from aether.errors import InvalidCommand
from aether.ids import ActorId
from aether.jetstream.api import direct_last, stream_purge
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.stream_writes import write
from aether.names import Names, encode_token, snapshot_key

HEADERS_BYTES = 1024
"""Room in a message for the headers that the server adds to what it stored."""


class JetStreamSnapshotStore:
    """`SnapshotStore` of one namespace."""

    def __init__(self, connection: NatsConnection, names: Names) -> None:
        self._connection = connection
        self._stream = f"KV_{names.snapshots}"
        self._prefix = f"$KV.{names.snapshots}."

    @property
    def snapshot_bytes_max(self) -> int:
        """Largest snapshot, in bytes."""
        return self._connection.payload_bytes_max - HEADERS_BYTES

    async def load(self, actor_id: ActorId) -> bytes | None:
        """The last saved snapshot, or an older one that a replica still has. Raises `Unavailable`."""
        found = await direct_last(self._connection, self._stream, self._subject(actor_id))
        return None if found is None or found.marker else found.payload

    async def save(self, actor_id: ActorId, value: bytes) -> None:
        """Replace the snapshot. Raises `InvalidCommand` for one that is too large, `Unavailable`, `NotStored`."""
        if len(value) > self.snapshot_bytes_max:
            text = f"a snapshot is at most {self.snapshot_bytes_max} bytes, this is {len(value)}"
            raise InvalidCommand(text, path="snapshot")
        await write(self._connection, self._subject(actor_id), value)

    async def delete(self, actor_id: ActorId) -> None:
        """Remove the snapshot, without a trace. Raises `Unavailable`."""
        await stream_purge(self._connection, self._stream, {"filter": self._subject(actor_id)})

    async def delete_kind(self, kind: str) -> int:
        """Remove the snapshots of all actors of a kind, without a trace; how many there were. Raises `Unavailable`."""
        body = {"filter": f"{self._prefix}{encode_token(kind)}.*"}
        return (await stream_purge(self._connection, self._stream, body)).purged

    def _subject(self, actor_id: ActorId) -> str:
        return self._prefix + snapshot_key(actor_id)
