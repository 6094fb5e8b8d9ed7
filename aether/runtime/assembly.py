"""The parts of a runtime, made from what it was given. They are made when it starts; it begins and ends them itself."""

from collections.abc import Callable

from aether.config import CallConfig
from aether.core.actor.batching import Batching, CommitBatching
from aether.model.model import Model
from aether.ports import Delivery, EventStore
from aether.runtime.asks import Asks
from aether.runtime.committer import Committer
from aether.runtime.lifespan import Lifespan
from aether.runtime.pipeline import CommandPipeline
from aether.runtime.replay import Replayer
from aether.runtime.router import Router
from aether.runtime.snapshots import SnapshotWriter
from aether.runtime.surroundings import Surroundings
from aether.runtime.task_runner import TaskRunner
from aether.runtime.telling import Telling
from aether.runtime.worker_context import Spawn, WorkerContext


def make_telling(around: Surroundings, receive: Callable[[Delivery], None]) -> Telling | None:
    """What relays tells, and brings those that come to `receive`; None when nothing can be told."""
    if around.inbox is None:
        return None
    return Telling(
        around.inbox,
        around.connection.shards,
        receive=receive,
        clock=around.clock,
        lease=around.lease,
        config=around.config,
        counters=around.counters,
        jitter=around.jitter,
        tasks=around.tasks,
        timers=around.timers,
    )


def make_worker(
    around: Surroundings,
    model: Model,
    pipeline: CommandPipeline,
    store: EventStore,
    router: Router,
    spawn: Spawn,
    lifespan: Lifespan | None,
    telling: Telling | None,
) -> WorkerContext:
    """What the machines of a runtime share; what they commit goes to `store`."""
    connection, config, counters = around.connection, around.config, around.counters
    return WorkerContext(
        around,
        pipeline=pipeline,
        committer=Committer(
            store,
            counters,
            pipeline,
            config.commits_in_flight_max,
            now_s=around.clock.boot_s,
            lease=around.lease,
            batching=Batching(CommitBatching(config.commit_batching)),
        ),
        replayer=Replayer(
            around.event_store,
            connection.snapshots,
            around.clock,
            counters,
            config.command_log_margin_s,
            None if around.note is None else around.note.loop,
            around.halts,
        ),
        snapshots=SnapshotWriter(connection.snapshots, counters, config.snapshots_in_flight_max, spawn, around.health),
        asks=Asks(model, connection, CallConfig(), around.jitter, spawn, counters),
        spawn=spawn,
        discard=router.discard,
        command_type=router.command_type,
        task_type=model.task_type,
        lifespan=lifespan,
        telling=telling,
    )


def make_task_runner(around: Surroundings, model: Model, worker: WorkerContext) -> TaskRunner | None:
    """What runs tasks; None when the model has none, or none can be started."""
    if not model.task_types or around.tasks is None or around.inbox is None:
        return None
    lifespan = worker.lifespan
    return TaskRunner(
        around.tasks,
        around.inbox,
        model,
        shards=around.connection.shards,
        clock=around.clock,
        config=around.config,
        counters=around.counters,
        jitter=around.jitter,
        ttl_s=around.task_ttl_s,
        resources=lambda: None if lifespan is None else lifespan.resources,
        command_type=worker.command_type,
        foreign=worker.foreign,
    )
