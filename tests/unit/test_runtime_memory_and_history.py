"""What leaves memory and comes back: passivation, eviction, snapshots, repeated commands, histories that went wrong."""

import asyncio
import gc
from dataclasses import replace
from enum import Enum

import msgspec
import pytest

from aether import ActorId, HistoryRegressed, InvalidCommand, Model, Overloaded, Runtime, UnreadableEvent
from aether.config import RuntimeConfig
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import FaultPoint, Faults, Late, Lost, StoredUnknown
from aether.memory.server import InMemoryServer
from aether.runtime.snapshots import decode_snapshot
from aether.system.environment import is_compiled
from aether.wire import Answer, Command, Event
from tests.support.actors import GATES, Account, Deposited, Notebook, Waiter, model
from tests.support.nodes import QUIET, append_from_outside, command, history, node, send, until

ALICE = ActorId("account", "alice")
ACCOUNT = model.actor_type("account")


async def repeated(runtime: Runtime, made: Command, first: Answer) -> None:
    """The same command again has the same answer and no second effect."""
    before = await history(runtime, made_actor := ALICE)
    assert await send(runtime, made_actor, made) == first
    assert await history(runtime, made_actor) == before


async def test_a_repeated_command_is_answered_from_the_record() -> None:
    async with node() as runtime:
        made = command("deposit", amount=5)
        first = await send(runtime, ALICE, made)
        await send(runtime, ALICE, command("deposit", amount=1))
        await repeated(runtime, made, first)


async def test_a_repeated_command_is_known_after_passivation_with_a_snapshot() -> None:
    async with node() as runtime:
        made = command("deposit", amount=5)
        first = await send(runtime, ALICE, made)
        await runtime.stop_vm(ALICE)
        assert runtime.get_active_vms() == []
        assert await runtime.connection.snapshots.load(ALICE) is not None
        await repeated(runtime, made, first)


async def test_a_repeated_command_is_known_after_a_kill() -> None:
    server = InMemoryServer()
    made = command("deposit", amount=5)
    async with node(server) as runtime:
        first = await send(runtime, ALICE, made)
        runtime.connection.disconnect()  # type: ignore[attr-defined]  # memory's connection: no snapshot gets out
    async with node(server) as again:
        assert await again.connection.snapshots.load(ALICE) is None
        await repeated(again, made, first)


async def test_a_repeated_command_is_known_after_eviction_and_a_later_snapshot() -> None:
    async with node(config=replace(QUIET, active_vms_max=1, snapshot_every_events=2)) as runtime:
        made = command("deposit", amount=5)
        first = await send(runtime, ALICE, made)
        for n in range(7):
            await send(runtime, ALICE, command("deposit", amount=n + 1))
        await runtime.actor(Account, "bob").deposit(1)
        assert [vm.actor_id.key for vm in runtime.get_active_vms()] == ["bob"]
        await repeated(runtime, made, first)


async def test_ten_thousand_commands_of_one_actor_are_all_remembered() -> None:
    async with node(config=replace(QUIET, mailbox_max=10_000)) as runtime:
        made = [command("deposit", amount=1, for_s=60) for _ in range(10_000)]
        first = await asyncio.gather(*(send(runtime, ALICE, one) for one in made))
        await runtime.stop_vm(ALICE)
        again = await asyncio.gather(*(send(runtime, ALICE, one) for one in made))
        assert again == first
        assert (await runtime.create_vm(ALICE)).version == 10_000


async def test_a_duplicate_of_a_waiting_command_shares_its_outcome() -> None:
    GATES["twin"] = asyncio.Event()
    async with node() as runtime:
        waiter = ActorId("waiter", "w")
        made = command("wait_for", gate="twin")
        both = [asyncio.ensure_future(send(runtime, waiter, made)) for _ in range(2)]
        await runtime.create_vm(ActorId("waiter", "other"))
        GATES["twin"].set()
        answers = await asyncio.gather(*both)
        assert answers[0] == answers[1]
        assert len(await history(runtime, waiter)) == 1


async def test_a_full_record_refuses_new_commands_and_still_answers_old_ones() -> None:
    async with node(config=replace(QUIET, command_log_max=3)) as runtime:
        made = [command("deposit", amount=1) for _ in range(3)]
        first = [await send(runtime, ALICE, one) for one in made]
        with pytest.raises(Overloaded) as refused:
            await send(runtime, ALICE, command("deposit", amount=1))
        assert refused.value.limit == "command_log_max"
        await repeated(runtime, made[0], first[0])


async def test_an_idle_actor_leaves_memory_with_a_snapshot() -> None:
    async with node(config=replace(QUIET, idle_passivation_s=0.04)) as runtime:
        await runtime.actor(Account, "alice").deposit(5)
        vm = runtime.get_active_vms()[0]
        await until(lambda: vm.stopped)
        assert runtime.get_active_vms() == []
        assert runtime.counters.passivations == 1
        assert await runtime.actor(Account, "alice").statement() == 5


async def test_when_no_actor_is_idle_a_new_one_is_refused() -> None:
    GATES["busy"] = asyncio.Event()
    async with node(config=replace(QUIET, active_vms_max=1)) as runtime:
        busy = asyncio.ensure_future(runtime.actor(Waiter, "a").wait_for("busy"))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refused:
            await runtime.actor(Account, "alice").deposit(1)
        assert refused.value.limit == "active_vms_max"
        GATES["busy"].set()
        assert await busy == 1


async def test_the_least_recently_used_actor_goes_first() -> None:
    async with node(config=replace(QUIET, active_vms_max=2)) as runtime:
        for key in ("a", "b", "a", "c"):
            await runtime.actor(Account, key).deposit(1)
        assert sorted(vm.actor_id.key for vm in runtime.get_active_vms()) == ["a", "c"]


async def test_snapshots_are_written_every_n_events_and_replay_starts_from_them() -> None:
    server = InMemoryServer()
    async with node(server, config=replace(QUIET, snapshot_every_events=4)) as runtime:
        for _ in range(9):
            await runtime.actor(Account, "alice").deposit(1)
        raw = await runtime.connection.snapshots.load(ALICE)
        assert raw is not None
        snapshot = decode_snapshot(raw, ACCOUNT.fingerprint)
        assert snapshot is not None
        assert snapshot.version == 8
        runtime.connection.disconnect()  # type: ignore[attr-defined]  # memory's connection
    async with node(server) as again:
        vm = await again.create_vm(ALICE)
        assert (vm.version, vm.state.balance, vm.snapshot_version) == (9, 9, 8)


@pytest.mark.parametrize("garbage", [b"", b"{", b"null", b'{"version":1}', b"\xff\xfe"])
async def test_a_snapshot_that_cannot_be_read_is_ignored(garbage: bytes) -> None:
    async with node() as runtime:
        await runtime.actor(Account, "alice").deposit(5)
        await runtime.stop_vm(ALICE)
        await runtime.connection.snapshots.save(ALICE, garbage)
        assert await runtime.actor(Account, "alice").statement() == 5


async def test_a_snapshot_of_another_shape_is_ignored() -> None:
    server = InMemoryServer()
    async with node(server) as runtime:
        await runtime.actor(Account, "alice").deposit(5)
    other = Model("tests", actors=[Notebook])
    assert other.actor_type("notebook").fingerprint != ACCOUNT.fingerprint
    async with node(server) as runtime:
        raw = await runtime.connection.snapshots.load(ALICE)
        assert raw is not None
        await runtime.connection.snapshots.save(ALICE, raw.replace(ACCOUNT.fingerprint.encode(), b"other"))
        vm = await runtime.create_vm(ALICE)
        assert (vm.state.balance, runtime.counters.snapshots_ignored) == (5, 1)


async def test_a_snapshot_ahead_of_its_history_stops_the_actor() -> None:
    server = InMemoryServer()
    async with node(server) as runtime:
        for _ in range(3):
            await runtime.actor(Account, "alice").deposit(5)
        await runtime.stop_vm(ALICE)
        raw = await runtime.connection.snapshots.load(ALICE)
        assert raw is not None
    async with node(InMemoryServer()) as restored:
        await restored.actor(Account, "alice").deposit(5)
        await restored.stop_vm(ALICE)
        await restored.connection.snapshots.save(ALICE, raw)
        with pytest.raises(HistoryRegressed) as regressed:
            await restored.actor(Account, "alice").deposit(1)
        assert regressed.value.actor == "account/alice"
        assert len(await history(restored, ALICE)) == 1


async def test_an_event_that_cannot_be_read_stops_its_actor_with_its_position() -> None:
    async with node() as runtime:
        await runtime.actor(Account, "alice").deposit(5)
        await runtime.stop_vm(ALICE)
        await runtime.connection.snapshots.delete(ALICE)
    smaller = Model("tests", actors=[Notebook, Waiter])
    assert "account" not in smaller.actor_types
    connection = InMemoryConnection(InMemoryServer(), "tests")
    async with connection, node() as runtime:
        position = await append_from_outside(runtime, ALICE, ACCOUNT, Deposited(1))
        await runtime.event_store.append(ALICE, [_garbled(await history(runtime, ALICE))], position)
        with pytest.raises(UnreadableEvent) as unreadable:
            await runtime.actor(Account, "alice").statement()
        last = await runtime.event_store.last(ALICE)
        assert last is not None
        assert unreadable.value.position == last.position
        with pytest.raises(UnreadableEvent):
            await runtime.actor(Account, "alice").deposit(1)


def _garbled(stored: list[Event]) -> Event:
    return msgspec.structs.replace(stored[-1], id="2", data=msgspec.Raw(b'{"amount":"a lot"}'))


async def test_an_append_from_outside_is_applied_as_it_arrives() -> None:
    async with node() as runtime:
        await runtime.actor(Account, "alice").deposit(5)
        await append_from_outside(runtime, ALICE, ACCOUNT, Deposited(10), Deposited(20))
        vm = runtime.get_active_vms()[0]
        await until(lambda: vm.version == 3)
        assert vm.state.balance == 35
        assert runtime.counters.events_followed == 2
        assert await runtime.actor(Account, "alice").deposit(1) == 36
        assert runtime.counters.conflicts == 0


async def test_without_following_a_conflict_replays_and_the_command_runs_again() -> None:
    async with node(config=replace(QUIET, follow_stored=False)) as runtime:
        await runtime.actor(Account, "alice").deposit(5)
        await append_from_outside(runtime, ALICE, ACCOUNT, Deposited(10))
        assert await runtime.actor(Account, "alice").deposit(1) == 16
        assert runtime.counters.conflicts == 1
        assert [e.version for e in await history(runtime, ALICE)] == [1, 2, 3]


@pytest.mark.parametrize("fault", [Lost(), StoredUnknown(), Late(0.01)])
async def test_an_unknown_append_has_its_effect_once(fault: Lost | StoredUnknown | Late) -> None:
    faults = Faults.script([(FaultPoint.APPEND, fault)])
    async with node(faults=faults) as runtime:
        assert await runtime.actor(Account, "alice").deposit(5) == 5
        assert await runtime.actor(Account, "alice").deposit(5) == 10
        assert [e.version for e in await history(runtime, ALICE)] == [1, 2]


async def test_an_earlier_state_can_be_asked_for() -> None:
    async with node() as runtime:
        for amount in (1, 2, 4):
            await runtime.actor(Account, "alice").deposit(amount)
        seen = [bytes((await send(runtime, ALICE, command("aether.state", version=v))).value) for v in (0, 1, 2, 3)]
        now = await send(runtime, ALICE, command("aether.state"))
    assert [b'"balance":%d' % b in raw for b, raw in zip((0, 1, 3, 7), seen, strict=True)] == [True] * 4
    assert bytes(now.value) == seen[3]


async def test_a_version_that_is_not_there_yet_is_an_error_that_names_both() -> None:
    async with node() as runtime:
        await runtime.actor(Account, "alice").deposit(1)
        for actor_id, asked, latest in ((ALICE, 2, 1), (ALICE, 2**63 - 1, 1), (ActorId("account", "nobody"), 1, 0)):
            with pytest.raises(InvalidCommand, match=f"no version {asked} yet.*at version {latest}") as told:
                await send(runtime, actor_id, command("aether.state", version=asked))
            assert told.value.details == {"path": "version", "asked": asked, "latest": latest}


async def test_stopping_answers_everything_that_was_taken() -> None:
    connection = InMemoryConnection(InMemoryServer(), "tests")
    runtime = Runtime(connection, connection.event_store, QUIET)
    runtime.load_model(model)
    GATES["drain"] = asyncio.Event()
    async with connection:
        await runtime.start()
        held = [asyncio.ensure_future(runtime.actor(Waiter, "w").wait_for("drain"))]
        held += [asyncio.ensure_future(runtime.actor(Waiter, "w").count_now()) for _ in range(5)]
        held += [asyncio.ensure_future(runtime.actor(Account, f"a{n}").deposit(n + 1)) for n in range(20)]
        await asyncio.sleep(0)
        stopping = asyncio.ensure_future(runtime.stop())
        await asyncio.sleep(0)
        GATES["drain"].set()
        await stopping
        assert await asyncio.gather(*held) == [1, 2, 3, 4, 5, 6, *range(1, 21)]
        assert await connection.snapshots.load(ActorId("account", "a3")) is not None


async def test_a_drain_is_bounded() -> None:
    GATES["stuck"] = asyncio.Event()
    async with node(config=RuntimeConfig(drain_timeout_s=0.05)) as runtime:
        stuck = asyncio.ensure_future(runtime.actor(Waiter, "w").wait_for("stuck"))
        await asyncio.sleep(0)
    assert not stuck.done()
    stuck.cancel()


PARTS_OF_AN_ACTOR = ("aether.runtime.machine", "aether.runtime.fold", "aether.runtime.mailbox", "aether.core.actor.")
"""The modules whose objects an active actor has of its own."""


def own_parts(machine: object) -> list[object]:
    """What the runtime keeps for one actor: the machine, and what is reached from it and is no other actor's."""
    parts, found = [machine], [machine]
    while found:
        for other in gc.get_referents(found.pop()):
            is_part = type(other).__module__.startswith(PARTS_OF_AN_ACTOR) and not isinstance(other, Enum | type)
            if is_part and type(other) is not type(machine) and other not in parts:
                parts.append(other)
                found.append(other)
    return parts


async def test_an_idle_active_actor_is_few_and_small_objects() -> None:
    async with node() as runtime:
        await send(runtime, ALICE, command("deposit", amount=5))
        (machine,) = runtime.get_active_vms()
        parts = own_parts(machine)
        assert [type(part).__name__ for part in parts] == ["VirtualMachine", "Fold", "CommandLog", "_Remembered"]
        pointers = 8 * len(parts) if is_compiled() else 0  # a compiled object has one to its methods
        assert sum(type(part).__basicsize__ for part in parts) <= 320 + pointers
