"""Starting and stopping: whatever happens, what was taken is answered or handed over, and nothing is left behind."""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from aether import ActorId, Overloaded, Runtime, Unavailable
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import Disconnected, FaultPoint, Faults, Late
from aether.memory.server import InMemoryServer
from aether.ports import Delivery, StoredCommit, Subscription
from tests.support.actors import GATES, Account, Waiter, model
from tests.support.nodes import QUIET, command, history, node, send, until

ALICE = ActorId("account", "alice")
W = ActorId("waiter", "w")


class Unstoppable:
    """A subscription that cannot say goodbye."""

    async def stop(self) -> None:
        """Fail."""
        raise Unavailable("the connection is gone")


class OneWayBus:
    """A bus whose subscriptions do not stop cleanly."""

    async def follow_shards(self, shards: Sequence[int], receive: Callable[[StoredCommit], None]) -> Subscription:
        """Follow nothing."""
        return Unstoppable()


class Moody:
    """A transport that refuses to serve one more shard, once."""

    def __init__(self, connection: InMemoryConnection, good: int) -> None:
        self._transport = connection.transport
        self._good = good

    async def serve(self, shard: int, receive: Callable[[Delivery], None]) -> Subscription:
        """Serve, or fail."""
        self._good -= 1
        if self._good == 0:
            raise Unavailable("not now")
        return await self._transport.serve(shard, receive)


def made(connection: Any, **changes: Any) -> Runtime:
    """A runtime over a connection, not started."""
    runtime = Runtime(connection, connection.event_store, replace(QUIET, **changes))
    runtime.load_model(model)
    return runtime


async def test_a_start_that_fails_leaves_nothing_behind_and_can_be_tried_again() -> None:
    connection: Any = InMemoryConnection(InMemoryServer(), "tests")
    connection.transport = Moody(connection, good=3)
    runtime = made(connection)
    with pytest.raises(Unavailable, match="not now"):
        await runtime.start()
    assert not any(connection.space.serving.values())
    await runtime.start()
    assert len([shard for shard, served in connection.space.serving.items() if served]) == connection.shards
    assert await runtime.actor(Account, "alice").deposit(1) == 1
    await runtime.stop()


async def test_a_subscription_that_does_not_stop_does_not_stop_the_drain() -> None:
    connection: Any = InMemoryConnection(InMemoryServer(), "tests")
    connection.bus = OneWayBus()
    runtime = made(connection)
    GATES["bye"] = asyncio.Event()
    await runtime.start()
    held = asyncio.ensure_future(runtime.actor(Waiter, "w").wait_for("bye"))
    await until(lambda: any(vm.actor_id == W and not vm.idle for vm in runtime.get_active_vms()))
    stopping = asyncio.ensure_future(runtime.stop())
    await asyncio.sleep(0)
    GATES["bye"].set()
    await stopping
    assert await held == 1
    assert await connection.snapshots.load(W) is not None


async def test_an_earlier_state_under_way_is_answered_by_a_drain() -> None:
    faults = Faults.script([(FaultPoint.READ, Late(0.02))])
    async with node(faults=faults) as runtime:
        await runtime.actor(Account, "alice").deposit(5)
        asked = asyncio.ensure_future(send(runtime, ALICE, command("aether.state", version=1)))
        await asyncio.sleep(0)
    assert b'"balance":5' in bytes((await asyncio.wait_for(asked, 5)).value)


async def test_earlier_states_count_as_waiting_commands() -> None:
    async with node(config=replace(QUIET, waiting_max=2)) as runtime:
        await runtime.actor(Account, "alice").deposit(5)
        asked = [send(runtime, ALICE, command("aether.state", version=1)) for _ in range(3)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(answer) for answer in answers if isinstance(answer, BaseException)] == [Overloaded]
        await send(runtime, ALICE, command("aether.state", version=1))


async def test_a_drain_that_took_too_long_leaves_no_task_and_can_start_again() -> None:
    connection: Any = InMemoryConnection(InMemoryServer(), "tests")
    runtime = made(connection, drain_timeout_s=0.02)
    GATES["never"] = asyncio.Event()
    before = asyncio.all_tasks()
    await runtime.start()
    stuck = asyncio.ensure_future(send(runtime, W, command("wait_for", gate="never")))
    behind = asyncio.ensure_future(send(runtime, W, command("count_now")))
    await until(lambda: any(not vm.idle for vm in runtime.get_active_vms()))
    waiting = asyncio.ensure_future(runtime.create_vm(W))
    await asyncio.sleep(0)
    await runtime.stop()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(waiting, 5)
    assert asyncio.all_tasks() - before == {stuck, behind}
    assert runtime.get_active_vms() == []
    GATES["never"].set()
    await runtime.start()
    assert await runtime.actor(Waiter, "w").count_now() == 1
    assert not stuck.done()
    stuck.cancel()
    behind.cancel()
    await runtime.stop()


async def test_a_commit_that_a_drain_gave_up_on_has_its_outcome_later_without_harm() -> None:
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
    server = InMemoryServer()
    connection: Any = InMemoryConnection(server, "tests", faults=Faults.script([(FaultPoint.APPEND, Late(60))]))
    runtime = made(connection, drain_timeout_s=0.02)
    await runtime.start()
    message = command("deposit", amount=5)
    unheard = asyncio.ensure_future(send(runtime, ALICE, message))
    await until(lambda: connection.space.last(ALICE) is not None)
    await runtime.stop()
    connection.disconnect()
    before = asyncio.all_tasks()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() - before == set()
    unheard.cancel()
    async with node(server) as next_owner:
        assert bytes((await send(next_owner, ALICE, message)).value) == b"5"
        assert len(await history(next_owner, ALICE)) == 1
    assert errors == []


async def test_a_commit_in_flight_when_the_connection_breaks_is_found_again_by_its_id() -> None:
    faults = Faults.script(
        [(FaultPoint.APPEND, Late(60)), (FaultPoint.LAST, None), (FaultPoint.LAST, Disconnected(0.01))]
    )
    async with node(faults=faults) as runtime:
        connection: Any = runtime.connection
        sent = asyncio.ensure_future(send(runtime, ALICE, command("deposit", amount=5)))
        await until(lambda: connection.space.last(ALICE) is not None)
        connection.disconnect()
        connection.reconnect()
        assert bytes((await asyncio.wait_for(sent, 5)).value) == b"5"
        assert len(await history(runtime, ALICE)) == 1


async def test_deliveries_of_one_waiting_command_are_bounded() -> None:
    GATES["flood"] = asyncio.Event()
    async with node(config=replace(QUIET, mailbox_max=2)) as runtime:
        message = command("wait_for", gate="flood")
        sent = [asyncio.ensure_future(send(runtime, W, message)) for _ in range(4)]
        await until(lambda: sum(one.done() for one in sent) == 2)
        GATES["flood"].set()
        answers = await asyncio.gather(*sent, return_exceptions=True)
        assert [type(answer).__name__ for answer in answers] == ["Answer", "Answer", "Overloaded", "Overloaded"]


async def test_an_actor_that_has_ended_is_freed_at_once() -> None:
    """Its state knows its machine, and the garbage collector comes by rarely in a worker."""
    async with node(model=model) as runtime:
        await send(runtime, ALICE, command("deposit", amount=1))
        machine = await runtime.create_vm(ALICE)
        state = weakref.ref(machine.state)
        await runtime.stop_vm(ALICE)
        assert state() is None
        with pytest.raises(Unavailable, match="not active any more"):
            _ = machine.state


async def test_a_command_from_within_that_comes_just_before_the_stop_is_answered() -> None:
    async with node(shards=()) as runtime:
        made = asyncio.ensure_future(send(runtime, ALICE, command("deposit", amount=1)))
        await asyncio.sleep(0)
        await runtime.stop()
        assert bytes((await asyncio.wait_for(made, 5)).value) == b"1"


async def test_a_machine_is_brought_to_the_version_of_an_event_that_it_was_not_told_of() -> None:
    async with node() as runtime, node() as twin:
        for one in (runtime, twin):
            await one.actor(Account, "alice").deposit(5)
        await twin.actor(Account, "alice").deposit(7)
        behind: Any = runtime.connection
        ahead: Any = twin.connection
        behind.space.histories[ALICE].append(ahead.space.histories[ALICE][-1])
        machine = await runtime.create_vm(ALICE)
        first, second = await history(twin, ALICE)
        await machine.process_event(first)
        assert (machine.version, machine.state.balance) == (1, 5)
        await machine.process_event(second)
        assert (machine.version, machine.state.balance) == (2, 12)
