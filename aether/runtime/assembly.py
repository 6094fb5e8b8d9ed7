"""The parts of a runtime, made from what it was given. They are made when it starts; it begins and ends them itself."""

import asyncio
from collections.abc import Callable
from contextvars import copy_context

from aether.config import CallConfig
from aether.core.actor.batching import Batching, CommitBatching
from aether.model.model import Model
from aether.ports import Delivery, Inbox, Tasks
from aether.runtime.asks import Asks
from aether.runtime.committer import Committer
from aether.runtime.lifespan import Lifespan
from aether.runtime.pipeline import CommandPipeline
from aether.runtime.replay import Replayer
from aether.runtime.router import Router
from aether.runtime.snapshots import SnapshotWriter
from aether.runtime.surroundings import Surroundings
from aether.runtime.task_runner import TaskRunner
from aether.runtime.task_worker import TaskWorker
from aether.runtime.telling import Telling
from aether.runtime.traced import TracedStore, traced_answers, traced_arrivals, traced_tells
from aether.runtime.unknown_tasks import UnknownTasks
from aether.runtime.worker_context import Spawn, WorkerContext
from aether.tracing.configured import configured_tracing


def make_worker(
    around: Surroundings, model: Model, router: Router, spawn: Spawn, lifespan: Lifespan | None
) -> WorkerContext:
    """What the machines of a runtime share; `router` takes commands from now on, traced if tracing is configured."""
    tracing = configured_tracing()
    store = around.event_store
    receive: Callable[[Delivery], None] = router.receive
    if tracing is not None:
        store, receive = TracedStore(store, tracing), traced_tells(receive, tracing)
    connection, config, counters = around.connection, around.config, around.counters
    pipeline = CommandPipeline(_soon())
    worker = WorkerContext(
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
        replayer=Replayer(around),
        snapshots=SnapshotWriter(connection.snapshots, counters, config.snapshots_in_flight_max, spawn, around.health),
        asks=Asks(model, connection, CallConfig(), around.jitter, spawn, counters),
        spawn=spawn,
        discard=router.discard,
        command_type=router.command_type,
        task_type=model.task_type,
        lifespan=lifespan,
        telling=None if around.inbox is None else Telling(around.inbox, around, receive),
    )
    router.open(worker)
    if tracing is not None:
        pipeline.arrivals.wrap(lambda work: traced_arrivals(work, tracing))
        pipeline.answers.wrap(lambda work: traced_answers(work, connection.clock))
    return worker


def _soon() -> Callable[[Callable[[], None]], object]:
    """`call_soon` in a copy of this context each time: what a handler leaves in its context is for its tasks only."""
    call_soon, context = asyncio.get_running_loop().call_soon, copy_context()
    return lambda run: call_soon(run, context=context.copy())


def make_task_runner(around: Surroundings, model: Model, worker: WorkerContext) -> TaskRunner | None:
    """What runs tasks; None when the model has none, or none can be started."""
    if not model.task_types or around.tasks is None or around.inbox is None:
        return None
    return TaskRunner(_task_worker(around, around.tasks, around.inbox, worker), model.task_types)


def make_unknown_tasks(around: Surroundings, model: Model, worker: WorkerContext) -> UnknownTasks | None:
    """What sees to the starts of tasks that the model has not; None when none can be started."""
    if around.tasks is None or around.inbox is None:
        return None
    return UnknownTasks(_task_worker(around, around.tasks, around.inbox, worker), model.task_types)


def _task_worker(around: Surroundings, tasks: Tasks, inbox: Inbox, worker: WorkerContext) -> TaskWorker:
    lifespan = worker.lifespan
    return TaskWorker(
        tasks=tasks,
        inbox=inbox,
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
