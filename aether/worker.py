"""One worker process: wires connection, storage and runtime, serves its slot's shards, and drains when told.

It runs after the supervisor's fork, in a process of its own with one event loop, and returns an exit code. SIGTERM
drains; the end of the parent pipe ends the process at once, because its supervisor is gone. Shards are split over the
slots of one supervisor by rendezvous hashing.
"""

import asyncio
import logging
import os
import signal
import time
from dataclasses import dataclass, field

import orjson
import uvloop

from aether.config import (
    EXIT_CANNOT_BOOT,
    EXIT_CONFIGURATION,
    EXIT_DRAINED,
    WORKER_ALIVE,
    WORKER_ALIVE_EVERY_S,
    WORKER_READY,
    ConnectionConfig,
    RuntimeConfig,
    StorageConfig,
    WorkerSpec,
)
from aether.core.ring import shards_of, slot_members
from aether.errors import AetherError, ConfigError, ModelError
from aether.jetstream.bundle import JetStreamConnection, connect_worker
from aether.model.model import Model
from aether.names import member_key
from aether.ports import Table
from aether.runtime.runtime import Runtime
from aether.system.clock import SystemClock
from aether.system.environment import boot_id, host_name
from aether.worker_log import configure_logging

log = logging.getLogger("aether.worker")

RENEWALS_A_TTL = 7
"""A member's row is renewed this often within its time to live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What all workers of a pool share."""

    namespace: str
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    log_level: str = "INFO"


def run_worker(model: Model, spec: WorkerSpec, settings: WorkerSettings) -> int:
    """Serve until SIGTERM, then drain. Returns 0 drained, 3 cannot boot, 4 configuration."""
    configure_logging(f"{spec.node}-{spec.slot}[{os.getpid()}]", settings.log_level)
    try:
        uvloop.run(_Worker(model, spec, settings).run())
    except (ConfigError, ModelError) as error:
        log.error("the worker's configuration is wrong: %s", error)
        return EXIT_CONFIGURATION
    except AetherError as error:
        log.error("the worker cannot serve: %s", error)
        return EXIT_CANNOT_BOOT
    return EXIT_DRAINED


class _Worker:
    def __init__(self, model: Model, spec: WorkerSpec, settings: WorkerSettings) -> None:
        self._model = model
        self._spec = spec
        self._settings = settings
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        loop.add_reader(self._spec.parent_fd, self._orphaned)
        settings = self._settings
        async with connect_worker(
            settings.connection,
            settings.namespace,
            settings.storage,
            SystemClock(),
            append_timeout_s=settings.runtime.append_timeout_s,
        ) as node:
            await self._serve(node)

    async def _serve(self, node: JetStreamConnection) -> None:
        spec, model = self._spec, self._model
        members = slot_members(spec.slots)
        shards = shards_of(members[spec.slot], members, node.shards)
        runtime = Runtime(node, node.event_store, self._settings.runtime, shards=shards)
        runtime.load_model(model)
        schema = orjson.dumps(model.schema())
        async with runtime:
            info = await node.transport.info(lambda: schema)
            presence = asyncio.create_task(self._presence(node.table, runtime, len(shards)))
            alive = asyncio.create_task(self._alive())
            os.write(spec.status_fd, WORKER_READY)
            log.info("serving", extra={"shards": len(shards), "model": model.name})
            await self._stopping.wait()
            log.info("draining", extra={"active": len(runtime.get_active_vms())})
            await info.stop()
            presence.cancel()
            await runtime.stop()
            alive.cancel()
        log.info("drained", extra=runtime.counters.as_dict())

    async def _alive(self) -> None:
        while True:
            await asyncio.sleep(WORKER_ALIVE_EVERY_S)
            os.write(self._spec.status_fd, WORKER_ALIVE)

    async def _presence(self, table: Table, runtime: Runtime, shards: int) -> None:
        """Keep this worker's row in the table, for people to look at: nothing is decided from it."""
        key = member_key(self._spec.node, self._spec.slot)
        started_s, ttl_s = time.time(), self._settings.storage.member_ttl_s
        revision: int | None = None
        try:
            while True:
                row = self._row(runtime, shards, started_s)
                try:
                    revision = await self._renew(table, key, row, revision, ttl_s)
                except AetherError as error:
                    log.info("the member's row was not renewed", extra={"error": str(error)})
                await asyncio.sleep(ttl_s / RENEWALS_A_TTL)
        finally:
            if revision is not None:
                await table.delete(key, revision)

    async def _renew(self, table: Table, key: str, row: bytes, revision: int | None, ttl_s: float) -> int | None:
        if revision is not None:
            renewed = await table.update(key, row, revision, ttl_s)
            if renewed is not None:
                return renewed
        created = await table.create(key, row, ttl_s)
        if created is not None:
            return created
        predecessor = await table.get(key)
        return None if predecessor is None else await table.update(key, row, predecessor.revision, ttl_s)

    def _row(self, runtime: Runtime, shards: int, started_s: float) -> bytes:
        spec = self._spec
        return orjson.dumps(
            {
                "node": spec.node,
                "slot": spec.slot,
                "incarnation": spec.incarnation,
                "host": host_name(),
                "boot_id": boot_id(),
                "pid": os.getpid(),
                "state": "draining" if self._stopping.is_set() else "serving",
                "shards": shards,
                "active": len(runtime.get_active_vms()),
                "model": self._model.name,
                "model_version": self._model.fingerprint,
                "started_at": started_s,
                "counters": runtime.counters.as_dict(),
            }
        )

    def _orphaned(self) -> None:
        if not os.read(self._spec.parent_fd, 1):
            log.error("the supervisor is gone")
            os._exit(EXIT_CANNOT_BOOT)
