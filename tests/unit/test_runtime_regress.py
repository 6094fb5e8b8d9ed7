"""Histories that went backwards are found, and those that did not are not accused."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from aether import ActorId, HistoryRegressed, Runtime
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from tests.support.actors import Account, Deposited, model
from tests.support.nodes import QUIET, append_from_outside, command, history, node, send, until
from tests.support.slow_snapshots import SlowSnapshots

ALICE = ActorId("account", "alice")


@pytest.mark.parametrize("deposits_before", [0, 1])
async def test_a_snapshot_that_another_owner_wrote_while_the_history_was_looked_up_is_no_regress(
    deposits_before: int,
) -> None:
    server = InMemoryServer()
    connection: Any = InMemoryConnection(server, "tests")
    slow = connection.snapshots = SlowSnapshots(connection.snapshots)
    one = Runtime(connection, connection.event_store, QUIET)
    one.load_model(model)
    async with node(server) as other, one:
        for _ in range(deposits_before):
            await other.actor(Account, "alice").deposit(5)
        asked = asyncio.ensure_future(send(one, ALICE, command("statement")))
        await slow.asked.wait()
        await other.actor(Account, "alice").deposit(5)
        await other.stop_vm(ALICE)
        slow.gate.set()
        assert int(bytes((await asked).value)) == 5 * (deposits_before + 1)
        assert one.counters.events_replayed == 0


async def test_a_history_that_is_shorter_than_what_was_acknowledged_stops_the_actor() -> None:
    async with node() as runtime:
        connection: Any = runtime.connection
        for _ in range(3):
            await runtime.actor(Account, "alice").deposit(5)
        del connection.space.histories[ALICE][1:]
        with pytest.raises(HistoryRegressed, match="version 1"):
            await runtime.actor(Account, "alice").deposit(5)
        assert len(await history(runtime, ALICE)) == 1


async def test_a_history_whose_end_a_replaced_leader_lacks_is_read_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with node(tells=True) as runtime:
        connection: Any = runtime.connection
        for _ in range(3):
            await runtime.actor(Account, "alice").deposit(5)
        connection.inbox.scan_again_s = 3600.0
        stored = connection.space.histories[ALICE]
        connection.space.histories[ALICE] = stored[:1]
        asked = asyncio.ensure_future(runtime.actor(Account, "alice").deposit(5))
        await until(lambda: asked.done() or any("cannot be read now" in one.message for one in caplog.records))
        connection.space.histories[ALICE] = stored
        assert await asked == 20
        assert len(await history(runtime, ALICE)) == 4
        assert runtime.counters.actors_not_loaded == 0


async def test_a_history_that_lost_its_end_and_went_on_elsewhere_stops_the_actor() -> None:
    async with node(config=replace(QUIET, follow_stored=False)) as runtime:
        connection: Any = runtime.connection
        for _ in range(4):
            await runtime.actor(Account, "alice").deposit(5)
        del connection.space.histories[ALICE][1:]
        position = await append_from_outside(runtime, ALICE, model.actor_type("account"), Deposited(1))
        assert position > runtime.get_active_vms()[0].position
        with pytest.raises(HistoryRegressed, match="version 2"):
            await runtime.actor(Account, "alice").deposit(5)


async def test_a_snapshot_of_another_history_at_the_same_position_stops_the_actor() -> None:
    async with node() as runtime:
        await runtime.actor(Account, "alice").deposit_twice(first=1, second=2)
        await runtime.stop_vm(ALICE)
        raw = await runtime.connection.snapshots.load(ALICE)
        assert raw is not None
    async with node() as restored:
        await restored.actor(Account, "alice").deposit(1)
        await restored.stop_vm(ALICE)
        await restored.connection.snapshots.save(ALICE, raw)
        with pytest.raises(HistoryRegressed, match="another version"):
            await restored.actor(Account, "alice").statement()


async def test_a_snapshot_without_any_history_stops_the_actor() -> None:
    async with node() as runtime:
        await runtime.actor(Account, "alice").deposit(1)
        await runtime.stop_vm(ALICE)
        connection: Any = runtime.connection
        connection.space.histories.clear()
        with pytest.raises(HistoryRegressed, match="no history"):
            await runtime.actor(Account, "alice").statement()


async def test_an_echo_that_is_older_than_the_machine_changes_nothing() -> None:
    async with node() as runtime:
        for _ in range(2):
            await runtime.actor(Account, "alice").deposit(5)
        connection: Any = runtime.connection
        vm = runtime.get_active_vms()[0]
        for commit in connection.space.histories[ALICE]:
            vm.stored(commit)
        await until(lambda: vm.idle)
        assert (vm.version, vm.state.balance, runtime.counters.events_followed) == (2, 10, 0)
