"""A worker's row in the table: who is there, for people to look at, and one refusal.

The row says which worker serves; `aether ps` prints it. Shards are split statically, so the only decision taken from
rows is to refuse a second supervisor: two would answer for the same shards. One task keeps the row; losing it is logged
and changes nothing else.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import orjson

from aether.config import WorkerSpec
from aether.errors import AetherError, ConfigError
from aether.model.model import Model
from aether.names import MEMBER_PREFIX, member_key
from aether.ports import Row, Table
from aether.runtime.runtime import Runtime
from aether.system.environment import boot_id, host_name

log = logging.getLogger("aether.worker")

RENEWALS_A_TTL = 7
"""A row is renewed this often within its time to live."""

LOOK_AGAIN_S = 0.25


class Presence:
    """One worker's row. `ttl_s` is how long it outlives a worker that is killed."""

    def __init__(self, table: Table, spec: WorkerSpec, model: Model, ttl_s: float) -> None:
        self.draining = False
        self._table = table
        self._spec = spec
        self._model = model
        self._ttl_s = ttl_s
        self._key = member_key(spec.node, spec.slot)
        self._started_s = time.time()
        self._revision: int | None = None

    async def refuse_other_nodes(self) -> None:
        """Raise `ConfigError` when another supervisor's workers are there, and stay for longer than dead ones would."""
        give_up_s = time.monotonic() + self._ttl_s + 1.0
        while others := {row["node"] for row in await self._rows()} - {self._spec.node}:
            if time.monotonic() > give_up_s:
                raise ConfigError(
                    f"the supervisor {min(others)!r} serves this namespace already; this version runs one "
                    "supervisor for a namespace: stop that one, or give this one another --namespace",
                    setting="namespace",
                )
            await asyncio.sleep(LOOK_AGAIN_S)

    @asynccontextmanager
    async def kept(self, runtime: Runtime, shards: int) -> AsyncIterator[None]:
        """Keep the row as long as the context lasts, then remove it."""
        keeping = asyncio.create_task(self._keep(runtime, shards))
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait((keeping,))
            with suppress(AetherError):  # it expires by itself
                await self._remove()

    async def _keep(self, runtime: Runtime, shards: int) -> None:
        while True:
            try:
                self._revision = await self._renewed(self._row(runtime, shards))
            except AetherError as error:
                log.info("the worker's row was not renewed", extra={"error": str(error)})
            await asyncio.sleep(self._ttl_s / RENEWALS_A_TTL)

    async def _remove(self) -> None:
        removed = False
        while not removed:  # a renewal that was under way may have overtaken the look
            row = await self._table.get(self._key)
            if row is None or not row.value or orjson.loads(row.value)["incarnation"] != self._spec.incarnation:
                return
            removed = await self._table.delete(self._key, row.revision)

    async def _renewed(self, row: bytes) -> int | None:
        if self._revision is not None:
            renewed = await self._table.update(self._key, row, self._revision, self._ttl_s)
            if renewed is not None:
                return renewed
        created = await self._table.create(self._key, row, self._ttl_s)
        if created is not None:
            return created
        predecessor: Row | None = await self._table.get(self._key)
        if predecessor is None:
            return None
        return await self._table.update(self._key, row, predecessor.revision, self._ttl_s)

    async def _rows(self) -> list[dict[str, Any]]:
        return [orjson.loads(row.value) for row in await self._table.rows(MEMBER_PREFIX) if row.value]

    def _row(self, runtime: Runtime, shards: int) -> bytes:
        spec = self._spec
        return orjson.dumps(
            {
                "node": spec.node,
                "slot": spec.slot,
                "incarnation": spec.incarnation,
                "replaces": spec.replaces,
                "host": host_name(),
                "boot_id": boot_id(),
                "pid": os.getpid(),
                "state": "draining" if self.draining else "serving",
                "shards": shards,
                "active": len(runtime.get_active_vms()),
                "model": self._model.name,
                "model_version": self._model.fingerprint,
                "started_at": self._started_s,
                "counters": runtime.counters.as_dict(),
            }
        )
