"""One test for each safeguard that nothing else would miss: switch it off and its test fails."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from aether import ActorId, DeadlineExceeded, HistoryRegressed, Overloaded, Rejected, Runtime
from aether.memory.clock import ManualClock
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import Dropped, FaultPoint, Faults, Lost
from aether.memory.server import InMemoryServer
from aether.ports import EventStore
from tests.support.actors import GATES, Account, Deposited, Waiter, model
from tests.support.gated_store import GatedStore
from tests.support.nodes import QUIET, append_from_outside, command, history, node, send, until
from tests.support.slow_snapshots import SlowSnapshots

ALICE = ActorId("account", "alice")
ACCOUNT = model.actor_type("account")


class Gate:
    """Puts a gated store into a node and keeps hold of it."""

    store: GatedStore

    def __call__(self, store: EventStore) -> EventStore:
        """The store, gated."""
        self.store = GatedStore(store)
        return self.store


BLIND = replace(QUIET, follow_stored=False)


async def test_a_command_that_another_owner_committed_is_known_by_following() -> None:
    server = InMemoryServer()
    async with node(server) as one, node(server) as other:
        vm = await one.create_vm(ALICE)
        sent = [command("deposit", amount=amount) for amount in (1, 5)]
        first = [await send(other, ALICE, made) for made in sent]
        await until(lambda: vm.version == 2)
        assert [await send(one, ALICE, made) for made in sent] == first
        await other.stop_vm(ALICE)
        await one.connection.snapshots.delete(ALICE)
        await one.stop_vm(ALICE)
        assert await one.connection.snapshots.load(ALICE) is not None
        assert [await send(one, ALICE, made) for made in sent] == first
        assert len(await history(one, ALICE)) == 2


async def test_a_commit_of_another_heard_of_before_the_own_acknowledgement_is_not_forgotten() -> None:
    gate = Gate()
    async with node(wrap=gate) as runtime:
        await runtime.create_vm(ALICE)
        gate.store.hold = True
        own = asyncio.ensure_future(send(runtime, ALICE, command("deposit", amount=5)))
        await until(lambda: len(gate.store.held) == 1)
        gate.store.hold = False
        await append_from_outside(runtime, ALICE, ACCOUNT, Deposited(10))
        await asyncio.sleep(0)
        gate.store.release()
        assert bytes((await own).value) == b"5"
        assert bytes((await send(runtime, ALICE, command("statement"))).value) == b"15"
        assert runtime.counters.conflicts == 0


async def test_a_commit_heard_of_while_its_actor_is_activated_is_not_forgotten() -> None:
    connection: Any = InMemoryConnection(InMemoryServer(), "tests")
    slow = connection.snapshots = SlowSnapshots(connection.snapshots)
    runtime = Runtime(connection, connection.event_store, QUIET)
    runtime.load_model(model)
    async with connection, runtime:
        asked = asyncio.ensure_future(send(runtime, ALICE, command("statement")))
        await slow.asked.wait()
        await append_from_outside(runtime, ALICE, ACCOUNT, Deposited(10))
        await asyncio.sleep(0)
        slow.gate.set()
        assert bytes((await asked).value) == b"10"


async def test_a_notice_that_was_lost_leaves_no_hole() -> None:
    server = InMemoryServer()
    faults = Faults.script([(FaultPoint.NOTICE, Dropped())])
    async with node(server, faults=faults) as one, node(server) as other:
        vm = await one.create_vm(ALICE)
        await append_from_outside(other, ALICE, ACCOUNT, Deposited(1), Deposited(2))
        await append_from_outside(other, ALICE, ACCOUNT, Deposited(4))
        await until(lambda: vm.version == 3)
        assert vm.state.balance == 7


async def test_a_history_with_a_hole_stops_the_actor() -> None:
    async with node() as runtime:
        connection: Any = runtime.connection
        for _ in range(3):
            await runtime.actor(Account, "alice").deposit(5)
        await runtime.stop_vm(ALICE)
        await runtime.connection.snapshots.delete(ALICE)
        del connection.space.histories[ALICE][1]
        with pytest.raises(HistoryRegressed):
            await runtime.actor(Account, "alice").statement()


async def test_an_id_is_known_when_one_commit_follows_the_snapshot() -> None:
    server = InMemoryServer()
    made = command("deposit", amount=5)
    async with node(server) as one:
        await send(one, ALICE, command("deposit", amount=1))
        first = await send(one, ALICE, made)
        await one.stop_vm(ALICE)
        await append_from_outside(one, ALICE, ACCOUNT, Deposited(3))
        assert await send(one, ALICE, made) == first
        assert len(await history(one, ALICE)) == 3


async def test_ids_of_several_deadlines_are_all_known_after_a_snapshot() -> None:
    async with node() as runtime:
        sent = [command("deposit", amount=1, for_s=for_s) for for_s in (50, 20, 40, 10)]
        first = [await send(runtime, ALICE, made) for made in sent]
        for _ in range(2):
            await runtime.stop_vm(ALICE)
            assert [await send(runtime, ALICE, made) for made in sent] == first
        assert len(await history(runtime, ALICE)) == 4


async def test_an_id_is_known_for_its_margin_and_forgotten_after_it() -> None:
    clock = ManualClock()
    async with node(
        InMemoryServer(clock=clock), config=replace(QUIET, command_log_margin_s=5.0, command_log_max=1)
    ) as runtime:
        made = command("deposit", amount=5, now_s=clock.wall_s())
        await send(runtime, ALICE, made)
        vm = await runtime.create_vm(ALICE)
        clock.advance(13)
        for _ in range(2):
            with pytest.raises(Overloaded):
                await send(runtime, ALICE, command("deposit", amount=1, now_s=clock.wall_s()))
            command_log = vm.fold.command_log
            assert command_log is not None
            assert command_log.get(made.id) is not None
            await runtime.stop_vm(ALICE)
            vm = await runtime.create_vm(ALICE)
        clock.advance(4)
        assert bytes((await send(runtime, ALICE, command("deposit", amount=1, now_s=clock.wall_s()))).value) == b"6"


async def test_commands_that_shared_a_commit_run_again_after_a_conflict_in_the_order_they_came() -> None:
    gate = Gate()
    async with node(wrap=gate, config=BLIND) as runtime:
        await runtime.create_vm(ALICE)
        gate.store.hold = True
        sent = [asyncio.ensure_future(send(runtime, ALICE, command("deposit", amount=1)))]
        await until(lambda: len(gate.store.held) == 1)
        sent += [asyncio.ensure_future(send(runtime, ALICE, command("deposit", amount=n))) for n in (2, 3, 4)]
        await append_from_outside(runtime, ALICE, ACCOUNT, Deposited(100))
        gate.store.release()
        answers = await asyncio.gather(*sent)
        assert [int(bytes(answer.value)) for answer in answers] == [1, 103, 106, 110]
        assert runtime.counters.conflicts == 1


async def test_a_command_whose_deadline_passes_in_the_mailbox_does_not_run() -> None:
    GATES["late"] = asyncio.Event()
    clock = ManualClock()
    async with node(InMemoryServer(clock=clock)) as runtime:
        waiter = ActorId("waiter", "w")
        held = asyncio.ensure_future(send(runtime, waiter, command("wait_for", now_s=clock.wall_s(), gate="late")))
        await until(lambda: any(not vm.idle for vm in runtime.get_active_vms()))
        behind = asyncio.ensure_future(send(runtime, waiter, command("count_now", for_s=2, now_s=clock.wall_s())))
        await asyncio.sleep(0)
        clock.advance(3)
        GATES["late"].set()
        assert bytes((await held).value) == b"1"
        with pytest.raises(DeadlineExceeded):
            await behind
        assert len(await history(runtime, waiter)) == 1


async def test_while_a_history_cannot_be_read_commands_wait_no_longer_than_their_deadline() -> None:
    faults = Faults(lambda step: Lost() if step is FaultPoint.LAST else None)
    async with node(faults=faults) as runtime:
        with pytest.raises(DeadlineExceeded, match="history could not be read"):
            await asyncio.wait_for(send(runtime, ALICE, command("statement", for_s=0.2)), 5)
        assert runtime.get_active_vms() == []


async def test_the_worker_bound_counts_what_waits_and_gives_it_back() -> None:
    GATES["room"] = asyncio.Event()
    async with node(config=replace(QUIET, waiting_max=2)) as runtime:
        for _ in range(3):
            await runtime.actor(Account, "alice").deposit(1)
        held = [asyncio.ensure_future(runtime.actor(Waiter, key).wait_for("room")) for key in "ab"]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as full:
            await runtime.actor(Account, "alice").deposit(1)
        assert full.value.limit == "waiting_max"
        GATES["room"].set()
        assert await asyncio.gather(*held) == [1, 1]
        assert await runtime.actor(Account, "alice").deposit(1) == 4


async def test_no_more_commands_share_a_commit_than_may() -> None:
    gate = Gate()
    async with node(wrap=gate, config=replace(QUIET, turn_commands_max=2)) as runtime:
        answers = await asyncio.gather(*(runtime.actor(Account, "alice").deposit(1) for _ in range(5)))
        assert answers == [1, 2, 3, 4, 5]
        assert max(payload.count(b'"commandid"') for payload in gate.store.published) == 2


async def test_what_was_decided_on_uncommitted_events_waits_for_their_commit() -> None:
    gate = Gate()
    async with node(wrap=gate) as runtime:
        await runtime.create_vm(ALICE)
        gate.store.hold = True
        first = asyncio.ensure_future(send(runtime, ALICE, command("deposit", amount=1)))
        await until(lambda: len(gate.store.held) == 1)
        later = [
            asyncio.ensure_future(send(runtime, ALICE, made))
            for made in (command("deposit", amount=5), command("statement"), command("withdraw", amount=99))
        ]
        await asyncio.sleep(0)
        gate.store.held.pop()()
        assert bytes((await first).value) == b"1"
        await until(lambda: len(gate.store.held) == 1)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(answer.done() for answer in later)
        vm = runtime.get_active_vms()[0]
        assert vm.snapshot() is None
        gate.store.release()
        deposited, stated, refused = await asyncio.gather(*later, return_exceptions=True)
        assert isinstance(refused, Rejected)
        assert deposited == stated
        assert vm.snapshot() is not None


async def test_snapshots_beyond_the_bound_are_left_out_and_counted() -> None:
    async with node(config=replace(QUIET, snapshots_in_flight_max=1)) as runtime:
        for key in "ab":
            await runtime.actor(Account, key).deposit(1)
        first, second = runtime.get_active_vms()
        writing = first.snapshot()
        assert writing is not None
        assert second.snapshot() is None
        await writing
        assert (runtime.counters.snapshots_written, runtime.counters.snapshots_left_out) == (1, 1)
        assert [await runtime.actor(Account, key).statement() for key in "ab"] == [1, 1]


async def test_no_more_commits_are_in_flight_than_may() -> None:
    gate = Gate()
    async with node(wrap=gate, config=replace(QUIET, commits_in_flight_max=2)) as runtime:
        gate.store.hold = True
        sent = [asyncio.ensure_future(runtime.actor(Account, f"a{n}").deposit(1)) for n in range(5)]
        await until(lambda: runtime.counters.commits == 5)
        assert len(gate.store.published) == 2
        gate.store.release()
        assert await asyncio.gather(*sent) == [1] * 5


async def test_no_more_histories_are_read_at_once_than_may() -> None:
    connection: Any = InMemoryConnection(InMemoryServer(), "tests")
    slow = connection.snapshots = SlowSnapshots(connection.snapshots)
    runtime = Runtime(connection, connection.event_store, replace(QUIET, activations_max=2))
    runtime.load_model(model)
    async with connection, runtime:
        asked = [asyncio.ensure_future(runtime.actor(Account, f"a{n}").statement()) for n in range(5)]
        await until(lambda: len(runtime.get_active_vms()) == 5)
        for _ in range(5):
            await asyncio.sleep(0)
        assert slow.loads == 2
        slow.gate.set()
        assert await asyncio.gather(*asked) == [0] * 5


async def test_an_actor_with_commands_waiting_between_two_turns_is_not_idle() -> None:
    async with node(config=replace(QUIET, turn_commands_max=1)) as runtime:
        asked = [asyncio.ensure_future(send(runtime, ALICE, command("statement"))) for _ in range(3)]
        await until(lambda: len(runtime.get_active_vms()) == 1)
        vm = runtime.get_active_vms()[0]
        await until(lambda: vm.idle)
        vm.retire()
        answers = await asyncio.wait_for(asyncio.gather(*asked), 5)
        assert [bytes(answer.value) for answer in answers] == [b"0"] * 3
