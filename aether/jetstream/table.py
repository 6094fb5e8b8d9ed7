"""The table of members and leases: a KV bucket where every write is a compare-and-set.

A write whose outcome is not known raises `Unavailable`: the watch shows what came of it. One that the server refuses
for a reason of its own raises `NotStored`. A time to live counts whole seconds on the server, so it is rounded up.
Stateless but for its watches, which live in `watch`.
"""

from collections.abc import Callable
from math import ceil

from aether.errors import Unavailable
from aether.jetstream.api import StoredMessage, direct_batch, leader_last
from aether.jetstream.connection.headers import (
    EXPECTED_LAST_ON_SUBJECT,
    KV_DELETE,
    KV_OPERATION,
    MESSAGE_TTL,
)
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.stream_configs import MARKER_TTL_S
from aether.jetstream.stream_writes import write
from aether.jetstream.watch import Watch, WatchConfig
from aether.names import Names
from aether.ports import Row, Subscription

CREATE_ATTEMPTS_MAX = 8
"""How often a create over the sign of a row that is gone is tried while others do the same."""


class JetStreamTable:
    """`Table` of one namespace."""

    def __init__(
        self, connection: NatsConnection, names: Names, config: WatchConfig | None = None, replicas: int = 1
    ) -> None:
        self._connection = connection
        self._replicas = replicas
        self._config = config or WatchConfig()
        self._stream = f"KV_{names.table}"
        self._prefix = f"$KV.{names.table}."

    async def create(self, key: str, value: bytes, ttl_s: float | None = None) -> int | None:
        """The new row's revision, or None when the key already has a row. Raises `Unavailable` when unknown."""
        expected = 0
        for _ in range(CREATE_ATTEMPTS_MAX):
            revision = await self._write(key, value, expected, _ttl(ttl_s))
            if revision is not None:
                return revision
            last = await leader_last(self._connection, self._stream, self._prefix + key)
            if last is not None and not last.marker:
                return None
            expected = 0 if last is None else last.sequence
        raise Unavailable(f"the row {key} changes faster than it can be created")

    async def update(self, key: str, value: bytes, revision: int, ttl_s: float | None = None) -> int | None:
        """The row's next revision, or None when it is no longer at `revision`. Raises `Unavailable` when unknown."""
        return await self._write(key, value, revision, _ttl(ttl_s))

    async def delete(self, key: str, revision: int) -> bool:
        """Whether the row was still at `revision` and is now gone. Raises `Unavailable` when unknown."""
        headers = {KV_OPERATION: KV_DELETE, **_ttl(MARKER_TTL_S)}
        return await self._write(key, b"", revision, headers) is not None

    async def get(self, key: str) -> Row | None:
        """The live row, by the leader. Raises `Unavailable`."""
        last = await leader_last(self._connection, self._stream, self._prefix + key)
        return None if last is None or last.marker else self._row(last)

    async def rows(self, prefix: str = "") -> list[Row]:
        """All live rows whose key starts with `prefix`, by key, as some replica knows them. Raises `Unavailable`."""
        rows: dict[str, Row] = {}
        sequence, more = 1, True
        while more:
            found, more, _ = await direct_batch(self._connection, self._stream, f"{self._prefix}>", sequence)
            for message in found:
                sequence = message.sequence + 1
                row = self._row(message)
                rows[row.key] = row
            more = more and bool(found)
        return sorted(row for row in rows.values() if row.value is not None and row.key.startswith(prefix))

    async def watch(self, receive: Callable[[Row], None], completed: Callable[[], None] = lambda: None) -> Subscription:
        """First every live row, then every change, in revision order. Raises `Unavailable` when it cannot begin."""
        watch = Watch(self._connection, self._stream, self._prefix, receive, completed, self._config, self._replicas)
        await watch.start()
        return watch

    async def _write(self, key: str, value: bytes, expected: int, headers: dict[str, str]) -> int | None:
        subject = self._prefix + key
        return await write(self._connection, subject, value, {EXPECTED_LAST_ON_SUBJECT: str(expected), **headers})

    def _row(self, message: StoredMessage) -> Row:
        value = None if message.marker else message.payload
        return Row(message.subject.removeprefix(self._prefix), value, message.sequence)


def _ttl(ttl_s: float | None) -> dict[str, str]:
    return {} if ttl_s is None else {MESSAGE_TTL: f"{max(1, ceil(ttl_s))}s"}
