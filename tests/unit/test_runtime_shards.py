"""Shards that come and go: what a runtime takes, gives up, forgets, and whom it answers."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from aether import ActorId, Runtime, Unavailable
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import FaultPoint, Faults, Lost
from aether.memory.server import InMemoryServer
from aether.names import SHARDS_DEFAULT, shard_of
from aether.ports import Delivery, NotSent, Subscription
from aether.wire import Answer, Command, decode_answer, encode_command
from tests.support.actors import GATES, Account, Deposited, model
from tests.support.gated_store import GatedStore
from tests.support.nodes import QUIET, append_from_outside, command, history, node, send, until
from tests.support.slow_snapshots import SlowSnapshots

ALICE = ActorId("account", "alice")
ALICES = shard_of(ALICE, SHARDS_DEFAULT)
WAITER = ActorId("waiter", "w")
WAITERS = shard_of(WAITER, SHARDS_DEFAULT)
ACCOUNT = model.actor_type("account")
PATIENT_S = 60.0
"""Longer than the test may take: a caller that waits so long has not been answered."""


def asked(client: InMemoryConnection, actor_id: ActorId, made: Command) -> asyncio.Task[Answer]:
    """A command on its way, as a client sends it, once."""

    async def ask() -> Answer:
        return decode_answer(await client.transport.request(actor_id, encode_command(made), PATIENT_S))

    return asyncio.ensure_future(ask())


async def quiet() -> None:
    """Let everything go as far as it goes by itself."""
    for _ in range(50):
        await asyncio.sleep(0)


def same_shard_as(actor_id: ActorId, kind: str) -> ActorId:
    """Another actor of a shard."""
    shard = shard_of(actor_id, SHARDS_DEFAULT)
    found = (ActorId(kind, f"k{n}") for n in range(100_000))
    return next(each for each in found if each != actor_id and shard_of(each, SHARDS_DEFAULT) == shard)


class SlowToLeave:
    """A subscription whose end waits for the test."""

    def __init__(self, inner: Subscription, gate: asyncio.Event) -> None:
        self._inner = inner
        self._gate = gate

    async def stop(self) -> None:
        """When the test lets it."""
        await self._gate.wait()
        await self._inner.stop()


async def test_no_caller_is_answered_before_a_shard_is_served_and_after_it_was_left() -> None:
    server = InMemoryServer()
    client = InMemoryConnection(server, "tests")
    async with node(server, shards=()) as runtime:
        with pytest.raises(NotSent):
            await asked(client, ALICE, command("deposit", amount=1))
        await runtime.serve_shard(ALICES)
        assert bytes((await asked(client, ALICE, command("deposit", amount=1))).value) == b"1"
        with pytest.raises(NotSent):
            await asked(client, WAITER, command("count_now"))
        await runtime.leave_shard(ALICES)
        with pytest.raises(NotSent):
            await asked(client, ALICE, command("deposit", amount=1))
        await runtime.leave_shard(ALICES)


async def test_serving_a_shard_twice_takes_its_commands_once() -> None:
    server = InMemoryServer()
    client = InMemoryConnection(server, "tests")
    async with node(server, shards=()) as runtime:
        await runtime.serve_shard(ALICES)
        await runtime.serve_shard(ALICES)
        await quiet()
        assert bytes((await asked(client, ALICE, command("deposit", amount=1))).value) == b"1"
        assert runtime.counters.commands == 1


async def test_leaving_a_shard_takes_what_was_delivered_and_it_is_answered() -> None:
    server = InMemoryServer()
    client = InMemoryConnection(server, "tests")
    async with node(server, shards=()) as runtime:
        await runtime.serve_shard(ALICES)
        sent = [asked(client, ALICE, command("deposit", amount=1)) for _ in range(20)]
        await asyncio.sleep(0)
        assert runtime.counters.commands == 0
        await runtime.leave_shard(ALICES)
        assert runtime.counters.commands == 20
        assert [machine.actor_id for machine in runtime.get_active_vms(ALICES)] == [ALICE]
        answers = await asyncio.gather(*sent)
        assert [int(bytes(answer.value)) for answer in answers] == list(range(1, 21))


async def test_a_leaving_that_was_cancelled_leaves_nothing_subscribed_once_the_shard_is_abandoned() -> None:
    server, gate = InMemoryServer(), asyncio.Event()
    client = InMemoryConnection(server, "tests")
    connection: Any = InMemoryConnection(server, "tests")
    serve = connection.transport.serve

    async def slow(shard: int, receive: Callable[[Delivery], None]) -> Subscription:
        return SlowToLeave(await serve(shard, receive), gate)

    connection.transport.serve = slow
    runtime = Runtime(connection, connection.event_store, QUIET, shards=())
    runtime.load_model(model)
    async with connection, runtime:
        await runtime.serve_shard(ALICES)
        assert len(connection.space.append_listeners) == 1
        leaving = asyncio.ensure_future(runtime.leave_shard(ALICES))
        await quiet()
        leaving.cancel()
        await asyncio.wait((leaving,))
        runtime.abandon_shard(ALICES)
        gate.set()
        await quiet()
        assert not connection.space.append_listeners
        with pytest.raises(NotSent):
            await asked(client, ALICE, command("touch"))


async def test_an_abandoned_shard_answers_no_caller_and_gives_its_room_back() -> None:
    GATES["abandoned"] = asyncio.Event()
    server = InMemoryServer()
    client = InMemoryConnection(server, "tests")
    config = replace(QUIET, waiting_max=6, mailbox_max=5)
    async with node(server, shards=(), config=config) as runtime:
        await runtime.serve_shard(WAITERS)
        await runtime.serve_shard(ALICES)
        first = asked(client, WAITER, command("wait_for", gate="abandoned"))
        await until(lambda: runtime.counters.commands == 1)
        await quiet()
        behind = [asked(client, WAITER, command("count_now")) for _ in range(5)]
        await until(lambda: runtime.counters.commands == 6)
        full = await asked(client, ALICE, command("touch"))
        assert full.error is not None
        assert full.error.code == "overloaded"
        answered = runtime.counters.answers
        runtime.abandon_shard(WAITERS)
        assert runtime.get_active_vms(WAITERS) == []
        await quiet()
        assert bytes((await asked(client, ALICE, command("deposit", amount=1))).value) == b"1"
        GATES["abandoned"].set()
        await quiet()
        assert runtime.counters.answers == answered + 1
        assert not any(answer.done() for answer in (first, *behind))
        with pytest.raises(NotSent):
            await asked(client, WAITER, command("count_now"))
        assert await history(runtime, WAITER) == []
        # All room is there again: as many as may wait are taken.
        GATES["abandoned"].clear()
        await runtime.serve_shard(WAITERS)
        again = [asked(client, WAITER, command("wait_for", gate="abandoned"))]
        await quiet()
        again += [asked(client, WAITER, command("count_now")) for _ in range(5)]
        await quiet()
        GATES["abandoned"].set()
        assert [answer.error for answer in await asyncio.gather(*again)] == [None] * 6
        client.close()
        await asyncio.gather(first, *behind, return_exceptions=True)


async def test_abandoning_cancels_an_asynchronous_handler_that_runs(caplog: pytest.LogCaptureFixture) -> None:
    GATES["held"] = asyncio.Event()
    async with node(shards=()) as runtime:
        await runtime.serve_shard(WAITERS)
        unanswered = asyncio.ensure_future(send(runtime, WAITER, command("wait_for", gate="held")))
        await until(lambda: any(not vm.idle for vm in runtime.get_active_vms(WAITERS)))
        await quiet()
        [handler] = [task for task in asyncio.all_tasks() if task.get_name() == f"{WAITER}.wait_for"]
        runtime.abandon_shard(WAITERS)
        await asyncio.wait((handler,))
        assert handler.cancelled()
        await quiet()
        assert not unanswered.done()
        assert caplog.records == []
        unanswered.cancel()


@pytest.mark.parametrize("outcome", ["replayed", "unavailable"])
async def test_a_replay_in_flight_of_an_abandoned_machine_ends_in_silence(
    outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken = False
    faults = Faults(lambda step: Lost() if step is FaultPoint.LAST and broken else None)
    connection: Any = InMemoryConnection(InMemoryServer(), "tests", faults=faults)
    slow = connection.snapshots = SlowSnapshots(connection.snapshots)
    runtime = Runtime(connection, connection.event_store, QUIET, shards=())
    runtime.load_model(model)
    async with connection, runtime:
        with caplog.at_level(logging.INFO):
            await runtime.serve_shard(ALICES)
            unanswered = asyncio.ensure_future(send(runtime, ALICE, command("statement")))
            await slow.asked.wait()
            starting = asyncio.ensure_future(runtime.create_vm(ALICE))
            await asyncio.sleep(0)
            runtime.abandon_shard(ALICES)
            with pytest.raises(Unavailable):
                await starting
            broken = outcome == "unavailable"
            slow.gate.set()
            await quiet()
            assert runtime.get_active_vms() == []
            broken = False
            assert bytes((await send(runtime, ALICE, command("statement"))).value) == b"0"
        assert not unanswered.done()
        assert runtime.counters.actors_not_loaded == 0
        assert caplog.records == []
        unanswered.cancel()


async def test_an_append_in_flight_of_an_abandoned_machine_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    server = InMemoryServer()
    stores: list[GatedStore] = []

    def gated(store: Any) -> GatedStore:
        stores.append(GatedStore(store))
        return stores[0]

    async with node(server, shards=(), wrap=gated) as runtime:
        await runtime.serve_shard(ALICES)
        stores[0].hold = True
        made = command("deposit", amount=5)
        unanswered = asyncio.ensure_future(send(runtime, ALICE, made))
        await until(lambda: len(stores[0].held) == 1)
        with caplog.at_level(logging.INFO):
            runtime.abandon_shard(ALICES)
            await runtime.serve_shard(ALICES)
            stores[0].hold = False
            # The next machine finds it in the history: the same command has its effect once.
            assert bytes((await send(runtime, ALICE, made)).value) == b"5"
            stores[0].release()
            await quiet()
            assert bytes((await send(runtime, ALICE, command("deposit", amount=1))).value) == b"6"
        assert len(await history(runtime, ALICE)) == 2
        assert caplog.records == []
        assert not unanswered.done()
        unanswered.cancel()


async def test_a_shard_that_comes_back_has_none_of_the_machines_that_came_late() -> None:
    server = InMemoryServer()
    blind = replace(QUIET, follow_stored=False)
    async with node(server, shards=(), config=blind) as one, node(server, shards=(), config=blind) as other:
        await one.serve_shard(ALICES)
        await send(one, ALICE, command("deposit", amount=1))
        one.abandon_shard(ALICES)
        # A command that was delivered before the server knew activates the actor once more.
        assert bytes((await send(one, ALICE, command("statement"))).value) == b"1"
        assert len(one.get_active_vms(ALICES)) == 1
        await other.serve_shard(ALICES)
        await send(other, ALICE, command("deposit", amount=10))
        await other.leave_shard(ALICES)
        await one.serve_shard(ALICES)
        assert bytes((await send(one, ALICE, command("statement"))).value) == b"11"


async def test_what_is_stored_is_followed_while_a_shard_is_served_and_not_after() -> None:
    server = InMemoryServer()
    async with node(server, shards=()) as runtime, node(server, shards=()) as other:
        await runtime.serve_shard(ALICES)
        vm = await runtime.create_vm(ALICE)
        await append_from_outside(other, ALICE, ACCOUNT, Deposited(1))
        await until(lambda: vm.version == 1)
        await runtime.leave_shard(ALICES)
        await append_from_outside(other, ALICE, ACCOUNT, Deposited(1))
        await quiet()
        assert vm.version == 1


async def test_active_machines_are_told_by_shard_and_forgotten_when_they_stop() -> None:
    neighbour = same_shard_as(ALICE, "notebook")
    async with node(shards=()) as runtime:
        for actor_id in (ALICE, neighbour, WAITER):
            await runtime.create_vm(actor_id)
        assert [vm.actor_id for vm in runtime.get_active_vms(ALICES)] == [ALICE, neighbour]
        assert [vm.actor_id for vm in runtime.get_active_vms(WAITERS)] == [WAITER]
        assert len(runtime.get_active_vms()) == 3
        assert runtime.get_active_vms(ALICES + 1 if ALICES + 1 != WAITERS else ALICES + 2) == []
        await runtime.stop_vm(ALICE)
        assert [vm.actor_id for vm in runtime.get_active_vms(ALICES)] == [neighbour]
        runtime.abandon_shard(ALICES)
        assert [vm.actor_id for vm in runtime.get_active_vms()] == [WAITER]


async def test_stopping_a_machine_answers_what_was_taken_and_snapshots() -> None:
    GATES["last"] = asyncio.Event()
    async with node(shards=()) as runtime:
        taken = [asyncio.ensure_future(send(runtime, WAITER, command("wait_for", gate="last")))]
        taken += [asyncio.ensure_future(send(runtime, WAITER, command("count_now"))) for _ in range(3)]
        await until(lambda: runtime.counters.commands == 4)
        stopping = asyncio.ensure_future(runtime.stop_vm(WAITER))
        await quiet()
        assert not stopping.done()
        GATES["last"].set()
        await stopping
        assert all(answer.done() for answer in taken)
        assert [int(bytes(answer.result().value)) for answer in taken] == [1, 2, 3, 4]
        assert await runtime.connection.snapshots.load(WAITER) is not None
        assert runtime.get_active_vms() == []
        await runtime.stop_vm(WAITER)


async def test_what_cannot_be_served_is_not_half_served() -> None:
    server = InMemoryServer()
    connection: Any = InMemoryConnection(server, "tests")

    async def refuse(shard: int, receive: Callable[[Delivery], None]) -> Subscription:
        raise Unavailable("no")

    connection.transport.serve = refuse
    runtime = Runtime(connection, connection.event_store, QUIET, shards=())
    runtime.load_model(model)
    async with connection, runtime:
        with pytest.raises(Unavailable):
            await runtime.serve_shard(ALICES)
        await quiet()
        assert not connection.space.append_listeners
        assert not connection.space.serving


async def test_after_a_stop_what_was_served_is_not() -> None:
    server = InMemoryServer()
    client = InMemoryConnection(server, "tests")
    async with node(server, shards=()) as runtime:
        await runtime.serve_shard(ALICES)
        assert await runtime.actor(Account, "alice").deposit(1) == 1
    with pytest.raises(NotSent):
        await asked(client, ALICE, command("touch"))
