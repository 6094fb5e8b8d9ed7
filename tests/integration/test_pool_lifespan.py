"""A model's lifespan in the workers of a real pool."""

import asyncio
import os
import re
from inspect import getsource

import aether
from aether.config import EXIT_CANNOT_BOOT
from tests.support import lasting
from tests.support.jetstream import fresh_namespace
from tests.support.lasting import Asker, model
from tests.support.nats_server import NatsServer
from tests.support.pool import DRAINED, SERVING, Pool

MODEL = "tests.support.lasting:model"
OPENED = re.compile(r"\[(\d+)\] INFO lasting: the pool is open")
CLOSED = re.compile(r"\[(\d+)\] INFO lasting: the pool is closed")


def place(pool: Pool, pattern: re.Pattern[str], pid: int) -> int:
    """Which line of the log says so of a process."""
    return next(n for n, line in enumerate(pool.lines) if (found := pattern.search(line)) and str(pid) in found[0])


async def served_by_another(client: aether.Client, lost: int) -> bool:
    """Ask until another process answers; until it has noticed, the one whose pool is gone fails."""
    while True:
        try:
            if await client.actor(Asker, "a").process() != lost:
                return True
        except aether.ActorFailed:
            await asyncio.sleep(0)


async def test_each_worker_enters_it_before_it_serves_and_exits_it_before_it_has_drained(
    nats_server: NatsServer,
) -> None:
    namespace = fresh_namespace()
    with Pool(MODEL, "--workers", "2", "--nats", nats_server.url, "--namespace", namespace) as pool:
        pids = set(pool.worker_pids(2).values())
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            askers = [client.actor(Asker, f"a{n}").process() for n in range(20)]
            assert set(await asyncio.gather(*askers)) == pids
        assert await asyncio.to_thread(pool.drain) == 0, "".join(pool.lines)
    for pid in pids:
        steps = [place(pool, pattern, pid) for pattern in (OPENED, SERVING, CLOSED)]
        assert steps == sorted(steps)
    assert sum(bool(DRAINED.search(line)) for line in pool.lines) == 2


async def test_a_worker_whose_lifespan_ends_by_itself_is_replaced(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    with Pool(MODEL, "--workers", "2", "--nats", nats_server.url, "--namespace", namespace) as pool:
        pids = set(pool.worker_pids(2).values())
        async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
            lost = await client.actor(Asker, "a").process()
            await client.actor(Asker, "a").break_pool()
            assert await served_by_another(client, lost)
            new = set(await asyncio.to_thread(lambda: pool.worker_pids(3).values()))
            assert len(new - pids) == 1
        assert any("has ended by itself: ExceptionGroup" in line for line in pool.lines)
        assert any("the pool broke" in line for line in pool.lines), "its traceback"
        assert await asyncio.to_thread(pool.drain) == 0, "".join(pool.lines)


async def test_a_lifespan_that_fails_is_a_pool_that_cannot_boot_and_its_line_is_named(nats_server: NatsServer) -> None:
    variables = {**os.environ, "LASTING": "fail"}
    namespace = fresh_namespace()
    pool = Pool(MODEL, "--workers", "1", "--nats", nats_server.url, "--namespace", namespace, variables=variables)
    assert await asyncio.to_thread(pool.process.wait) == EXIT_CANNOT_BOOT
    pool.close()
    raised = next(n for n, text in enumerate(getsource(lasting).splitlines(), 1) if "no database is there" in text)
    said = (
        "the worker cannot serve: the lifespan of the model lasting failed: "
        f"ConnectionRefusedError: no database is there ({lasting.__file__}:{raised})"
    )
    assert any(said in one for one in pool.lines), "".join(pool.lines)
