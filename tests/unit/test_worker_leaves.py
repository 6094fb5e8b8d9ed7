"""A worker that is asked to stop leaves in order, at whatever await of its start the request finds it."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from aether import Model
from aether.core.cluster.membership import decode_lease
from aether.errors import Unavailable
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import Fault, FaultPoint, Faults, Late, StoredUnknown
from aether.memory.server import InMemoryServer
from aether.memory.transport import InMemoryTransport
from aether.ports import Subscription
from aether.worker.settings import WorkerSettings
from aether.worker.worker import Worker
from aether.worker_protocol import WorkerSpec
from tests.support.actors import Account, model
from tests.support.members import BLIND, FAST, SHARDS, soon
from tests.support.stepping import Stepping

SETTINGS = WorkerSettings(namespace="tests", cluster=FAST, runtime=BLIND)
AWAITS_MIN = 30
"""A start has more awaits than this: fewer would mean that they are not seen."""


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    """A worker that leaves ends its process, and collects no garbage any more."""
    yield
    gc.enable()


OPEN: list[str] = []
"""The lifespans that were entered and not exited."""


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    await asyncio.sleep(0)
    OPEN.append("entered")
    try:
        yield
    finally:
        await asyncio.sleep(0)
        OPEN.remove("entered")


class Nothing:
    """A subscription that brings nothing."""

    async def stop(self) -> None:
        await asyncio.sleep(0)


class Transport(InMemoryTransport):
    """Answers questions about the pool, in as far as somebody must."""

    refuses = False

    async def info(self, inform: Callable[[], bytes]) -> Subscription:
        await asyncio.sleep(0)
        if self.refuses:
            raise Unavailable("no connection just now")
        return Nothing()


class Node(InMemoryConnection):
    """The adapters of a worker, over memory."""

    def __init__(self, server: InMemoryServer, faults: Faults | None = None) -> None:
        super().__init__(server, "tests", shards=SHARDS, faults=faults)
        self.transport: Transport = Transport(self)


@pytest.fixture
def spec() -> Iterator[WorkerSpec]:
    read_fd, write_fd = os.pipe()
    parent_fd, supervisor_fd = os.pipe()
    yield WorkerSpec(slot=0, slots=1, node="here", incarnation="run-1", replaces=None, status_fd=write_fd,
                     parent_fd=parent_fd)  # fmt: skip
    for fd in (read_fd, write_fd, parent_fd, supervisor_fd):
        os.close(fd)


async def stopped_at(spec: WorkerSpec, awaits: int, faults: Faults | None = None) -> tuple[int, InMemoryServer]:
    """Stop a worker at its nth await; how many there were, and what it left behind."""
    server = InMemoryServer()

    @asynccontextmanager
    async def connect(_: WorkerSettings, *__: object) -> AsyncIterator[Node]:
        node = Node(server, faults)
        async with node:
            yield node

    worker = Worker(Model("tests", actors=[Account], lifespan=lifespan), spec, SETTINGS, connect)
    stepping = Stepping(lambda nth: worker.stop() if nth == awaits or worker.served else None)
    stepping.follow(asyncio.get_running_loop())
    try:
        async with asyncio.timeout(20):
            await asyncio.create_task(worker.run())
    finally:
        asyncio.get_running_loop().set_task_factory(None)
    return stepping.suspensions if worker.served else 0, server


def left_behind(server: InMemoryServer) -> list[str]:
    """The member's row and the leases that it holds."""
    rows = server.space("tests", SHARDS).rows.values()
    leases = {row.key: decode_lease(row.value) for row in rows if row.value is not None}
    return [key for key, lease in leases.items() if lease is None or lease.holder]


ACKNOWLEDGEMENTS: dict[str, Fault | None] = {"at once": None, "late": Late(0.01), "lost": StoredUnknown()}


@pytest.mark.parametrize("acknowledged", ACKNOWLEDGEMENTS)
async def test_a_worker_that_is_asked_to_go_at_any_await_of_its_start_leaves_nothing_behind(
    spec: WorkerSpec, acknowledged: str
) -> None:
    nth, left = 0, {}
    while True:
        nth += 1
        script = [(FaultPoint.TABLE_WRITE, ACKNOWLEDGEMENTS[acknowledged])]  # of the member's first row
        served_after, server = await stopped_at(spec, nth, Faults.script(script))
        left.update({nth: rows} if (rows := left_behind(server) + OPEN) else {})
        if served_after:  # it was ready before its nth await, and then left as a worker that has served
            break
    assert left == {}
    assert nth > AWAITS_MIN


async def test_a_worker_that_fails_while_it_starts_leaves_nothing_behind(
    spec: WorkerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transport, "refuses", True)
    server = InMemoryServer()

    @asynccontextmanager
    async def connect(_: WorkerSettings, *__: object) -> AsyncIterator[Node]:
        node = Node(server)
        async with node:
            yield node

    with pytest.raises(Unavailable):
        await Worker(model, spec, SETTINGS, connect).run()
    assert left_behind(server) == []


async def test_a_worker_that_meets_no_server_when_it_leaves_has_not_drained(spec: WorkerSpec) -> None:
    node = Node(InMemoryServer())

    @asynccontextmanager
    async def connect(_: WorkerSettings, *__: object) -> AsyncIterator[Node]:
        async with node:
            yield node

    worker = Worker(model, spec, replace(SETTINGS, runtime=replace(BLIND, drain_timeout_s=0.2)), connect)
    running = asyncio.create_task(worker.run())
    await soon(lambda: worker.served)
    node.disconnect()
    worker.stop()
    await running
    assert not worker.drained


async def test_a_worker_that_hands_everything_over_has_drained(spec: WorkerSpec) -> None:
    node = Node(InMemoryServer())

    @asynccontextmanager
    async def connect(_: WorkerSettings, *__: object) -> AsyncIterator[Node]:
        async with node:
            yield node

    worker = Worker(model, spec, SETTINGS, connect)
    running = asyncio.create_task(worker.run())
    await soon(lambda: worker.served)
    worker.stop()
    await running
    assert worker.drained


async def test_a_worker_whose_disk_fails_answers_no_caller_and_goes_with_its_own_exit_code(
    spec: WorkerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = InMemoryServer()
    fail: list[Callable[[str], None]] = []

    @asynccontextmanager
    async def connect(_: WorkerSettings, failed: Callable[[str], None], __: object) -> AsyncIterator[Node]:
        fail.append(failed)
        node = Node(server)
        async with node:
            yield node

    worker = Worker(model, spec, SETTINGS, connect)
    running = asyncio.create_task(worker.run())
    await soon(lambda: worker.served)
    fail[0]("it could not be synced")
    with pytest.raises(Unavailable, match="could not be synced"):
        await running
    assert worker.disk_failed
    assert len(left_behind(server)) == SHARDS, "what it held is left to who replaces it"
