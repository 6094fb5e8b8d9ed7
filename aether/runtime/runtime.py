"""The runtime of one worker: receives commands, finds or activates their actors, and keeps everything bounded.

It owns the registry, the committer and every background task. It runs on one event loop, over any adapters: alone in
one process over memory, or in a pool over JetStream. Shards come and go when it is told so; it does not know why.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, TypeVar, overload

from aether.background import Background
from aether.config import RuntimeConfig
from aether.core.health import Health
from aether.core.metrics.readings import Readings
from aether.errors import AetherError, ConfigError, DeadlineExceeded, Unavailable, nothing_stored
from aether.ids import ActorId
from aether.model.actor import Actor
from aether.model.model import Model
from aether.model.proxy import ActorRef, AnyDecider, proxy_of, reply_of
from aether.ports import Connection, Delivery, EventStore, Halts, Inbox, Lease, Tasks, Timers, WorkerNote
from aether.runtime.assembly import make_task_runner, make_worker
from aether.runtime.health_log import log_health
from aether.runtime.lease import AlwaysValid
from aether.runtime.lifespan import Lifespan
from aether.runtime.local import Message, ask
from aether.runtime.losses import Losses
from aether.runtime.machine import VirtualMachine
from aether.runtime.metrics import read
from aether.runtime.pipeline import CommandPipeline
from aether.runtime.router import Router
from aether.runtime.served_shards import ServedShards
from aether.runtime.state_at_version import StateAtVersion
from aether.runtime.surroundings import Surroundings
from aether.runtime.task_runner import TaskRunner
from aether.runtime.telling import Telling
from aether.runtime.upkeep import begin_upkeep
from aether.runtime.worker_context import WorkerContext
from aether.waiting_tells import RunningTask, WaitingTells
from aether.wire import Answer
from aether.worker_protocol import Loss

A = TypeVar("A", bound=Actor)

log = logging.getLogger("aether.runtime")

ASKS_TIMEOUT_S = 5.0
"""How long a drain waits for asynchronous handlers before the worker takes no more commands, those of asks included."""

CANCEL_TIMEOUT_S = 1.0
"""How long a cancelled handler may take to end after a drain that took too long."""


class Runtime:
    """Runs the actors of a model over a connection and an event store.

    `shards` are the ones it serves from the start (default: all; a cluster brings others and takes them away);
    `lease` is asked before every answer; `health` is told when the store takes no events, `note` which handlers
    run. `losses` are appended before their shards are served, and actors in `halts` are not activated
    (`aether.runtime.losses`). `deployment` says which workers run which version of the model while they differ:
    what this one's model does not know is not final then. Without an `inbox` nothing can be told, without `tasks` no
    task can be started; a task that was begun by a worker which then was silent for `task_ttl_s` is begun anew by
    another one. Used as an async context manager it starts and stops itself. Raises `ConfigError` when started without
    a model.
    """

    def __init__(
        self,
        connection: Connection,
        event_store: EventStore,
        config: RuntimeConfig | None = None,
        *,
        shards: Iterable[int] | None = None,
        lease: Lease | None = None,
        jitter: Callable[[], float] = random.random,
        health: Health | None = None,
        note: WorkerNote | None = None,
        halts: Halts | None = None,
        losses: Sequence[Loss] = (),
        deployment: Callable[[], str] = lambda: "",
        inbox: Inbox | None = None,
        tasks: Tasks | None = None,
        timers: Timers | None = None,
        task_ttl_s: float = 15.0,
    ) -> None:
        self._around = around = Surroundings(
            connection=connection,
            event_store=event_store,
            config=config or RuntimeConfig(),
            lease=lease or AlwaysValid(),
            jitter=jitter,
            health=health or Health(log_health),
            note=note,
            halts=halts,
            deployment=deployment,
            inbox=inbox,
            tasks=tasks if inbox is not None else None,
            timers=timers,
            task_ttl_s=task_ttl_s,
        )
        self.config = around.config
        self.connection = connection
        self.event_store = event_store
        self.counters = around.counters
        self.health = around.health
        self._shards = sorted(set(shards)) if shards is not None else list(range(connection.shards))
        self._losses = Losses(losses, around)
        self._task_runner: TaskRunner | None = None
        self._telling: Telling | None = None
        self.failure: AetherError | None = None
        """Why the runtime cannot go on: the model's lifespan has ended by itself."""
        self._has_failed = asyncio.Event()
        self._lifespan: Lifespan | None = None
        self._model: Model | None = None
        self._worker: WorkerContext | None = None
        self._pipeline: CommandPipeline | None = None
        self._background = Background()
        self._state_at_version = StateAtVersion(event_store)
        self._router = Router(self.counters, self._state_at_version, connection.shards, self.config.active_vms_max)
        self._served = ServedShards(connection, self._router, self._spawn, follow_stored=self.config.follow_stored)

    # ------------------------------------------------------------------------------------------ start and stop

    def load_model(self, model: Model) -> None:
        """Take the model whose actors are run. Before `start`."""
        self._model = model
        self._router.load(model)

    async def start(self) -> None:
        """Enter the model's lifespan, then begin to serve.

        Raises `ConfigError` without a model, `AetherError` when its lifespan fails, `Unavailable` when the connection
        cannot.
        """
        if self._model is None:
            raise ConfigError("a runtime needs a model: call load_model first", setting="model")
        if self._worker is not None:
            return
        make = self._model.lifespan
        if make is not None:
            exit_s = self.config.lifespan_exit_timeout_s
            self._lifespan = Lifespan(make, self._model.name, exit_s, self._lifespan_ended)
        self._worker = worker = make_worker(self._around, self._model, self._router, self._spawn, self._lifespan)
        self._pipeline, self._telling = worker.pipeline, worker.telling
        try:
            if self._lifespan is not None:
                await self._lifespan.enter()
            await self._serve(worker)
        except BaseException:
            await self.stop()
            raise

    async def failed(self) -> AetherError:
        """Wait until the runtime cannot go on, and why: the model's lifespan has ended by itself."""
        await self._has_failed.wait()
        assert self.failure is not None
        return self.failure

    def _lifespan_ended(self, failure: AetherError) -> None:
        self.failure = failure
        self._has_failed.set()

    async def _serve(self, worker: WorkerContext) -> None:
        assert self._model is not None
        begin_upkeep(self._background, self._around, self._model, worker, self._router.registry)
        for shard in self._shards:
            await self.serve_shard(shard)
        self._task_runner = make_task_runner(self._around, self._model, worker)
        if self._task_runner is not None:
            self._task_runner.start()

    async def finish_tasks(self) -> None:
        """Take no more tasks; those that run have `task_drain_s`, then they are given back. Idempotent."""
        if self._task_runner is not None:
            await self._task_runner.drain()

    async def stop(self) -> None:
        """Drain: stop receiving, answer everything taken, snapshot every actor, end. Bounded by `drain_timeout_s`.

        What is open at the bound is abandoned: its handlers are cancelled, its callers ask again elsewhere. Then the
        model's lifespan is exited, bounded by `lifespan_exit_timeout_s`.
        """
        worker = self._worker
        if worker is None:
            return
        try:
            async with asyncio.timeout(self.config.drain_timeout_s):
                await self._drain()
        except TimeoutError:
            log.error(
                "the drain took too long",
                extra={"open": worker.admission.waiting, "active": len(self._router.registry)},
            )
        finally:
            await self._end(worker)

    async def abort(self) -> None:
        """End as a crash does, in this process: nothing more is answered, stored or snapshotted.

        Handlers are cancelled, and the model's lifespan is exited all the same: what it holds is this process's.
        """
        worker = self._worker
        if worker is None:
            return
        for shard in self._served.shards:
            self.abandon_shard(shard)
        for machine in list(self._router.registry):
            machine.abandon()
        await self._end(worker)

    async def _end(self, worker: WorkerContext) -> None:
        self._worker = None
        self._router.close()
        runner, self._task_runner = self._task_runner, None
        if runner is not None:
            await runner.close(CANCEL_TIMEOUT_S)
        telling, self._telling = self._telling, None
        if telling is not None:
            await telling.close(CANCEL_TIMEOUT_S)
        await self._background.stop(CANCEL_TIMEOUT_S)
        await worker.asks.close()
        worker.threads.shutdown(wait=False, cancel_futures=True)
        if self._lifespan is not None:
            await self._lifespan.exit()

    async def _drain(self) -> None:
        assert self._worker is not None
        await asyncio.gather(self.finish_tasks(), self.finish_asks())
        snapshots = self._worker.snapshots
        await asyncio.gather(*(self.leave_shard(shard) for shard in self._served.shards))
        self._take_delivered()
        await self._state_at_version.wait_idle()
        while self._router.registry:
            for machine in self._router.registry:
                await machine.wait_idle()
                await snapshots.until_room()
                if machine.idle:
                    machine.retire()
        await snapshots.flush()

    async def finish_asks(self) -> None:
        """Wait until no asynchronous handler runs, for `ASKS_TIMEOUT_S` at most.

        What they ask may have to be answered by this runtime, so it goes on to serve meanwhile.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(ASKS_TIMEOUT_S):
                while active := [one for one in self._router.registry if one.handler is not None]:
                    await active[0].wait_idle()

    async def __aenter__(self) -> "Runtime":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # ------------------------------------------------------------------------------------------ commands

    def receive(self, delivery: Delivery) -> None:
        """Take one command from the transport; it is answered once, or dropped by the reply fence."""
        self._router.receive(delivery)

    async def send_message(self, message: Message) -> Any:
        """Send a command to an actor of this runtime and give back its reply, typed.

        Raises what the actor answers, `InvalidCommand` for bad arguments, `DeadlineExceeded` without an answer in time.
        """
        command_type = self._router.command_type(message.to.kind, message.command)
        args = command_type.encode_args((), message.args)
        try:
            return reply_of(command_type, await ask(message, args, self.receive, self.connection))
        except DeadlineExceeded as late:
            if command_type.query:
                raise nothing_stored(late) from None
            raise

    @overload
    def actor(self, kind: type[A], key: str, *, deadline_s: float = 10.0, command_id: str | None = None) -> A: ...
    @overload
    def actor(
        self, kind: str | AnyDecider, key: str, *, deadline_s: float = 10.0, command_id: str | None = None
    ) -> Any: ...
    def actor(self, kind: ActorRef, key: str, *, deadline_s: float = 10.0, command_id: str | None = None) -> Any:
        """A proxy of an actor of this runtime, as a client's: `await runtime.actor(Account, "alice").deposit(10)`."""
        assert self._model is not None, "load_model first"

        def send(actor_id: ActorId, command: str, args: bytes) -> Coroutine[Any, Any, Answer]:
            message = Message(actor_id, command, id=command_id, deadline_s=deadline_s)
            return ask(message, args, self.receive, self.connection)

        return proxy_of(self._model, kind, key, send)

    # ------------------------------------------------------------------------------------------ machines

    async def create_vm(self, actor_id: ActorId) -> VirtualMachine:
        """The actor's machine, activated and replayed. Raises what its history says when it cannot be."""
        if self._worker is None:
            raise Unavailable("the runtime is not started")
        self._router.actor_type(actor_id.kind)
        machine = self._router.registry.use(actor_id, self._worker.clock.boot_s())
        await machine.start()
        return machine

    async def stop_vm(self, actor_id: ActorId) -> None:
        """Finish, snapshot and forget one active actor; nothing happens when it is not active."""
        machine = self._router.registry.get(actor_id)
        if machine is not None:
            await machine.wait_idle()
            if self._worker is not None and machine.unsaved:
                await self._worker.snapshots.until_room()
            await machine.stop()

    @property
    def active_count(self) -> int:
        """How many machines are active: `get_active_vms` makes a list of them, which may be long."""
        return len(self._router.registry)

    def readings(self) -> Readings:
        """What this runtime has measured, and what is so now (`aether.core.metrics.catalogue`)."""
        active = dict.fromkeys(self._model.actor_types, 0) if self._model is not None else {}
        return read(
            self.counters,
            active={**active, **self._router.registry.count_by_kind()},
            waiting=self._worker.admission.waiting if self._worker is not None else 0,
            shards=len(self._served.shards),
            tasks=self._task_runner.running if self._task_runner is not None else 0,
            tells=self._telling.waiting[1] if self._telling is not None else 0,
            dead_letters=self._telling.dead_letters if self._telling is not None else 0,
        )

    def waiting_tells(self) -> list[WaitingTells]:
        """Which tells wait at this runtime, actor by actor."""
        return self._telling.waiting_tells() if self._telling is not None else []

    def running_tasks(self) -> list[RunningTask]:
        """Which tasks run at this runtime."""
        return self._task_runner.lines() if self._task_runner is not None else []

    def get_active_vms(self, shard: int | None = None) -> Sequence[VirtualMachine]:
        """The active machines, of one shard or of all, least recently used first."""
        return list(self._router.registry) if shard is None else self._router.registry.of_shard(shard)

    # ------------------------------------------------------------------------------------------ shards

    async def serve_shard(self, shard: int) -> None:
        """Begin to take the shard's commands, with no actor of it in memory. Raises `Unavailable`."""
        await self._losses.tell(shard)
        self.abandon_shard(shard)  # what came late, when the shard was another's, has a state that is too old
        if self._worker is not None:
            self._worker.asks.serve(shard)
        try:
            await self._served.serve(shard)
        except BaseException:
            self.abandon_shard(shard)
            raise
        if self._telling is not None:
            self._telling.serve(shard)

    async def tell_losses(self) -> None:
        """Tell of the workers lost to actors that are another worker's now. Raises `Unavailable`."""
        await self._losses.tell()

    async def prepare_shard(self, shard: int) -> None:
        """Snapshot the shard's idle actors while it is served, so that leaving it takes less time."""
        for machine in self._router.registry.of_shard(shard):
            if self._worker is not None:
                await self._worker.snapshots.until_room()
            if machine.idle:
                machine.snapshot()

    async def leave_shard(self, shard: int) -> None:
        """Take no more commands of the shard; all that were delivered have been taken when this returns."""
        telling, worker = self._telling, self._worker
        if worker is not None:
            worker.asks.leave(shard)
        if telling is not None:
            await telling.leave(shard)
        await self._served.leave(shard, self._take_delivered)
        if telling is not None and telling.sends(shard):
            for machine in self._router.registry.of_shard(shard):
                await machine.wait_idle()
            await telling.flush(shard)

    def _take_delivered(self) -> None:
        """Run what the pipeline would run in the next iteration of the event loop."""
        if self._pipeline is not None and self._pipeline.due:
            self._pipeline.run()

    def abandon_shard(self, shard: int) -> None:
        """Drop all that is open of the shard, at once and without an answer to a caller."""
        self._served.abandon(shard)
        if self._telling is not None:
            self._telling.abandon(shard)
        for machine in self._router.registry.of_shard(shard):
            machine.abandon()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return self._background.once(getattr(work, "__qualname__", "a task of the runtime"), work)
