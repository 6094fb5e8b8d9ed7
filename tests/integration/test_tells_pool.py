"""Tells in a real pool: transfers between accounts while workers are killed and the server dies and comes back.

The histories are the judge: each transfer that was sent was received once, in its sender's order, and no money was made
or lost.
"""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

import aether
from tests.support.jetstream import fresh_namespace
from tests.support.nats_cluster import NatsCluster
from tests.support.nats_server import NatsServer
from tests.support.nightly import NIGHTLY
from tests.support.pool import Pool
from tests.support.raw_history import RawEvent, raw_events
from tests.support.transfers import Till, model

TILLS = 24
EACH = 1_000_000
MODEL = "tests.support.transfers:model"
SETTLE_S = 60


@dataclass
class Payments:
    """What clients send, and what they heard of it."""

    acknowledged: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    stopped: bool = False

    async def pay(self, client: aether.Client, payer: int) -> None:
        """Pay from one account to others, one payment after the other, until told to stop."""
        chooser, count = random.Random(payer), 0  # noqa: S311 - a workload, not a secret
        while not self.stopped:
            count += 1
            number, to = f"{payer}-{count}", f"till {chooser.randrange(TILLS)}"
            with suppress(aether.DeadlineExceeded):
                till = client.actor(Till, f"till {payer}", deadline_s=30, command_id=number)
                await till.send(number, to, chooser.randrange(1, 9))
                self.acknowledged.add(number)

    async def tell(self, client: aether.Client, teller: int) -> None:
        """Bring money from outside, by tells of a client."""
        count = 0
        while not self.stopped:
            count += 1
            number = f"outside {teller}-{count}"
            with suppress(aether.DeadlineExceeded, aether.Unavailable):
                await client.tell(Till.take, f"till {count % TILLS}", number, 1)
                self.told.add(number)

    async def until_acknowledged(self, more: int) -> None:
        wanted = len(self.acknowledged) + more
        while len(self.acknowledged) < wanted:  # noqa: ASYNC110 - the payers make progress
            await asyncio.sleep(0.01)


@asynccontextmanager
async def paying(url: str, namespace: str) -> AsyncIterator[Payments]:
    async with aether.connect(url, model=model, namespace=namespace) as client:
        for n in range(TILLS):
            await client.actor(Till, f"till {n}", deadline_s=30).open(EACH)
        payments = Payments()
        tasks = [asyncio.create_task(payments.pay(client, n)) for n in range(TILLS)]
        tasks += [asyncio.create_task(payments.tell(client, n)) for n in range(3)]
        yield payments
        payments.stopped = True
        await asyncio.gather(*tasks)


def moved(stored: dict[str, list[RawEvent]], type_: str) -> list[dict[str, object]]:
    return [e.data for events in stored.values() for e in events if e.type == type_]


def wrong(payments: Payments, stored: dict[str, list[RawEvent]]) -> str:
    """What is wrong with the histories as they are now, or ""."""
    sent = [str(one["number"]) for one in moved(stored, "Sent")]
    received = [str(one["number"]) for one in moved(stored, "Received")]
    if len(set(sent)) < len(sent) or len(set(received)) < len(received):
        return f"twice: {[one for one in received if received.count(one) > 1][:5]}"
    if missing := payments.acknowledged - set(sent):
        return f"acknowledged and not stored: {list(missing)[:5]}"
    if missing := (set(sent) | payments.told) - set(received):
        return f"{len(missing)} lost: {list(missing)[:5]}"
    if made_up := {one for one in received if not one.startswith("outside")} - set(sent):
        return f"made up: {list(made_up)[:5]}"
    for actor, events in stored.items():
        taken = [str(e.data["number"]) for e in events if e.type == "Received"]
        for payer in {one.partition("-")[0] for one in taken}:
            order = [int(one.rpartition("-")[2]) for one in taken if one.partition("-")[0] == payer]
            if order != sorted(order):
                return f"{actor} has the payments of {payer} out of order: {order}"
    balance = sum(int(str(one["amount"])) for one in moved(stored, "Received")) - sum(
        int(str(one["amount"])) for one in moved(stored, "Sent")
    )
    outside = sum(1 for one in received if one.startswith("outside"))
    return "" if balance == outside else f"the money is {balance - outside} off"


async def settled(payments: Payments, url: str, namespace: str) -> tuple[str, int]:
    """What is wrong once all that was told is applied, or when that takes too long; how many payments there were."""
    ends_s = asyncio.get_running_loop().time() + SETTLE_S
    while True:
        try:
            stored = await raw_events(url, namespace)
        except TimeoutError:  # a server that has come back answers late
            if asyncio.get_running_loop().time() > ends_s:
                raise
            continue
        found = wrong(payments, stored)
        if not found or "lost" not in found or asyncio.get_running_loop().time() > ends_s:
            return found, len(moved(stored, "Sent"))
        await asyncio.sleep(0.2)


async def test_killed_workers_neither_lose_nor_repeat_a_transfer() -> None:
    namespace, chance = fresh_namespace(), random.Random(17)  # noqa: S311 - no secret
    with (
        NatsServer() as server,
        Pool(MODEL, "--workers", "3", "--nats", server.url, "--namespace", namespace) as pool,
    ):
        async with paying(server.url, namespace) as payments:
            await payments.until_acknowledged(100)
            for killed in range(5):
                pids = pool.worker_pids(3 + killed)
                os.kill(pids[chance.randrange(3)], signal.SIGKILL)
                await payments.until_acknowledged(150)
        found, count = await settled(payments, server.url, namespace)
        assert found == ""
        assert count > 800


@pytest.mark.parametrize("sync", ["barrier", "server"])
async def test_a_server_that_dies_neither_loses_nor_repeats_a_transfer(sync: str) -> None:
    namespace = fresh_namespace()
    with NatsServer(config="" if sync == "barrier" else "jetstream { sync_interval: always }") as server:
        variables = {**os.environ, "AETHER_NATS_STORE": str(server.store)}
        options = ["--nats", server.url, "--namespace", namespace, "--sync", sync]
        with Pool(MODEL, "--workers", "2", *options, variables=variables):
            async with paying(server.url, namespace) as payments:
                await payments.until_acknowledged(100)
                for _ in range(3):
                    server.kill()
                    server.start()
                    await payments.until_acknowledged(150)
            found, count = await settled(payments, server.url, namespace)
            assert found == ""
            assert count > 500


async def test_a_leader_that_dies_neither_loses_nor_repeats_a_transfer() -> None:
    namespace = fresh_namespace()
    async with NatsCluster() as cluster:
        await cluster.ready()
        options = ["--nats", cluster.url, "--namespace", namespace, "--replicas", "3"]
        with Pool(MODEL, "--workers", "2", *options) as pool:
            async with paying(cluster.url, namespace) as payments:
                await payments.until_acknowledged(100)
                inbox, commits = f"AETHER_{namespace}_INBOX", f"AETHER_{namespace}"
                for stream in (inbox, commits) if NIGHTLY else (inbox,):
                    leader = await cluster.leader(stream)
                    leader.kill()
                    await payments.until_acknowledged(100)
                    await cluster.restart(leader)
                    await cluster.caught_up(stream)
            found, count = await settled(payments, cluster.url.split(",")[0], namespace)
            assert found == ""
            assert count > (300 if NIGHTLY else 200)
            assert pool.process.poll() is None
