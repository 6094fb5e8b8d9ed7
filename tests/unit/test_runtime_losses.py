"""Commands and replays that end workers: refused in the end, on every host, and the others are served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec import Raw

from aether import ActorFailed, ActorId, Runtime
from aether.dead_letters import decode_row
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import FaultPoint, Faults, StoredUnknown
from aether.memory.server import InMemoryServer
from aether.names import shard_of
from aether.tells import Tell, encode_tell
from aether.wire import DEAD_LETTERED_EVENT, WORKER_LOST_EVENT
from aether.worker_protocol import Loss, NotedHandler
from tests.support.actors import model
from tests.support.members import SHARDS, member, settled, soon
from tests.support.nodes import QUIET, command, history, node, send

ALICE = ActorId("account", "alice")


def loss(command_id: str, worker: str, name: str = "deposit", key: str = "alice", of: str = "") -> Loss:
    handler = NotedHandler(kind="account", key=key, command=name, command_id=command_id, correlation_id=of)
    return Loss(handler=handler, cause="SIGSEGV", incarnation=worker)


@asynccontextmanager
async def after(server: InMemoryServer, *losses: Loss, faults: Faults | None = None) -> AsyncIterator[Runtime]:
    """The worker that comes after ones that died."""
    connection = InMemoryConnection(server, "tests", faults=faults)
    runtime = Runtime(connection, connection.event_store, QUIET, losses=losses)
    runtime.load_model(model)
    async with connection, runtime:
        yield runtime


async def test_a_command_that_ended_one_worker_is_run_again_and_after_two_it_is_refused_everywhere() -> None:
    server = InMemoryServer()
    async with node(server) as runtime:
        assert (await send(runtime, ALICE, command("deposit", amount=10))).version == 1
    async with after(server, loss("c1", "run-1")) as runtime:
        assert (await send(runtime, ALICE, command("deposit", id="c1", amount=1))).version == 3
    async with after(server, loss("c2", "run-2"), loss("c2", "run-3")) as runtime:
        for _ in range(2):
            with pytest.raises(ActorFailed, match="has ended two workers"):
                await send(runtime, ALICE, command("deposit", id="c2", amount=100))
        assert (await send(runtime, ALICE, command("deposit", id="c3", amount=1))).version == 6
        assert runtime.counters.workers_lost == 2
    async with node(server) as elsewhere:
        with pytest.raises(ActorFailed, match="has ended two workers"):
            await send(elsewhere, ALICE, command("deposit", id="c2", amount=100))
        types = [event.type for event in await history(elsewhere, ALICE)]
    assert types.count(WORKER_LOST_EVENT) == 3


async def test_a_query_that_has_ended_two_workers_is_refused_too() -> None:
    server = InMemoryServer()
    async with after(server, loss("q1", "run-1", "statement"), loss("q1", "run-2", "statement")) as runtime:
        with pytest.raises(ActorFailed, match="has ended two workers"):
            await send(runtime, ALICE, command("statement", id="q1"))
        assert (await send(runtime, ALICE, command("statement", id="q2"))).version == 2


async def test_a_tell_that_has_ended_two_workers_is_a_dead_letter_and_those_behind_it_follow() -> None:
    connection = InMemoryConnection(InMemoryServer(), "tests")
    shard = shard_of(ALICE, connection.shards)
    for id in ("c1", "c2"):
        tell = Tell(kind=ALICE.kind, key=ALICE.key, command="deposit", args=Raw(b'{"amount":1}'), id=id)
        await connection.inbox.send(shard, encode_tell(tell), id)
    losses = (loss("c1", "run-1"), loss("c1", "run-2"))
    inbox, tasks, timers = connection.inbox, connection.tasks, connection.timers
    runtime = Runtime(connection, connection.event_store, QUIET, losses=losses, inbox=inbox, tasks=tasks, timers=timers)
    runtime.load_model(model)
    async with connection, runtime:
        async with asyncio.timeout(10):
            while len(stored := await history(runtime, ALICE)) < 4:  # noqa: ASYNC110 - the runtime makes progress
                await asyncio.sleep(0.005)
        assert [event.type for event in stored[2:]] == [DEAD_LETTERED_EVENT, "Deposited"]
        rows = [decode_row(one.payload) for one in (await inbox.dead_letters(0)).messages]
        assert {(row.sequence, row.failures) for row in rows if row is not None} == {(1, 1)}


async def test_one_loss_is_still_known_when_a_snapshot_was_written_after_it() -> None:
    server = InMemoryServer()
    async with after(server, loss("c1", "run-1")) as runtime:
        await send(runtime, ALICE, command("deposit", amount=1))
    async with after(server, loss("c1", "run-2")) as runtime:
        with pytest.raises(ActorFailed, match="has ended two workers"):
            await send(runtime, ALICE, command("deposit", id="c1", amount=1))


async def test_a_loss_whose_append_was_not_acknowledged_is_stored_once() -> None:
    server = InMemoryServer()
    faults = Faults.script([(FaultPoint.APPEND, StoredUnknown())])
    async with after(server, loss("c1", "run-1"), faults=faults) as runtime:
        assert [event.type for event in await history(runtime, ALICE)] == [WORKER_LOST_EVENT]
        assert (await send(runtime, ALICE, command("deposit", id="c1", amount=1))).version == 2


async def test_a_loss_belongs_to_what_its_command_belonged_to() -> None:
    async with after(InMemoryServer(), loss("c1", "run-1", of="order 7"), loss("c2", "run-2")) as runtime:
        assert [event.correlationid for event in await history(runtime, ALICE)] == ["order 7", "c2"]


async def test_an_actor_whose_replay_ended_a_worker_is_left_alone_by_every_member_and_then_tried_again() -> None:
    server = InMemoryServer()
    async with member(server, "a") as a, member(server, "b") as b:
        await settled(a, b)
        await a.cluster.halt(ALICE, "its replay has ended a worker by SIGSEGV")
        await soon(lambda: all(one.cluster.halted(ALICE) is not None for one in (a, b)))
        key = next(row.key for row in server.space("tests", SHARDS).rows.values() if row.key.startswith("halted."))
        server.space("tests", SHARDS).put(key, None)  # as when its time is over
        await soon(lambda: all(one.cluster.halted(ALICE) is None for one in (a, b)))


async def test_a_replay_that_ended_a_worker_halts_its_actor_and_no_other() -> None:
    server = InMemoryServer()

    class Halts:
        def __init__(self) -> None:
            self.why: dict[ActorId, str] = {}

        def halted(self, actor_id: ActorId) -> str | None:
            return self.why.get(actor_id)

        async def halt(self, actor_id: ActorId, why: str) -> None:
            self.why[actor_id] = why

    halts = Halts()
    connection = InMemoryConnection(server, "tests")
    replays = [loss("", "run-1", name="")]
    runtime = Runtime(connection, connection.event_store, QUIET, losses=replays, halts=halts)
    runtime.load_model(model)
    async with connection, runtime:
        with pytest.raises(ActorFailed, match="not activated for a while: its replay has ended a worker by SIGSEGV"):
            await send(runtime, ALICE, command("deposit", amount=1))
        assert (await send(runtime, ActorId("account", "bob"), command("deposit", amount=1))).version == 1
        assert runtime.counters.actors_halted == 1
        halts.why.clear()
        assert (await send(runtime, ALICE, command("deposit", amount=1))).version == 1
