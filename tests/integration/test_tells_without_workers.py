"""A client tells while no worker is there: the receipt comes where the server makes it durable, and the tell is run."""

import asyncio
import os

import pytest

import aether
from aether import DeadlineExceeded
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool
from tests.support.transfers import Till, model

MODEL = "tests.support.transfers:model"


async def received(client: aether.Client, count: int) -> list[str]:
    async with asyncio.timeout(60):
        while len(events := await client.history(Till, "a", deadline_s=60)) < count:  # noqa: ASYNC110 - it progresses
            await asyncio.sleep(0.05)
    return [str(getattr(one.event, "number", "")) for one in events]


async def test_a_receipt_comes_though_no_worker_is_there() -> None:
    namespace = fresh_namespace()
    with NatsServer() as server:
        options = ["--workers", "1", "--nats", server.url, "--namespace", namespace]
        with Pool(MODEL, *options):
            pass
        async with aether.connect(server.url, model=model, namespace=namespace) as client:
            receipts = [await client.tell(Till.take, "a", f"{n}", 1) for n in range(3)]
            assert [one.sequence for one in receipts] == sorted(one.sequence for one in receipts)
            with Pool(MODEL, *options):
                assert await received(client, 3) == ["0", "1", "2"]


async def test_where_workers_sync_the_receipt_waits_for_one() -> None:
    namespace = fresh_namespace()
    with NatsServer() as server:
        variables = {**os.environ, "AETHER_NATS_STORE": str(server.store)}
        options = ["--workers", "1", "--nats", server.url, "--namespace", namespace]
        with Pool(MODEL, *options):
            pass
        with Pool(MODEL, *options, "--sync", "barrier", variables=variables):
            pass
        async with aether.connect(server.url, model=model, namespace=namespace) as client:
            with pytest.raises(DeadlineExceeded) as waited:
                await client.using(command_id="mine", deadline_s=0.5).tell(Till.take, "a", "0", 1)
            assert not waited.value.outcome_known
            again = asyncio.ensure_future(client.using(command_id="mine", deadline_s=60).tell(Till.take, "a", "0", 1))
            with Pool(MODEL, *options, "--sync", "barrier", variables=variables):
                assert (await again).command_id == "mine"
                assert await received(client, 1) == ["0"]
