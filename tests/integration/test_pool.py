"""A pool of forked workers under commands: kills, drains and restarts lose nothing that was acknowledged."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest

import aether
from tests.support.actors import Account, model
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import DRAINED, Pool
from tests.support.raw_history import RawEvent, raw_events

ACCOUNTS = 40
MODEL = "tests.support.actors:model"


def pool_on(server: NatsServer, namespace: str, *options: str, workers: int = 2) -> Pool:
    return Pool(MODEL, "--workers", str(workers), "--nats", server.url, "--namespace", namespace, *options)


@dataclass
class Load:
    """What clients sent and heard: command id -> (account, amount, reply)."""

    acknowledged: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    stopped: bool = False

    async def run(self, client: aether.Client, caller: int) -> None:
        """Deposit until told to stop, each time under an id of our own."""
        chooser = random.Random(caller)  # noqa: S311 - a workload, not a secret
        count = 0
        while not self.stopped:
            count += 1
            command_id, key, amount = (
                f"c{caller}-{count}",
                f"käse {chooser.randrange(ACCOUNTS)}",
                chooser.randrange(1, 9),
            )
            try:
                reply = await client.actor(Account, key, deadline_s=20, command_id=command_id).deposit(amount)
            except aether.DeadlineExceeded:
                self.unknown.add(command_id)
            else:
                self.acknowledged[command_id] = (key, amount, reply)

    async def until_acknowledged(self, more: int) -> None:
        """Wait for that many further acknowledgements."""
        wanted = len(self.acknowledged) + more
        while len(self.acknowledged) < wanted:  # noqa: ASYNC110 - the callers above make progress
            await asyncio.sleep(0)


@asynccontextmanager
async def under_load(url: str, namespace: str) -> AsyncIterator[tuple[Load, aether.Client]]:
    async with aether.connect(url, model=model, namespace=namespace) as client:
        load = Load()
        callers = [asyncio.create_task(load.run(client, n)) for n in range(16)]
        yield load, client
        load.stopped = True
        await asyncio.gather(*callers)


def check(load: Load, stored: dict[str, list[RawEvent]]) -> None:
    """Every acknowledged command once, versions contiguous, replies as the history has them, nothing unexpected."""
    seen: dict[str, tuple[str, int, int]] = {}
    for events in stored.values():
        assert [e.version for e in events] == list(range(1, len(events) + 1))
        balance = 0
        for event in events:
            amount = event.data["amount"]
            assert isinstance(amount, int)
            balance += amount
            assert event.command_id not in seen, "stored twice"
            seen[event.command_id] = (event.source, amount, balance)
    for command_id, (_, amount, reply) in load.acknowledged.items():
        assert command_id in seen, "acknowledged and missing"
        assert seen[command_id][1:] == (amount, reply)
    assert seen.keys() <= load.acknowledged.keys() | load.unknown


@pytest.mark.parametrize("rounds", [4])
async def test_killed_workers_are_replaced_and_nothing_acknowledged_is_lost(
    nats_server: NatsServer, rounds: int
) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace) as pool:
        async with under_load(nats_server.url, namespace) as (load, client):
            for killed in range(rounds):
                await load.until_acknowledged(150)
                pids = await asyncio.to_thread(pool.worker_pids, 2 + killed)
                os.kill(pids[killed % 2], signal.SIGKILL)
            await asyncio.to_thread(pool.worker_pids, 2 + rounds)
            for n in range(ACCOUNTS):
                assert await client.actor(Account, f"käse {n}").statement() >= 0
            await load.until_acknowledged(100)
        assert await asyncio.to_thread(pool.drain) == 0
    check(load, await raw_events(nats_server.url, namespace))
    assert len(load.acknowledged) >= 150 * rounds


async def test_a_drain_under_load_answers_what_it_took_and_the_next_pool_goes_on(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with ExitStack() as pools:
        first = pools.enter_context(pool_on(nats_server, namespace))
        async with under_load(nats_server.url, namespace) as (load, _):
            await load.until_acknowledged(200)
            assert await asyncio.to_thread(first.drain) == 0
            pools.enter_context(pool_on(nats_server, namespace, workers=3))
            await load.until_acknowledged(200)
        assert not load.unknown
    check(load, await raw_events(nats_server.url, namespace))


async def test_scaling_moves_shards_and_fails_nothing(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace, workers=1) as pool:
        async with under_load(nats_server.url, namespace) as (load, _):
            await load.until_acknowledged(100)
            pool.process.send_signal(signal.SIGTTIN)
            await asyncio.to_thread(pool.worker_pids, 2)
            await load.until_acknowledged(100)
            pool.process.send_signal(signal.SIGTTOU)
            await asyncio.to_thread(pool.wait_for, DRAINED)
            await load.until_acknowledged(100)
        assert not load.unknown
    check(load, await raw_events(nats_server.url, namespace))


async def test_a_restarted_server_costs_a_wait_and_nothing_else(own_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(own_server, namespace):
        async with under_load(own_server.url, namespace) as (load, _):
            for _ in range(2):
                await load.until_acknowledged(100)
                own_server.kill()
                own_server.start()
            await load.until_acknowledged(100)
        assert not load.unknown
    check(load, await raw_events(own_server.url, namespace))


async def test_supervisors_that_come_and_go_share_the_shards_and_fail_nothing(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with ExitStack() as pools:
        first = pools.enter_context(pool_on(nats_server, namespace, "--node", "first"))
        async with under_load(nats_server.url, namespace) as (load, _):
            await load.until_acknowledged(100)
            second = pools.enter_context(pool_on(nats_server, namespace, "--node", "second"))
            await load.until_acknowledged(100)
            assert await asyncio.to_thread(first.drain) == 0
            await load.until_acknowledged(100)
        assert not load.unknown
        assert await asyncio.to_thread(second.drain) == 0
    check(load, await raw_events(nats_server.url, namespace))


async def test_a_node_name_that_is_alive_elsewhere_is_refused(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace, "--node", "host"):
        second = pool_on(nats_server, namespace, "--node", "host")
        with pytest.raises(AssertionError, match="alive elsewhere"), second:
            raise RuntimeError("two supervisors have one name")
        assert second.process.wait(timeout=30) == 4
