"""Timers and starts of tasks in memory: what their faults do, and what a node hears while it is cut off."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from aether.errors import Unavailable
from aether.ids import ActorId
from aether.memory.clock import ManualClock
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import Fault, FaultPoint, Faults, Lost, StoredLater, StoredUnknown
from aether.memory.server import InMemoryServer
from aether.memory.task_queue import TaskQueue
from aether.memory.timers import TICKS_AT_ONCE
from aether.names import shard_of
from aether.ports import NotSent, TaskClaim
from aether.sends import SetSchedule

HOME = ActorId("order", "k")
SHARDS = 4
SHARD = shard_of(HOME, SHARDS)


def connected(*faults: Fault | None) -> InMemoryConnection:
    script = Faults.script((FaultPoint.TIMER, fault) for fault in faults)
    return InMemoryConnection(InMemoryServer(clock=ManualClock()), "ns", shards=SHARDS, faults=script)


def setting(connection: InMemoryConnection, in_s: float, name: str = "n") -> SetSchedule:
    at = datetime.fromtimestamp(connection.clock.wall_s(), UTC) + timedelta(seconds=in_s)
    return SetSchedule(name=name, id=name, at=at, kind="order", key="k", command="go", source=str(HOME), position=1)


def clock_of(connection: InMemoryConnection) -> ManualClock:
    assert isinstance(connection.clock, ManualClock)
    return connection.clock


async def test_a_timer_of_a_node_without_a_connection_is_not_sent() -> None:
    node = connected()
    node.disconnect()
    with pytest.raises(NotSent):
        await node.timers.arm(setting(node, 1))


@pytest.mark.parametrize(
    ("fault", "armed"), [(Lost(), 0), (StoredUnknown(), 1), (StoredLater(2.0), 1)], ids=["lost", "unknown", "later"]
)
async def test_a_timer_that_is_not_acknowledged_may_be_armed(fault: Fault, armed: int) -> None:
    node = connected(fault)
    with pytest.raises(Unavailable, match="not acknowledged"):
        await node.timers.arm(setting(node, 60))
    assert len(await node.timers.armed()) == (armed if isinstance(fault, StoredUnknown) else 0)
    clock_of(node).advance(3)
    assert len(await node.timers.armed()) == armed


async def test_ticks_are_read_some_at_a_time() -> None:
    node = connected()
    for number in range(TICKS_AT_ONCE + 1):
        await node.timers.arm(setting(node, 1, name=f"{number}"))
    clock_of(node).advance(1)
    first = await node.timers.fired(SHARD, 0)
    assert (len(first.messages), first.more) == (TICKS_AT_ONCE, True)
    rest = await node.timers.fired(SHARD, first.messages[-1].sequence)
    assert (len(rest.messages), rest.more) == (1, False)
    await node.timers.remove_fired(SHARD, first.messages[0].sequence)
    assert not (await node.timers.fired(SHARD, 0)).more


async def test_a_bell_rings_for_ticks_of_its_shard_and_when_the_connection_is_back() -> None:
    node, rung = connected(), asyncio.Event()
    other: list[None] = []
    bell = await node.timers.follow(SHARD, rung.set)
    await node.timers.follow((SHARD + 1) % SHARDS, lambda: other.append(None))
    await node.timers.arm(setting(node, 1))
    clock_of(node).advance(1)
    async with asyncio.timeout(10):
        await rung.wait()
    assert other == []
    await node.timers.arm(setting(node, 1, name="while it is away"))
    rung.clear()
    node.disconnect()
    clock_of(node).advance(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not rung.is_set()
    node.reconnect()
    async with asyncio.timeout(10):
        await rung.wait()
    await bell.stop()
    rung.clear()
    node.disconnect()
    node.reconnect()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not rung.is_set()


async def test_a_wall_clock_that_is_set_back_has_its_ticks_wait() -> None:
    node = connected()
    await node.timers.arm(setting(node, 60))
    clock_of(node).jump_wall(-30)
    clock_of(node).advance(60)
    assert (await node.timers.fired(SHARD, 0)).messages == []
    clock_of(node).advance(30)
    assert len((await node.timers.fired(SHARD, 0)).messages) == 1


def test_no_more_starts_are_handed_out_than_are_asked_for() -> None:
    clock = ManualClock()
    queue = TaskQueue(clock)
    queue.ttl_s = 15.0
    for sequence in range(1, 5):
        queue.add(sequence, b"x")
    assert [one.sequence for one in queue.take(3)] == [1, 2, 3]
    clock.advance(15)
    assert [one.sequence for one in queue.take(2)] == [1, 2]
    assert [one.sequence for one in queue.take(2)] == [3, 4]
    queue.done(1)
    queue.put_off(1, 0.0)
    assert queue.take(9) == []


async def test_a_node_that_waits_for_a_start_hears_that_it_is_cut_off() -> None:
    node = connected()
    await node.tasks.open("charge", 15.0)
    taking = asyncio.ensure_future(node.tasks.take("charge", 3, 600.0))
    for _ in range(5):
        await asyncio.sleep(0)
    node.disconnect()
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable):
            await taking
    queue = node.tasks._space.task_queues["charge"]
    assert queue.wakers == {}


async def test_a_node_that_waits_gets_the_first_that_comes_and_one_that_has_left_none() -> None:
    node = connected()
    await node.tasks.open("charge", 15.0)
    taking = asyncio.ensure_future(node.tasks.take("charge", 3, 600.0))
    for _ in range(5):
        await asyncio.sleep(0)
    queue = node.tasks._space.task_queues["charge"]
    for sequence in (1, 2):
        queue.add(sequence, b"x")
    async with asyncio.timeout(10):
        (claim,) = await taking
    assert claim.sequence == 1
    assert queue.wakers == {}
    await node.tasks.leave("charge")
    with pytest.raises(KeyError):
        await node.tasks.take("charge", 1, 0.0)


async def test_a_node_that_was_woken_for_nothing_waits_again(monkeypatch: pytest.MonkeyPatch) -> None:
    node = connected()
    await node.tasks.open("charge", 15.0)
    takes: list[int] = []
    take = TaskQueue.take

    def counted(self: TaskQueue, most: int) -> list[TaskClaim]:
        takes.append(most)
        return take(self, most)

    monkeypatch.setattr(TaskQueue, "take", counted)
    taking = asyncio.ensure_future(node.tasks.take("charge", 3, 600.0))
    for _ in range(20):
        await asyncio.sleep(0)
    before = len(takes)
    node.tasks._space.task_queues["charge"]._wake()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(takes) == before + 1
    taking.cancel()


async def test_a_node_without_a_connection_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    node = connected()
    await node.tasks.open("charge", 15.0)
    queue = node.tasks._space.task_queues["charge"]
    queue.add(1, b"x")
    monkeypatch.setattr(node.tasks._space, "queue_of_start", lambda _: queue)
    (claim,) = queue.take(1)
    clock_of(node).advance(10)
    node.disconnect()
    node.tasks.keep(claim)
    clock_of(node).advance(5)
    assert [one.deliveries for one in queue.take(1)] == [2]
    node.reconnect()
    clock_of(node).advance(10)
    node.tasks.keep(claim)
    clock_of(node).advance(5)
    assert queue.take(1) == []


async def test_what_is_said_of_a_start_may_be_lost_and_waits_for_the_next_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = Faults.script([(FaultPoint.TASK, Lost())])
    node = InMemoryConnection(InMemoryServer(clock=ManualClock()), "ns", shards=SHARDS, faults=lost)
    await node.tasks.open("charge", 15.0)
    queue = node.tasks._space.task_queues["charge"]
    monkeypatch.setattr(node.tasks._space, "queue_of_start", lambda _: queue)
    queue.add(1, b"x")
    (claim,) = queue.take(1)
    node.tasks.done(claim)
    assert queue.taken == 1, "it was lost"
    node.disconnect()
    node.tasks.done(claim)
    assert queue.taken == 1
    node.reconnect()
    assert queue.taken == 0
    node.tasks.hurry("of another server")
