"""Ticks and results that are told: run once if they are expected, else only noted; also after a snapshot."""

import asyncio
from dataclasses import replace

from msgspec import Raw
from msgspec.structs import replace as replaced

from aether import ActorId, Runtime
from aether.ids import Position
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.names import event_source, shard_of
from aether.ports import Committed
from aether.runtime.snapshots import decode_snapshot
from aether.sends import Send, SetSchedule, StartTask, encode_sends
from aether.tells import Tell, encode_tell
from aether.wire import HANDLED_EVENT, TOLD_EVENT, Event, decode_commit, encode_commit, instant, new_event
from tests.support.actors import model
from tests.support.nodes import QUIET, command, node, send

ALICE = ActorId("account", "alice")
SHARDS = 256
SHARD = shard_of(ALICE, SHARDS)
TASK = StartTask(id="t1", task="charge", then="deposit")
TICK = SetSchedule(name="rent", id="s1", at=instant(1_800_000_000), kind="account", key="alice", command="deposit")


def opened(server: InMemoryServer, *sends: Send) -> None:
    """A history of alice that begins with a command that sent this."""
    event = new_event(
        version=1, source=event_source("tests", ALICE), type=TOLD_EVENT, time=instant(0), data=b"{}", commandid="c-1"
    )
    payload = encode_commit([replaced(event, sends=encode_sends(sends))])
    assert isinstance(server.space("tests", SHARDS).append(ALICE, payload, Position(0)), Committed)


async def told(server: InMemoryServer, command_id: str, amount: int = 1) -> None:
    """A deposit for alice is stored in the inbox."""
    async with InMemoryConnection(server, "tests") as connection:
        tell = Tell(kind="account", key="alice", command="deposit", args=Raw(b'{"amount":%d}' % amount), id=command_id)
        await connection.inbox.send(SHARD, encode_tell(tell), "")


def stored(server: InMemoryServer) -> list[Event]:
    """All events of alice, as they are stored."""
    commits = [one for one in server.space("tests", SHARDS).commits if one.actor_id == ALICE]
    return [event for one in commits for event in decode_commit(one.payload, one.actor_id, one.position)]


async def until(server: InMemoryServer, count: int) -> list[Event]:
    """All events of alice, once there are so many."""
    async with asyncio.timeout(10):
        while len(stored(server)) < count:  # noqa: ASYNC110 - the runtime makes progress
            await asyncio.sleep(0.005)
    return stored(server)


async def balance(runtime: Runtime) -> object:
    """Alice's balance."""
    return Raw((await send(runtime, ALICE, command("statement"))).value)


async def test_the_result_of_an_open_task_is_run_once() -> None:
    server = InMemoryServer()
    opened(server, TASK)
    async with node(server, shards=[SHARD], tells=True) as runtime:
        await told(server, TASK.result_id, 5)
        await until(server, 2)
        await told(server, TASK.result_id, 7)
        await told(server, "task:other", 9)
        events = await until(server, 4)
        assert [event.type for event in events] == [TOLD_EVENT, "Deposited", HANDLED_EVENT, HANDLED_EVENT]
        assert await balance(runtime) == Raw(b"5")
        assert [event.idexpires for event in events[1:]] == [None] * 3, "the agenda knows it, not the command log"


async def test_a_tick_is_run_only_if_it_is_the_next_one_of_its_schedule() -> None:
    server = InMemoryServer()
    other = replaced(TICK, at=instant(1_800_000_060))
    opened(server, TICK)
    async with node(server, shards=[SHARD], tells=True) as runtime:
        for count, id in enumerate((other.firing_id, TICK.firing_id, TICK.firing_id), 2):
            await told(server, id)
            await until(server, count)
        events = stored(server)
        assert [event.type for event in events] == [TOLD_EVENT, HANDLED_EVENT, "Deposited", HANDLED_EVENT]
        assert await balance(runtime) == Raw(b"1")


async def test_what_is_open_is_in_snapshots() -> None:
    server = InMemoryServer()
    opened(server, TASK, TICK)
    async with node(server, shards=[SHARD], config=replace(QUIET, snapshot_every_events=1)) as runtime:
        await send(runtime, ALICE, command("deposit", amount=1))
    raw = server.space("tests", SHARDS).snapshots[ALICE].now
    assert raw is not None
    snapshot = decode_snapshot(raw, model.actor_types["account"].fingerprint)
    assert snapshot is not None
    assert snapshot.version == 2
    async with node(server, shards=[SHARD], tells=True) as runtime:
        for count, id in enumerate((TASK.result_id, TICK.firing_id, TICK.firing_id), 3):
            await told(server, id)
            await until(server, count)
        events = stored(server)
        assert [event.type for event in events[2:]] == ["Deposited", "Deposited", HANDLED_EVENT]
        assert runtime.counters.events_replayed == 0
        assert await balance(runtime) == Raw(b"3")
