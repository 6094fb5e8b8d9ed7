"""The orders and the agent in a real pool whose workers are killed all the time."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aether
from examples.agent.model import model as agent
from examples.agent.session import ModelSaid, Session
from examples.orders.bank import Bank
from examples.orders.model import BANK_FILE
from examples.orders.model import model as orders
from examples.orders.order import Order, Step
from examples.orders.stock import Stock
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool

WORKERS = 3
ENDS = {Step.SHIPPED, Step.CANCELLED}
SAID = ["hello there", "weather in Berlin"]
SEEN = ["You said: hello there", "Berlin: rain"]


@asynccontextmanager
async def kills(pool: Pool, every_s: float) -> AsyncIterator[None]:
    """One worker after the other is killed meanwhile."""
    chance, done = random.Random(17), asyncio.Event()  # noqa: S311 - no secret

    async def kill() -> None:
        killed = 0
        while not done.is_set():
            pids = await asyncio.to_thread(pool.worker_pids, WORKERS + killed)
            os.kill(pids[chance.randrange(WORKERS)], signal.SIGKILL)
            killed += 1
            await asyncio.sleep(every_s)

    killing = asyncio.ensure_future(kill())
    yield
    done.set()
    await killing


async def test_orders_end_once_though_workers_are_killed(tmp_path: Path) -> None:
    namespace, count = fresh_namespace(), 40
    environ = {**os.environ, BANK_FILE: str(tmp_path / "bank.sqlite")}
    wanted = {str(n): (1 + n % 3, "4111 0000" if n % 5 == 0 else "4111 1111") for n in range(count)}
    options = ["--workers", str(WORKERS), "--namespace", namespace]
    with (
        NatsServer() as server,
        Pool("examples.orders.model:model", *options, "--nats", server.url, variables=environ) as pool,
    ):
        async with aether.connect(server.url, model=orders, namespace=namespace) as client:

            def order(key: str) -> Order:
                return client.actor(Order, key, deadline_s=60)

            await client.actor(Stock, "tea", deadline_s=60).deliver(50)
            async with kills(pool, 1.5):
                await asyncio.gather(*(order(key).place("tea", n, card, 100) for key, (n, card) in wanted.items()))
                ended = dict[str, Step]()
                async with asyncio.timeout(120):
                    while len(ended) < count:
                        steps = {key: await order(key).status() for key in wanted if key not in ended}
                        ended |= {key: step for key, step in steps.items() if step in ENDS}
                        await asyncio.sleep(0.1)
            shipped = {key for key, step in ended.items() if step is Step.SHIPPED}
            left = sum(wanted[key][0] for key in shipped)
            async with asyncio.timeout(60):
                while (stock := (await client.state(Stock, "tea")).as_dict()) != {
                    "free": 50 - left,
                    "left": left,
                    "held": {},
                }:
                    assert stock["free"] + stock["left"] + sum(stock["held"].values()) == 50
                    await asyncio.sleep(0.1)
            assert Bank(tmp_path / "bank.sqlite").charged() == {key: [100] for key in shipped}
            assert {key for key, (_, card) in wanted.items() if card.endswith("0000")}.isdisjoint(shipped)


async def test_a_conversation_goes_on_though_workers_are_killed() -> None:
    namespace, keys = fresh_namespace(), [f"session {n}" for n in range(8)]
    options = ["--workers", str(WORKERS), "--namespace", namespace]
    with NatsServer() as server, Pool("examples.agent.model:model", *options, "--nats", server.url) as pool:
        async with aether.connect(server.url, model=agent, namespace=namespace) as client:

            async def answers(key: str) -> list[str]:
                found = [one.event async for one in client.history(Session, key, deadline_s=60)]
                return [event.text for event in found if isinstance(event, ModelSaid)]

            async def chat(key: str) -> list[str]:
                for count, text in enumerate(SAID, 1):
                    await client.actor(Session, key, deadline_s=60).say(text)
                    while len(await answers(key)) < count:  # noqa: ASYNC110 - the pool makes progress
                        await asyncio.sleep(0.1)
                return await answers(key)

            async with kills(pool, 1.5), asyncio.timeout(120):
                assert await asyncio.gather(*(chat(key) for key in keys)) == [SEEN] * len(keys)


def run(module: str, server: NatsServer, said: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """A program of the examples, to its end."""
    return subprocess.run(
        [sys.executable, "-m", module],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "AETHER_NATS_URL": server.url, **variables},
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_day_in_the_shop_adds_up(tmp_path: Path) -> None:
    bank = {BANK_FILE: str(tmp_path / "bank.sqlite")}
    with (
        NatsServer() as server,
        Pool("examples.orders.model:model", "--nats", server.url, variables={**os.environ, **bank}) as pool,
    ):
        pool.worker_pids(1)
        day = run("examples.orders.shop", server, **bank)
        assert day.returncode == 0, day.stderr
        assert day.stdout.count("OrderShipped") + day.stdout.count("OrderCancelled") == 30
        assert "40 of 40 packets accounted for" in day.stdout


def test_a_chat_goes_on_where_it_was() -> None:
    with NatsServer() as server, Pool("examples.agent.model:model", "--nats", server.url) as pool:
        pool.worker_pids(1)
        first = run("examples.agent.chat", server, "weather in Lima\n\n")
        assert first.stdout.splitlines() == ["model: Lima: fog"], first.stderr
        second = run("examples.agent.chat", server, "thank you\n\n")
        assert second.stdout.splitlines()[0] == "user: weather in Lima"
        assert second.stdout.splitlines()[-2:] == ["model: Lima: fog", "model: You said: thank you"]
