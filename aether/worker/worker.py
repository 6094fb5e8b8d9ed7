"""One worker process: wires connection, storage and runtime, serves its slot's shards, and drains when it is asked to.

It runs after the supervisor's fork, in a process of its own with one event loop, and returns an exit code. SIGTERM
drains; the end of the parent pipe ends the process at once, because its supervisor is gone. It joins the namespace's
cluster, which brings it shards and takes them away; it is ready when it holds its share.
"""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import uvloop

from aether.aio import first_of
from aether.background import Background
from aether.cluster.cluster import Cluster
from aether.config import (
    EXIT_CANNOT_BOOT,
    EXIT_CONFIGURATION,
    EXIT_DRAINED,
    EXIT_NOT_DRAINED,
    EXIT_SYNC_FAILED,
)
from aether.core.cluster.deployment import versions_apart
from aether.core.cluster.membership import MemberRow
from aether.core.cluster.status import DRAINING, SERVING, UNREADY
from aether.core.health import Health, Need
from aether.errors import AetherError, ConfigError, ModelError, Unavailable
from aether.model.model import Model
from aether.runtime.health_log import log_health
from aether.runtime.runtime import Runtime
from aether.system.environment import environment, join_pool
from aether.system.handler_note import WorkerNote
from aether.system.lifeline import Lifeline
from aether.system.main_loop import run_to_end
from aether.table_keys import SYNCED_BY_SERVER, SYNCED_BY_WORKERS, member_name
from aether.tracing.export import exported_traces
from aether.wire import STORED_FORMAT
from aether.worker.mending import mending
from aether.worker.node import Connect, Node, connected_node
from aether.worker.reports import Reports
from aether.worker.settings import WorkerSettings
from aether.worker.signals import WorkerSignals
from aether.worker.watch import noted_in, watched
from aether.worker.who_syncs import say_who_syncs
from aether.worker_barrier import durability
from aether.worker_log import configure_logging
from aether.worker_protocol import WorkerSpec

BALANCE_TIMEOUT_S = 5.0
"""A worker of whose share another one, which may be dead, holds a part says that it is ready all the same."""

LOOK_AGAIN_S = 0.1
LEAVE_SOON_S = 2.0
"""How long a worker that fails while it starts may take to leave."""

log = logging.getLogger("aether.worker")


def run_worker(model: Model, spec: WorkerSpec, settings: WorkerSettings) -> int:
    """Serve until SIGTERM, then drain.

    Returns 0 drained, 1 not drained, 3 cannot boot, 4 configuration, 5 the disk has failed a sync.
    """
    configure_logging(f"{spec.node}-{spec.slot}", settings.log)
    join_pool(settings.connection.url, settings.namespace, model.name)
    worker = Worker(model, spec, settings)
    code = _exit_code(worker, exported_traces(environment(), model.name, f"{spec.node}-{spec.slot}"))
    if worker.disk_failed:  # however it has come to its end
        log.error("the worker ends: %s", worker.disk_failed)
        return EXIT_SYNC_FAILED
    return code


def _exit_code(worker: "Worker", around: AbstractContextManager[None]) -> int:
    """Run it; what its process ends with when the disk has not failed."""
    try:
        with around:
            run_to_end(uvloop.new_event_loop, worker.run())
    except (ConfigError, ModelError) as error:
        log.error("the configuration cannot work: %s", error)
        return EXIT_CONFIGURATION
    except AetherError as error:
        log.error("the worker %s: %s", "ends" if worker.served else "cannot serve", error)
        return EXIT_NOT_DRAINED if worker.served else EXIT_CANNOT_BOOT
    return EXIT_DRAINED if worker.drained else EXIT_NOT_DRAINED


class Worker:
    """One worker's life: it connects, joins, serves and leaves. `connect` gives it its adapters."""

    def __init__(
        self, model: Model, spec: WorkerSpec, settings: WorkerSettings, connect: Connect = connected_node
    ) -> None:
        self._model = model
        self._spec = spec
        self._settings = settings
        self._connect = connect
        self._lifeline = Lifeline(spec)
        self._stopping = asyncio.Event()
        self._outdated = False
        self._say_again: Callable[[], None] = lambda: None
        self.served = False
        self.disk_failed = ""
        self._drained = True

    @property
    def drained(self) -> bool:
        """Whether what it held was handed over, once it has ended."""
        return self._drained

    def stop(self) -> None:
        """Have it leave, in whatever phase it is. Idempotent."""
        self._stopping.set()

    def outdate(self) -> None:
        """Say that fresh code was loaded and this worker is about to be replaced. Idempotent."""
        self._outdated = True
        self._say_again()

    def _disk_failed(self, why: str) -> None:
        """Nothing can be made durable any more, and what was stored last may be lost."""
        self.disk_failed = why
        self._settings.sync_failure.set()  # the supervisor believes no exit code alone: a handler may exit with any
        self._stopping.set()

    async def run(self) -> None:
        """Serve until SIGTERM; one that comes before anything was served ends the start."""
        signals, keeping = WorkerSignals({signal.SIGTERM: self.stop, signal.SIGHUP: self.outdate}), Background()
        keeping.forever("aether worker signals", signals.keep)
        self._lifeline.open()
        serving = asyncio.create_task(self._connect_and_serve())
        try:
            await first_of(serving, self._stopping.wait())
            if not serving.done() and not self.served:
                serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
        finally:
            await keeping.stop()
            self._lifeline.close()

    async def _connect_and_serve(self) -> None:
        threads = self._settings.runtime.blocking_threads_max
        async with self._connect(self._settings, self._disk_failed, self._lifeline.alive) as node:
            with noted_in(self._spec.note_fd, threads) as note:
                await self._serve(node, note)

    async def _serve(self, node: Node, note: WorkerNote | None) -> None:
        health = Health(self._health_changed)
        cluster = self._cluster(node, health)
        runtime = self._runtime(node, cluster, health, note)
        cluster.set_vm_provider(runtime)
        reports = self._reports(runtime, cluster, health)
        cluster.about = reports.row
        self._say_again = cluster.say_again
        await self._until_leases_ended(node)
        node.on_connected(lambda: health.well(Need.ANSWERS))
        watching = watched(self._settings.runtime, runtime, note)
        async with runtime, cluster, mending(node, health, self._lifeline.stuck), watching:
            self._lifeline.joined()
            try:
                info = await reports.answer(node.transport)
                await self._until_serving(cluster, health)
                with suppress(Unavailable):  # of other workers' shards: theirs to refuse when it happens again
                    await runtime.tell_losses()
                await say_who_syncs(node.table, self._synced_by())
                self.served = True
                self._lifeline.ready()
                log.info("serving", extra={"shards": cluster.moves().held, "model": self._model.name})
                await self._until_stopped(cluster, runtime)
                log.info("draining", extra={"active": runtime.active_count})
                await info.stop()
            except asyncio.CancelledError:
                _carry_on()
                log.info("asked to stop while it joined")
            except AetherError:
                if not cluster.failed.done() and not self.disk_failed:
                    await self._leave_soon(cluster)
                raise
            await self._drain(cluster, runtime)
        if self._drained:
            log.info("drained", extra=runtime.counters.counted())
        else:
            log.error("not drained: what was held is left to expire", extra=runtime.counters.counted())

    async def _leave_soon(self, cluster: Cluster) -> None:
        """Take the row away before the error ends the process: no other worker may come to take its place."""
        with suppress(TimeoutError, AetherError):
            async with asyncio.timeout(LEAVE_SOON_S):
                await cluster.leave()

    async def _until_leases_ended(self, node: Node) -> None:
        """A lost table does not say who still answers: wait until no member that held a lease there can answer."""
        left_s = self._settings.cluster.ttl_s - node.table_age_s
        if left_s > 0:
            log.warning("the table was made anew: waiting for leases of the lost one to end", extra={"seconds": left_s})
            await asyncio.sleep(left_s)

    async def _until_serving(self, cluster: Cluster, health: Health) -> None:
        """Return when it serves: it has its share, or some of it while the rest is held up, and lacks nothing."""
        while True:
            balanced = await cluster.wait_balanced(BALANCE_TIMEOUT_S)
            if (balanced or cluster.moves().held) and not health.trouble:
                return
            self._lifeline.alive()  # what it waits for is not its own doing: it is not to be killed for it
            await asyncio.sleep(LOOK_AGAIN_S)

    def _health_changed(self, health: Health, need: Need, why: str) -> None:
        log_health(health, need, why)
        if self.served:
            (self._lifeline.unready if health.trouble else self._lifeline.ready)()

    def _state(self, health: Health) -> str:
        serves = self.served and not health.trouble
        return DRAINING if self._stopping.is_set() else SERVING if serves else UNREADY

    async def _until_stopped(self, cluster: Cluster, runtime: Runtime) -> None:
        await first_of(self._stopping.wait(), runtime.failed(), cluster.failed)
        if self.disk_failed:
            _abandon_all(runtime)
            raise Unavailable(self.disk_failed)
        if cluster.failed.done():
            _abandon_all(runtime)
            cluster.failed.result()
        if runtime.failure is not None:
            _abandon_all(runtime)
            raise runtime.failure

    async def _drain(self, cluster: Cluster, runtime: Runtime) -> None:
        """Hand over, then stop; what cannot be handed over in time is given up, and taken when our row expires."""
        gc.disable()  # the process ends: every full collection would take in all active actors, for seconds
        try:
            async with asyncio.timeout(self._settings.runtime.drain_timeout_s):
                await runtime.finish_tasks()
                self._drained = await cluster.leave()
        except TimeoutError:
            self._drained = False
            log.error("the shards were not handed over in time", extra={"held": cluster.moves().held})
            _abandon_all(runtime)
        await runtime.stop()

    def _synced_by(self) -> bytes:
        return SYNCED_BY_WORKERS if durability(self._settings.storage) else SYNCED_BY_SERVER

    def _cluster(self, node: Node, health: Health) -> Cluster:
        spec = self._spec
        me = MemberRow(node=spec.node, slot=spec.slot, incarnation=spec.incarnation, claim=spec.claim,
                       reads=STORED_FORMAT, durability=durability(self._settings.storage))  # fmt: skip
        siblings = [member_name(spec.node, slot) for slot in range(spec.slots)]
        return Cluster(node, me, self._settings.cluster, replaces=spec.replaces, siblings=siblings, health=health)

    def _runtime(self, node: Node, cluster: Cluster, health: Health, note: WorkerNote | None) -> Runtime:
        runtime = Runtime(
            node,
            node.event_store,
            self._settings.runtime,
            shards=(),
            lease=cluster,
            health=health,
            note=note,
            halts=cluster,
            losses=self._spec.losses,
            inbox=node.inbox,
            tasks=node.tasks,
            timers=node.timers,
            task_ttl_s=self._settings.cluster.ttl_s,
            deployment=lambda: versions_apart(cluster.name, self._model.fingerprint, self._outdated, cluster.members()),
        )
        runtime.load_model(self._model)
        return runtime

    def _reports(self, runtime: Runtime, cluster: Cluster, health: Health) -> Reports:
        return Reports(
            self._model,
            runtime,
            cluster,
            health,
            incarnation=self._spec.incarnation,
            state=lambda: self._state(health),
            outdated=lambda: self._outdated,
        )


def _carry_on() -> None:
    """Take back the cancellation of this task: what it has begun it ends in order."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


def _abandon_all(runtime: Runtime) -> None:
    """Drop what is open, so that nothing of it waits or answers any more."""
    for shard in range(runtime.connection.shards):
        runtime.abandon_shard(shard)
