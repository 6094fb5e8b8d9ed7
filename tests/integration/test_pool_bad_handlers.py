"""Workers whose handlers try to end them, or do not end: processes stay, other actors answer, drains drain."""

import asyncio
import re

import pytest

import aether
from tests.support.bad_handlers import Bad, model
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import SERVING, Pool

MODEL = "tests.support.bad_handlers:model"
ACTORS = 8


def pool_on(server: NatsServer, namespace: str) -> Pool:
    return Pool(MODEL, "--workers", "2", "--nats", server.url, "--namespace", namespace)


async def test_no_handler_ends_a_worker(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace) as pool:
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            for n in range(ACTORS):
                bad = client.actor(Bad, f"bad {n}")
                for left in (bad.leave(), bad.leave_later()):
                    with pytest.raises(aether.ActorFailed, match="SystemExit"):
                        await left
                assert await bad.leave_behind() == 1
            for n in range(ACTORS):
                assert await client.actor(Bad, f"bad {n}").say() == 1
        said = re.compile(r"code that no command waits for tried to end the worker")
        await asyncio.to_thread(pool.wait_for, said)
        assert await asyncio.to_thread(pool.drain) == 0, "".join(pool.lines)
        started = [line for line in pool.lines if SERVING.search(line)]
        assert len(started) == 2, "no worker was replaced"


async def test_a_handler_and_a_task_that_do_not_end_are_in_no_drains_way(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace) as pool:
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            with pytest.raises((aether.DeadlineExceeded, aether.ActorFailed)):
                await client.actor(Bad, "stays", deadline_s=1).stay()
            await asyncio.to_thread(
                pool.wait_for, re.compile(r"a handler goes on although.* actor=bad/stays command=stay")
            )
            with pytest.raises(aether.ActorFailed, match="still runs stay"):
                await client.actor(Bad, "stays").say()
            with pytest.raises(aether.DeadlineExceeded):
                await client.actor(Bad, "sleeps", deadline_s=0.5).stay_in_thread()
            assert await client.actor(Bad, "neighbour").say() == 0
        assert await asyncio.to_thread(pool.drain) == 0, "".join(pool.lines)


async def test_what_blocks_a_worker_is_named_and_a_blocking_handler_blocks_nothing(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with pool_on(nats_server, namespace) as pool:
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            working = [asyncio.ensure_future(client.actor(Bad, f"works {n}").work()) for n in range(ACTORS)]
            for n in range(ACTORS):
                assert await client.actor(Bad, f"neighbour {n}").say() == 0
            assert not any(one.done() for one in working)
            assert await asyncio.gather(*working) == [1] * ACTORS
            assert not any("is silent" in line and "command=work" in line for line in pool.lines)
            await client.actor(Bad, "blocks").block()
            named = r"the event loop is silent.* actor=bad/blocks command=block .*at=.*bad_handlers\.py:\d+ in block"
            await asyncio.to_thread(pool.wait_for, re.compile(named))
        assert await asyncio.to_thread(pool.drain) == 0, "".join(pool.lines)
