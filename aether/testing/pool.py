"""A pool of several workers in this process and in memory, with a `Client`: code that takes a client needs no server.

Commands go to the worker that has the actor's shard, as in a real pool; a worker can be made to crash, and another one
takes its place. What the workers of a real pool have to agree on, leases and heartbeats, is left out: here the ring
says once who serves what.
"""

import itertools
import random
from collections.abc import AsyncIterator, Sequence, Set
from contextlib import asynccontextmanager
from datetime import datetime

from aether.client import Client
from aether.config import CallConfig, RuntimeConfig
from aether.core.cluster.membership import LeaseRow, MemberRow, encode_lease, encode_member
from aether.core.cluster.ring import assignment, owners
from aether.core.cluster.status import SERVING, Status, encode_status
from aether.core.metrics.worker_metrics import WorkerMetrics, encode_metrics
from aether.ids import ActorId
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.model.model import Model, checked_model
from aether.model.proxy import ActorRef
from aether.names import shard_of
from aether.ports import Subscription
from aether.runtime.runtime import Runtime
from aether.table_keys import lease_key, member_name, member_row_key
from aether.testing.clock import PoolClock
from aether.testing.local import checked_config
from aether.untyped_client import UntypedClient
from aether.waiting_tells import encode_waiting

SHARDS = 32

NODE = "local"


class LocalWorker:
    """One worker of a `LocalPool`: its runtime, over a connection of its own."""

    def __init__(self, pool: "LocalPool", slot: int) -> None:
        self.slot = slot
        self._connection = InMemoryConnection(pool.server, pool.namespace, shards=SHARDS)
        self._model = pool.model
        self.name = member_name(NODE, slot)
        self._shards = pool.assigned[self.name]
        self._space = pool.server.space(pool.namespace, SHARDS)
        self._incarnation = str(next(pool.incarnations))
        connection = self._connection
        self.runtime = Runtime(
            connection,
            connection.event_store,
            pool.config,
            shards=self._shards,
            inbox=connection.inbox,
            tasks=connection.tasks,
            timers=connection.timers,
        )
        self.runtime.load_model(pool.model)
        self._subscriptions: list[Subscription] = []

    async def start(self) -> None:
        """Serve, and say so to clients that wait."""
        transport, schema = self._connection.transport, self._model.schema_json()
        await self.runtime.start()
        self._subscriptions += [
            await transport.info(lambda: schema),
            await transport.answer_status(self._status),
            await transport.answer_metrics(self._metrics),
            await transport.answer_waiting(self._waiting),
        ]
        self._write_rows()
        transport.announce(self._shards)

    async def stop(self) -> None:
        """Drain."""
        for subscription in self._subscriptions:
            await subscription.stop()
        self._space.put(member_row_key(self.name), None)
        await self.runtime.stop()
        self._connection.close()

    async def crash(self) -> None:
        """End without a word: its connection is gone before anything can be answered."""
        for subscription in self._subscriptions:
            await subscription.stop()
        self._connection.close()
        await self.runtime.abort()

    def _write_rows(self) -> None:
        """Write into the table what the workers of a real pool do, for those who look at it; nothing here reads it."""
        row = MemberRow(node=NODE, slot=self.slot, incarnation=self._incarnation, about={"model": self._model.name})
        session = self._space.put(member_row_key(self.name), encode_member(row))
        lease = encode_lease(LeaseRow(holder=self.name, session=session, incarnation=self._incarnation))
        for shard in self._shards:
            self._space.put(lease_key(shard), lease)

    def _status(self) -> bytes:
        return encode_status(
            Status(member=self.name, incarnation=self._incarnation, state=SERVING, why="", shards=len(self._shards),
                   model_version=self._model.fingerprint)
        )  # fmt: skip

    def _metrics(self) -> bytes:
        counters, readings = self.runtime.counters, self.runtime.readings()
        failures, rejections = counters.failures.groups(), counters.rejections.groups()
        return encode_metrics(WorkerMetrics(self.name, self._incarnation, readings, failures, rejections))

    def _waiting(self) -> bytes:
        return encode_waiting(f"local-{self.slot}", self.runtime.waiting_tells(), self.runtime.running_tasks())

    def __repr__(self) -> str:
        return f"<local worker {self.slot}>"


class LocalPool:
    """A running pool, made by `local_pool`. `client` is an ordinary `Client`, `clock` moves the time of all workers."""

    def __init__(self, model: Model, size: int, config: RuntimeConfig, clock: PoolClock) -> None:
        self.model = model
        self.namespace = model.name
        self.size = size
        self.config = config
        self.clock = clock
        self.server = InMemoryServer(clock=clock)
        self.assigned = assignment([member_name(NODE, slot) for slot in range(size)], SHARDS)
        self.incarnations = itertools.count(1)
        self._owners = owners(self.assigned)
        space = self.server.space(model.name, SHARDS)
        clock.stored, clock.in_threads = lambda: space.changes, self._in_threads
        self._workers: list[LocalWorker] = []
        self._untyped: UntypedClient | None = None
        self.client: Client

    @property
    def workers(self) -> Sequence[LocalWorker]:
        """The workers that run, by slot."""
        return tuple(self._workers)

    def worker_of(self, kind: ActorRef, key: str) -> LocalWorker:
        """The worker that serves an actor. Raises `UnknownActor`."""
        actor_id = ActorId(self.model.actor_type(kind).kind, key)
        owner = self._owners[shard_of(actor_id, SHARDS)]
        return next(worker for worker in self._workers if worker.name == owner)

    def _in_threads(self) -> Set[object]:
        """The runs of plain tasks, and the blocking handlers, of all workers."""
        types, found = self.model.task_types, set[object]()
        for runtime in (worker.runtime for worker in self._workers):
            found.update((one.id, one.attempt) for one in runtime.running_tasks() if types[one.task].blocking)
            handlers = (machine.handler for machine in runtime.get_active_vms())
            found.update(one for one in handlers if one is not None and one.in_thread)
        return found

    async def crash(self, worker: LocalWorker | int | None = None) -> LocalWorker:
        """End a worker (one of them, if None) in the middle of whatever it does, and put another in its place.

        What it had not committed is lost, what it had committed and not answered is answered by the next one: calls in
        flight are sent again by the client. Returns the worker that serves now.
        """
        slot = random.randrange(self.size) if worker is None else worker if isinstance(worker, int) else worker.slot  # noqa: S311 - no secret
        crashed = self._workers[slot]
        if isinstance(worker, LocalWorker) and crashed is not worker:
            raise ValueError(f"{worker!r} has crashed already")
        self._workers[slot] = LocalWorker(self, slot)
        await crashed.crash()
        await self._workers[slot].start()
        return self._workers[slot]

    async def start(self, calls: CallConfig) -> None:
        """Start the workers, then the client."""
        for slot in range(self.size):
            worker = LocalWorker(self, slot)
            self._workers.append(worker)
            await worker.start()
        connection = InMemoryConnection(self.server, self.namespace, shards=SHARDS)
        await connection.transport.follow_owners()
        self._untyped = UntypedClient(connection, calls)
        self.client = Client(self._untyped, self.model)

    async def stop(self) -> None:
        """Close the client and drain the workers, those that have started."""
        if self._untyped is not None:
            self._untyped.close()
        for worker in self._workers:
            await worker.runtime.finish_tasks()
        for worker in self._workers:  # one may wait for an actor of another
            await worker.runtime.finish_asks()
        for worker in self._workers:
            await worker.stop()


@asynccontextmanager
async def local_pool(
    model: Model,
    *,
    workers: int = 2,
    config: RuntimeConfig | None = None,
    calls: CallConfig | None = None,
    start: datetime | None = None,
) -> AsyncIterator[LocalPool]:
    """A pool of `workers` in memory; its clock shows `start` at first, or the time that it is.

    Every command's state is compared with its events (`state_checks` "always"), unless `config` says "off".

    async with local_pool(model) as pool:
        await pool.client.actor(Account, "alice").deposit(10)
        await pool.clock.advance(minutes=15)
        await pool.crash()
        assert (await pool.client.state(Account, "alice")).as_dict() == {"balance": 10}
    """
    if not 1 <= workers <= SHARDS:
        raise ValueError(f"a local pool has 1-{SHARDS} workers, not {workers}")
    pool = LocalPool(checked_model(model), workers, checked_config(config), PoolClock(start))
    try:
        await pool.start(calls or CallConfig())
        yield pool
    finally:
        await pool.stop()
