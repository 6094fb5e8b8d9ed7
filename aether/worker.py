"""One worker process: wires connection, storage and runtime, serves its slot's shards, and drains when told.

It runs after the supervisor's fork, in a process of its own with one event loop, and returns an exit code. SIGTERM
drains; the end of the parent pipe ends the process at once, because its supervisor is gone. It joins the namespace's
cluster, which brings it shards and takes them away; it is ready when it holds its share.
"""

import asyncio
import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import uvloop

from aether.cluster.cluster import Cluster
from aether.config import (
    EXIT_CANNOT_BOOT,
    EXIT_CONFIGURATION,
    EXIT_DRAINED,
    EXIT_NOT_DRAINED,
    ClusterConfig,
    ConnectionConfig,
    RuntimeConfig,
    StorageConfig,
    WorkerSpec,
)
from aether.core.membership import MemberRow
from aether.errors import AetherError, ConfigError, ModelError
from aether.jetstream.bundle import connect_worker
from aether.model.model import Model
from aether.names import member_name
from aether.ports import Connection, EventStore, Subscription, Transport
from aether.runtime.runtime import Runtime
from aether.system.clock import SystemClock
from aether.system.environment import boot_id, host_name, join_pool
from aether.system.lifeline import Lifeline
from aether.system.main_loop import run_to_end
from aether.wire import STORED_FORMAT
from aether.worker_log import configure_logging

SETTLE_TIMEOUT_S = 5.0
"""A worker whose share is held up by another, which may be dead, says that it is ready all the same."""

LEAVE_SOON_S = 2.0
"""How long a worker that fails while it starts may take to leave."""

log = logging.getLogger("aether.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What all workers of a pool share."""

    namespace: str
    connection: ConnectionConfig = field(default_factory=ConnectionConfig)
    storage: StorageConfig = field(default_factory=StorageConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    log_level: str = "INFO"


def run_worker(model: Model, spec: WorkerSpec, settings: WorkerSettings) -> int:
    """Serve until SIGTERM, then drain. Returns 0 drained, 1 not drained, 3 cannot boot, 4 configuration."""
    configure_logging(f"{spec.node}-{spec.slot}[{os.getpid()}]", settings.log_level)
    join_pool(settings.connection.url, settings.namespace, model.name)
    worker = Worker(model, spec, settings)
    try:
        run_to_end(uvloop.new_event_loop, worker.run())
    except (ConfigError, ModelError) as error:
        log.error("the configuration cannot work: %s", error)
        return EXIT_CONFIGURATION
    except AetherError as error:
        log.error("the worker cannot %s: %s", "drain" if worker.served else "serve", error)
        return EXIT_NOT_DRAINED if worker.served else EXIT_CANNOT_BOOT
    return EXIT_DRAINED


class InformingTransport(Transport, Protocol):
    """A transport that also answers questions about the pool."""

    async def info(self, inform: Callable[[], bytes]) -> Subscription:
        """Answer them, until stopped. Raises `Unavailable`."""
        ...


class Node(Connection, Protocol):
    """The adapters of one worker."""

    @property
    def transport(self) -> InformingTransport: ...  # noqa: D102 - a field
    @property
    def event_store(self) -> EventStore: ...  # noqa: D102 - a field


Connect: TypeAlias = Callable[[WorkerSettings], AbstractAsyncContextManager[Node]]


def _connect(settings: WorkerSettings) -> AbstractAsyncContextManager[Node]:
    return connect_worker(
        settings.connection,
        settings.namespace,
        settings.storage,
        SystemClock(),
        append_timeout_s=settings.runtime.append_timeout_s,
        active_vms_max=settings.runtime.active_vms_max,
    )


class Worker:
    """One worker's life: it connects, joins, serves and leaves. `connect` gives it its adapters."""

    def __init__(self, model: Model, spec: WorkerSpec, settings: WorkerSettings, connect: Connect = _connect) -> None:
        self._model = model
        self._spec = spec
        self._settings = settings
        self._connect = connect
        self._lifeline = Lifeline(spec)
        self._stopping = asyncio.Event()
        self.served = False

    def stop(self) -> None:
        """Have it leave, in whatever phase it is. Idempotent."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until SIGTERM; one that comes before anything was served ends the start."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)
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
        async with self._connect(self._settings) as node:
            await self._serve(node)

    async def _serve(self, node: Node) -> None:
        cluster = self._cluster(node)
        runtime = Runtime(node, node.event_store, self._settings.runtime, shards=(), lease=cluster)
        runtime.load_model(self._model)
        cluster.set_vm_provider(runtime)
        cluster.about = _About(self._model, runtime)
        schema = self._model.schema_json()
        async with runtime, cluster:
            try:
                info = await node.transport.info(lambda: schema)
                await cluster.settled(SETTLE_TIMEOUT_S)
                self._lifeline.ready()
                self.served = True
                log.info("serving", extra={"shards": cluster.moves().held, "model": self._model.name})
                await self._until_stopped(cluster, runtime)
                log.info("draining", extra={"active": runtime.active_count})
                await info.stop()
            except asyncio.CancelledError:
                _carry_on()
                log.info("asked to stop while it joined")
            except AetherError:
                if not cluster.failed.done():
                    await self._leave_soon(cluster)
                raise
            await self._drain(cluster, runtime)
        log.info("drained", extra=runtime.counters.as_dict())

    async def _leave_soon(self, cluster: Cluster) -> None:
        """Take the row away before the error ends the process: nobody may come to take its place."""
        with suppress(TimeoutError, AetherError):
            async with asyncio.timeout(LEAVE_SOON_S):
                await cluster.leave()

    async def _until_stopped(self, cluster: Cluster, runtime: Runtime) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((stopping, cluster.failed), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if cluster.failed.done():
            _abandon_all(runtime)
            cluster.failed.result()

    async def _drain(self, cluster: Cluster, runtime: Runtime) -> None:
        """Hand over, then stop; what cannot be handed over in time is given up, and taken when our row expires."""
        gc.disable()  # the process ends: every full collection would take in all active actors, for seconds
        try:
            async with asyncio.timeout(self._settings.runtime.drain_timeout_s):
                await cluster.leave()
        except TimeoutError:
            log.error("the shards were not handed over in time", extra={"held": cluster.moves().held})
            _abandon_all(runtime)
        await runtime.stop()

    def _cluster(self, node: Node) -> Cluster:
        spec = self._spec
        me = MemberRow(node=spec.node, slot=spec.slot, incarnation=spec.incarnation, claim=spec.claim,
                       reads=STORED_FORMAT)  # fmt: skip
        siblings = [member_name(spec.node, slot) for slot in range(spec.slots)]
        return Cluster(node, me, self._settings.cluster, replaces=spec.replaces, siblings=siblings)


def _carry_on() -> None:
    """Take back the cancellation of this task: what it has begun it ends in order."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


def _abandon_all(runtime: Runtime) -> None:
    """Drop what is open, so that nothing of it waits or answers any more."""
    for shard in range(runtime.connection.shards):
        runtime.abandon_shard(shard)


class _About:
    """What a worker's row says for people."""

    def __init__(self, model: Model, runtime: Runtime) -> None:
        self._runtime = runtime
        self._always = {
            "host": host_name(),
            "boot_id": boot_id(),
            "pid": os.getpid(),
            "address": f"{host_name()}:{os.getpid()}",
            "model": model.name,
            "model_version": model.fingerprint,
            "started_at": time.time(),
        }

    def __call__(self) -> dict[str, Any]:
        return {
            **self._always,
            "active": self._runtime.active_count,
            "counters": self._runtime.counters.as_dict(),
        }
