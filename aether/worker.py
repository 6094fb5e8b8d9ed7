"""One worker process: wires connection, storage and runtime, serves its slot's shards, and drains when told.

It runs after the supervisor's fork, in a process of its own with one event loop, and returns an exit code. SIGTERM
drains; the end of the parent pipe ends the process at once, because its supervisor is gone. Shards are split over the
slots of one supervisor by rendezvous hashing, so a namespace has one supervisor.
"""

import asyncio
import logging
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, field

import uvloop

from aether.config import (
    EXIT_CANNOT_BOOT,
    EXIT_CONFIGURATION,
    EXIT_DRAINED,
    EXIT_NOT_DRAINED,
    ConnectionConfig,
    RuntimeConfig,
    StorageConfig,
    WorkerSpec,
)
from aether.core.ring import shards_of, slot_members
from aether.errors import AetherError, ConfigError, ModelError
from aether.jetstream.bundle import JetStreamConnection, connect_worker
from aether.model.model import Model
from aether.runtime.runtime import Runtime
from aether.system.clock import SystemClock
from aether.system.lifeline import Lifeline
from aether.worker_log import configure_logging
from aether.worker_row import Presence

log = logging.getLogger("aether.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What all workers of a pool share."""

    namespace: str
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    log_level: str = "INFO"


def run_worker(model: Model, spec: WorkerSpec, settings: WorkerSettings) -> int:
    """Serve until SIGTERM, then drain. Returns 0 drained, 1 not drained, 3 cannot boot, 4 configuration."""
    configure_logging(f"{spec.node}-{spec.slot}[{os.getpid()}]", settings.log_level)
    worker = _Worker(model, spec, settings)
    try:
        uvloop.run(worker.run())
    except (ConfigError, ModelError) as error:
        log.error("the configuration cannot work: %s", error)
        return EXIT_CONFIGURATION
    except AetherError as error:
        log.error("the worker cannot %s: %s", "drain" if worker.served else "serve", error)
        return EXIT_NOT_DRAINED if worker.served else EXIT_CANNOT_BOOT
    return EXIT_DRAINED


class _Worker:
    def __init__(self, model: Model, spec: WorkerSpec, settings: WorkerSettings) -> None:
        self._model = model
        self._spec = spec
        self._settings = settings
        self._lifeline = Lifeline(spec)
        self._stopping = asyncio.Event()
        self.served = False

    async def run(self) -> None:
        """Serve until SIGTERM; one that comes before anything was served ends the start."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._stopping.set)
        self._lifeline.open()
        serving = asyncio.create_task(self._connect_and_serve())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not serving.done() and not self.served:
                serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
        finally:
            stopping.cancel()
            self._lifeline.close()

    async def _connect_and_serve(self) -> None:
        settings = self._settings
        async with connect_worker(
            settings.connection,
            settings.namespace,
            settings.storage,
            SystemClock(),
            append_timeout_s=settings.runtime.append_timeout_s,
        ) as node:
            presence = Presence(node.table, self._spec, self._model, settings.storage.member_ttl_s)
            await presence.refuse_other_nodes()
            await self._serve(node, presence)

    async def _serve(self, node: JetStreamConnection, presence: Presence) -> None:
        members = slot_members(self._spec.slots)
        shards = shards_of(members[self._spec.slot], members, node.shards)
        runtime = Runtime(node, node.event_store, self._settings.runtime, shards=shards)
        runtime.load_model(self._model)
        schema = self._model.schema_json()
        async with runtime, presence.kept(runtime, len(shards)):
            info = await node.transport.info(lambda: schema)
            self._lifeline.ready()
            self.served = True
            log.info("serving", extra={"shards": len(shards), "model": self._model.name})
            await self._stopping.wait()
            presence.draining = True
            log.info("draining", extra={"active": len(runtime.get_active_vms())})
            await info.stop()
            await runtime.stop()
        log.info("drained", extra=runtime.counters.as_dict())
