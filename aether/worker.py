"""One worker process: wires connection, storage and runtime, serves its slot's shards, and drains when it is asked to.

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
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

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
    ClusterConfig,
    ConnectionConfig,
    LogConfig,
    RuntimeConfig,
    StorageConfig,
)
from aether.core.cluster.deployment import MODEL_VERSION, OUTDATED, versions_apart
from aether.core.cluster.membership import MemberRow
from aether.core.cluster.status import ANSWERS, DRAINING, SERVING, UNREADY, Status, encode_status
from aether.core.health import Health, Need
from aether.core.metrics.worker_metrics import WorkerMetrics, encode_metrics
from aether.errors import AetherError, ConfigError, ModelError, Unavailable
from aether.jetstream.adapters import connect_worker
from aether.log_lines import words
from aether.model.model import Model
from aether.names import member_name
from aether.ports import Connection, EventStore, Inbox, Subscription, Tasks, Timers, Transport
from aether.runtime.health_log import log_health
from aether.runtime.runtime import Runtime
from aether.system.clock import SystemClock
from aether.system.environment import boot_id, environment, host_name, join_pool
from aether.system.handler_note import WorkerNote
from aether.system.lifeline import Lifeline
from aether.system.main_loop import run_to_end
from aether.system.watchdog import Watchdog
from aether.tracing.export import exported_traces
from aether.waiting_tells import encode_waiting
from aether.wire import STORED_FORMAT
from aether.worker_barrier import durability, sync_barrier
from aether.worker_log import configure_logging
from aether.worker_protocol import WorkerSpec

BALANCE_TIMEOUT_S = 5.0
"""A worker of whose share another one, which may be dead, holds a part says that it is ready all the same."""

LOOK_AGAIN_S = 0.1
MEND_EVERY_S = 1.0
"""How often a worker that lacks something looks whether its namespace is whole."""

STUCK_ROUNDS = 3
"""After so many times without an answer to writes the supervisor is notified."""

MEND_SELDOM_ROUNDS = 5
"""One that lacks what it can serve without looks only every so many times."""

LOOK_SELDOM_ROUNDS = 20
"""And one that lacks nothing seldom: a setting may have been changed on the server."""

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
    log: LogConfig = field(default_factory=LogConfig)


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
async def _connect(
    settings: WorkerSettings, failed: Callable[[str], None], waits: Callable[[], None]
) -> AsyncIterator[Node]:
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
            await stack.enter_async_context(sync_barrier(node, Path(settings.storage.nats_store), failed, waits))
        yield node


class Worker:
    """One worker's life: it connects, joins, serves and leaves. `connect` gives it its adapters."""

    def __init__(self, model: Model, spec: WorkerSpec, settings: WorkerSettings, connect: Connect = _connect) -> None:
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
        self._stopping.set()

    async def run(self) -> None:
        """Serve until SIGTERM; one that comes before anything was served ends the start."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.outdate)
        self._lifeline.open()
        serving = asyncio.create_task(self._connect_and_serve())
        try:
            await first_of(serving, self._stopping.wait())
            if not serving.done() and not self.served:
                serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
        finally:
            self._lifeline.close()

    async def _connect_and_serve(self) -> None:
        threads = self._settings.runtime.blocking_threads_max
        async with self._connect(self._settings, self._disk_failed, self._lifeline.alive) as node:
            with noted_in(self._spec.note_fd, threads) as note:
                await self._serve(node, note)

    async def _serve(self, node: Node, note: WorkerNote | None) -> None:
        health = Health(self._health_changed)
        cluster = self._cluster(node, health)
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
        cluster.set_vm_provider(runtime)
        cluster.about = _About(self._model, runtime, lambda: self._outdated)
        self._say_again = cluster.say_again
        schema = self._model.schema_json()
        await self._until_leases_ended(node)
        node.on_connected(lambda: health.well(Need.ANSWERS))
        watched = _watched(self._settings.runtime, runtime, note)
        async with runtime, cluster, _mending(node, health, self._lifeline.stuck), watched:
            self._lifeline.joined()
            try:
                await node.transport.answer_status(partial(self._status, cluster, health))
                await node.transport.answer_metrics(partial(self._metrics, cluster, runtime))
                await node.transport.answer_waiting(
                    lambda: encode_waiting(cluster.name, runtime.waiting_tells(), runtime.running_tasks())
                )
                info = await node.transport.info(lambda: schema)
                await self._until_serving(cluster, health)
                with suppress(Unavailable):  # of other workers' shards: theirs to refuse when it happens again
                    await runtime.tell_losses()
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

    def _status(self, cluster: Cluster, health: Health) -> bytes:
        """What this worker answers when it is asked how it is."""
        serves = self.served and not health.trouble
        state = DRAINING if self._stopping.is_set() else SERVING if serves else UNREADY
        return encode_status(
            Status(
                member=cluster.name,
                incarnation=self._spec.incarnation,
                state=state,
                why=health.trouble,
                shards=cluster.moves().held,
                model_version=self._model.fingerprint,
            )
        )

    def _metrics(self, cluster: Cluster, runtime: Runtime) -> bytes:
        """What this worker answers when it is asked what it has measured."""
        counters = runtime.counters
        failures, rejections = counters.failures.groups(), counters.rejections.groups()
        readings = runtime.readings()
        return encode_metrics(WorkerMetrics(cluster.name, self._spec.incarnation, readings, failures, rejections))

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

    def _cluster(self, node: Node, health: Health) -> Cluster:
        spec = self._spec
        me = MemberRow(node=spec.node, slot=spec.slot, incarnation=spec.incarnation, claim=spec.claim,
                       reads=STORED_FORMAT, durability=durability(self._settings.storage))  # fmt: skip
        siblings = [member_name(spec.node, slot) for slot in range(spec.slots)]
        return Cluster(node, me, self._settings.cluster, replaces=spec.replaces, siblings=siblings, health=health)


@asynccontextmanager
async def _mending(node: Node, health: Health, stuck: Callable[[], None]) -> AsyncIterator[None]:
    """Meanwhile what is deleted of the namespace is made anew, and what is changed on the server is named."""
    background = Background()
    background.forever("aether mending", partial(_mend, node, health, stuck))
    try:
        yield
    finally:
        await background.stop()


@asynccontextmanager
async def _watched(config: RuntimeConfig, runtime: Runtime, note: WorkerNote | None) -> AsyncIterator[None]:
    """Meanwhile what blocks the event loop is named in the log and counted."""

    def doing() -> dict[str, str]:
        last, runs = note.loop.last() if note is not None else (None, False)
        if last is None:
            return {}
        if not runs:
            return {"after": f"{last.command} of {last.kind}/{last.key}"}
        return {"actor": f"{last.kind}/{last.key}", "command": last.command, "command_id": last.command_id}

    def noticed(_: float) -> None:
        runtime.counters.loop_silences += 1

    def looked() -> None:
        if note is not None:
            note.others_run()

    if not config.loop_silent_s:
        yield
        return
    with Watchdog(config.loop_silent_s, doing, noticed, looked):
        yield


@contextmanager
def noted_in(fd: int, threads: int) -> Iterator[WorkerNote | None]:
    """Meanwhile the supervisor finds in the memory of this descriptor what ends the process; -1 for no memory."""
    if fd < 0:
        yield None
        return
    note = WorkerNote(fd, threads)
    note.take_stacks()
    try:
        yield note
    finally:
        note.leave()


async def _mend(node: Node, health: Health, stuck: Callable[[], None]) -> None:
    rounds = unanswered = 0
    while True:
        await asyncio.sleep(MEND_EVERY_S)
        rounds += 1
        unanswered = unanswered + 1 if health.why(Need.ANSWERS) else 0
        if unanswered >= STUCK_ROUNDS:
            stuck()
        if rounds % (1 if health.trouble else MEND_SELDOM_ROUNDS if health.lacks else LOOK_SELDOM_ROUNDS):
            continue
        try:
            made = await node.restore()
        except ConfigError as error:
            health.wrong(Need.LAYOUT, words(error))
        except AetherError as error:
            log.debug("the namespace cannot be looked at", extra={"error": words(error)})
        else:
            health.well(Need.LAYOUT)
            for stream in made:
                log.error("a stream was gone and was made anew, empty", extra={"stream": stream})


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

    def __init__(self, model: Model, runtime: Runtime, outdated: Callable[[], bool]) -> None:
        self._runtime = runtime
        self._outdated = outdated
        self._always = {
            "host": host_name(),
            "boot_id": boot_id(),
            "pid": os.getpid(),
            "address": f"{host_name()}:{os.getpid()}",
            "model": model.name,
            MODEL_VERSION: model.fingerprint,
            "started_at": time.time(),
            ANSWERS: True,
        }

    def __call__(self) -> dict[str, Any]:
        return {
            **self._always,
            **({OUTDATED: True} if self._outdated() else {}),
            "active": self._runtime.active_count,
            "counters": self._runtime.counters.as_dict(),
        }
