"""Two versions of a model side by side: what only one knows is answered, and final only when the other is gone."""

import asyncio
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

import aether
from aether.connecting import connect_untyped
from aether.core.cluster.deployment import OUTDATED
from aether.errors import AetherError, DeadlineExceeded, UnknownActor, UnknownCommand
from aether.ids import ActorId
from aether.untyped_client import UntypedClient
from tests.support.nats_server import NatsServer
from tests.support.nightly import NIGHTLY
from tests.support.pool import READY, Pool

KEYS = 60
RELOADING = re.compile(r"reloading, one worker after the other")

V1 = """
from dataclasses import dataclass
from aether import Actor, Model, command, event


@dataclass(frozen=True)
class Deposited:
    amount: int


class Account(Actor):
    balance: int = 0

    @command
    def deposit(self, amount: int) -> int:
        self.emit(Deposited(amount))
        return self.balance

    @event
    def deposited(self, e: Deposited) -> None:
        self.balance += e.amount


model = Model("bank", actors=[Account])
"""
V2 = """
from dataclasses import dataclass
from aether import Actor, Model, command, event


@dataclass(frozen=True)
class Deposited:
    amount: int


class Account(Actor):
    balance: int = 0

    @command
    def deposit(self, amount: int, note: str = "") -> int:
        self.emit(Deposited(amount))
        return self.balance

    @command
    def deposit_twice(self, amount: int) -> int:
        self.emit(Deposited(amount))
        self.emit(Deposited(amount))
        return self.balance

    @event
    def deposited(self, e: Deposited) -> None:
        self.balance += e.amount


class Safe(Actor):
    things: int = 0

    @command
    def put(self) -> int:
        self.emit(Deposited(1))
        return self.things

    @event
    def was_put(self, e: Deposited) -> None:
        self.things += e.amount


model = Model("bank", actors=[Account, Safe])
"""
NEW = [
    ("account", "deposit_twice", b'{"amount": 1}'),
    ("safe", "put", b"{}"),
    ("account", "deposit", b'{"amount": 1, "note": "rent"}'),
]


async def outcomes(untyped: UntypedClient, stop: asyncio.Event, *, caller: int) -> Counter[str]:
    """Call what only the second version knows, one after the other, until told to stop; how often each came of it."""
    counts: Counter[str] = Counter()
    while not stop.is_set():
        kind, name, args = NEW[counts.total() % len(NEW)]
        actor_id = ActorId(kind, f"k{caller}-{counts.total() % KEYS}")
        try:
            await untyped.call(actor_id, name, args, deadline_s=15)
        except AetherError as error:
            counts[type(error).__name__] += 1
        else:
            counts["answered"] += 1
    return counts


async def reload(pool: Pool, untyped: UntypedClient, model: Path, code: str, count: int) -> None:
    """Have the pool load other code; the old workers know that they will be replaced when this returns."""
    old = {member["incarnation"] for member in (await untyped.overview()).members}
    await asyncio.to_thread(model.write_text, code)
    pool.process.send_signal(signal.SIGHUP)
    await asyncio.to_thread(pool.wait_for, RELOADING, count)
    # They hear of it by a signal, each when its loop comes to it; then its row says so.
    while any(  # noqa: ASYNC110 - see below
        member["incarnation"] in old and not member.get(OUTDATED) for member in (await untyped.overview()).members
    ):
        await asyncio.sleep(0.01)  # `ps` has no event of its own


@pytest.mark.parametrize("workers", [1, 2, 3] if NIGHTLY else [2])
async def test_a_rolling_deployment_and_its_rollback_refuse_nothing_that_some_worker_knows(
    nats_server: NatsServer, namespace: str, tmp_path: Path, workers: int
) -> None:
    model = tmp_path / "bank_model.py"
    model.write_text(V1)
    options = ("--workers", str(workers), "--nats", nats_server.url, "--namespace", namespace)
    with Pool("bank_model:model", *options, directory=tmp_path) as pool:
        async with connect_untyped(nats_server.url, namespace=namespace) as untyped:
            with pytest.raises(UnknownCommand):
                await untyped.call(ActorId("account", "a"), "deposit_twice", b'{"amount": 1}')
            with pytest.raises(UnknownActor):
                await untyped.call(ActorId("safe", "a"), "put")
            await reload(pool, untyped, model, V2, 1)
            stop = asyncio.Event()
            calling = [asyncio.create_task(outcomes(untyped, stop, caller=n)) for n in range(8)]
            await asyncio.to_thread(pool.wait_for, READY, 2)
            stop.set()
            counts = sum(await asyncio.gather(*calling), Counter[str]())
            assert set(counts) == {"answered"}, counts
            await reload(pool, untyped, model, V1, 2)
            stop = asyncio.Event()
            calling = [asyncio.create_task(outcomes(untyped, stop, caller=n)) for n in range(4)]
            steady = asyncio.create_task(known(untyped, stop))
            await asyncio.to_thread(pool.wait_for, READY, 3)
            stop.set()
            counts = sum(await asyncio.gather(*calling), Counter[str]())
            # After the last worker of the new code has gone it is final, unless an earlier attempt was lost.
            final = {"UnknownCommand", "UnknownActor", "InvalidCommand"}
            assert set(counts) <= {"answered", "DeadlineExceeded", *final}, counts
            assert counts["answered"] > 0, "and before that it is answered"
            assert await steady > 0
            with pytest.raises(UnknownCommand):
                await untyped.call(ActorId("account", "a"), "deposit_twice", b'{"amount": 1}')


async def known(untyped: UntypedClient, stop: asyncio.Event) -> int:
    """Call what both versions know; how often it was answered."""
    answered = 0
    while not stop.is_set():
        await untyped.call(ActorId("account", "steady"), "deposit", b'{"amount": 1}', deadline_s=30)
        answered += 1
    return answered


async def test_at_its_deadline_a_caller_hears_which_workers_have_which_version(
    nats_server: NatsServer, namespace: str, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "bank_model.py").write_text(V1)
    (tmp_path / "new" / "bank_model.py").write_text(V2)
    options = ("--workers", "1", "--nats", nats_server.url, "--namespace", namespace, "--node")
    with (
        Pool("bank_model:model", *options, "old", directory=tmp_path / "old"),
        Pool("bank_model:model", *options, "new", directory=tmp_path / "new"),
    ):
        async with connect_untyped(nats_server.url, namespace=namespace) as untyped:
            refused: list[AetherError] = []
            for n in range(12):
                try:
                    await untyped.call(ActorId("safe", f"s{n}"), "put", deadline_s=1)
                except DeadlineExceeded:
                    raise
                except aether.Unavailable as error:
                    refused.append(error)
            assert 0 < len(refused) < 12
            for each in refused:
                assert "old-0 (this one)" in each.message
                assert "new-0" in each.message
                assert each.message.count("model version ") == 2
