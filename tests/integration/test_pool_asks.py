"""Asks between real workers: a killed one and a rolling restart cost time, and what was asked for happens once."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

import aether
from tests.support.asking import Node, Purse, model
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool
from tests.support.raw_history import raw_events

MODEL = "tests.support.asking:model"
PURSES = 25
"""So few that payments cross: some wait for each other, and one of those is put off."""


def pool_on(server: NatsServer, namespace: str, *options: str) -> Pool:
    return Pool(MODEL, "--workers", "2", "--nats", server.url, "--namespace", namespace, *options)


@dataclass
class Payments:
    """Payments between purses, each sent under an id of its own until it is answered."""

    done: list[str] = field(default_factory=list)
    stopped: bool = False

    async def run(self, client: aether.Client, caller: int) -> None:
        """Pay until told to stop."""
        chooser = random.Random(caller)  # noqa: S311 - a workload, not a secret
        count = 0
        while not self.stopped:
            count += 1
            await self._pay(client, f"c{caller}-{count}", chooser.sample(range(PURSES), 3))

    async def _pay(self, client: aether.Client, command_id: str, purses: list[int]) -> None:
        payer, *payees = (f"p{n}" for n in purses)
        while command_id not in self.done:
            purse = client.actor(Purse, payer, deadline_s=20, command_id=command_id)
            try:
                await purse.pay_each(dict.fromkeys(payees, 1))
            except aether.DeadlineExceeded:
                continue
            self.done.append(command_id)

    async def until_done(self, more: int) -> None:
        """Wait for that many further payments."""
        wanted = len(self.done) + more
        while len(self.done) < wanted:  # noqa: ASYNC110 - the callers above make progress
            await asyncio.sleep(0.01)


@asynccontextmanager
async def payments(url: str, namespace: str) -> AsyncIterator[Payments]:
    async with aether.connect(url, model=model, namespace=namespace) as client:
        paid = Payments()
        callers = [asyncio.create_task(paid.run(client, n)) for n in range(8)]
        yield paid
        paid.stopped = True
        await asyncio.gather(*callers)


async def check(paid: Payments, url: str, namespace: str) -> None:
    """Each payment has one event of the payer and one of each payee, and no money was made or lost."""
    events = [event for history in (await raw_events(url, namespace)).values() for event in history]
    amounts = Counter(dict.fromkeys(paid.done, 0))
    parts: Counter[str] = Counter()
    for event in events:
        amount = event.data["amount"]
        assert isinstance(amount, int)
        amounts[event.causation_id] += amount
        parts[event.causation_id] += 1
    assert set(amounts.values()) == {0}
    assert parts == dict.fromkeys(paid.done, 3)


async def test_a_killed_worker_costs_no_ask_and_repeats_none(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace) as pool:
        async with payments(nats_server.url, namespace) as paid:
            for killed in range(4):
                await paid.until_done(60)
                pids = await asyncio.to_thread(pool.worker_pids, 2 + killed)
                os.kill(pids[killed % 2], signal.SIGKILL)
            await paid.until_done(60)
        assert await asyncio.to_thread(pool.drain) == 0
    await check(paid, nats_server.url, namespace)


async def test_a_rolling_restart_costs_no_ask(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace) as pool:
        async with payments(nats_server.url, namespace) as paid:
            await paid.until_done(60)
            await asyncio.to_thread(pool.worker_pids, 2)
            pool.reload()
            await asyncio.to_thread(pool.worker_pids, 4)
            await paid.until_done(60)
        assert await asyncio.to_thread(pool.drain) == 0
    await check(paid, nats_server.url, namespace)


async def until_held(client: aether.Client, key: str) -> None:
    """Until a query of the purse waits: a handler of it runs."""
    held = False
    while not held:
        try:
            await client.actor(Purse, key, deadline_s=0.2).balance()
        except aether.DeadlineExceeded:
            held = True


async def test_a_pool_drains_although_its_actors_wait_for_each_other(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace) as pool:
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            calls = [client.actor(Purse, f"a{n}", deadline_s=60).ask_to_sleep(f"b{n}", 55.0) for n in range(16)]
            asked = [asyncio.ensure_future(call) for call in calls]
            for n in range(16):
                await until_held(client, f"b{n}")
            assert await asyncio.to_thread(pool.drain) == 0
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)


async def test_a_cycle_over_workers_is_an_error_at_once(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace):
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            path = [f"n{n}" for n in range(8)]
            assert await client.actor(Node, "first").walk(path) == [*reversed(path), "first"]
            async with asyncio.timeout(20):
                with pytest.raises(aether.ActorFailed, match=r"node/n7 asks node/n2: node/n2 waits already"):
                    await client.actor(Node, "first", deadline_s=60).walk([*path, "n2"])
