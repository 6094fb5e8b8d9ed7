"""Following an actor's state: one suite over a pool in memory and over a real one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import pytest

import aether
from aether import state_stream
from aether.testing import local_pool
from tests.support.actors import Account, model
from tests.support.jetstream import Sessions, fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool
from tests.support.proxy import Proxy

Connect = Callable[[], AbstractAsyncContextManager[aether.Client]]


@pytest.fixture(params=["memory", "jetstream"], scope="module")
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """What gives clients of a pool that runs."""
    if request.param == "memory":
        yield in_memory
        return
    namespace = fresh_namespace()
    run = ("tests.support.actors:model", "--workers", "2", "--namespace", namespace)
    with NatsServer() as server, Pool(*run, "--nats", server.url):
        yield lambda: aether.connect(server.url, model=model, namespace=namespace)


@pytest.fixture
async def client(connect: Connect) -> AsyncIterator[aether.Client]:
    async with connect() as client:
        yield client


@asynccontextmanager
async def in_memory() -> AsyncIterator[aether.Client]:
    async with local_pool(model) as pool:
        yield pool.client


async def test_it_gives_the_state_as_it_is_and_then_after_each_commit(client: aether.Client) -> None:
    alice = client.actor(Account, "alice")
    await alice.deposit(5)
    async with client.follow(Account, "alice") as states:
        await alice.deposit_twice(10, 20)
        await client.actor(Account, "alicia").deposit(1000)
        await alice.withdraw(3)
        with pytest.raises(aether.Rejected):
            await alice.withdraw(1000)
        await alice.deposit(1)
        followed = [await anext(states) for _ in range(4)]
    assert [(one.version, one.state.balance) for one in followed] == [(1, 5), (3, 35), (4, 32), (5, 33)]
    assert followed[-1] == await client.state(Account, "alice")
    assert [one.position for one in followed] == sorted({one.position for one in followed})
    with pytest.raises(aether.StateChangedOutsideEvent):
        followed[0].state.balance = 1


async def test_an_actor_that_has_no_history_yet_has_its_first_state(client: aether.Client) -> None:
    async with client.follow("notebook", "new") as states:
        first = await anext(states)
        assert (first.version, first.position, first.state.lines) == (0, 0, [])
        for line in ("a", "b"):
            await client.actor("notebook", "new").note(line)
        then = [await anext(states) for _ in range(2)]
    assert [one.state.lines for one in then] == [["a"], ["a", "b"]]
    then[0].state.lines.append("c")
    assert then[1].state.lines == ["a", "b"]


async def test_a_reader_that_is_far_behind_goes_on_with_the_latest_state(
    client: aether.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_stream, "COMMITS_BEHIND_MAX", 3)
    slow = client.actor(Account, "slow")
    async with client.follow(Account, "slow") as states:
        for _ in range(10):
            await slow.deposit(1)
        async with client.follow(Account, "slow") as after:  # its first state is the latest
            assert (await anext(after)).version == 10
        assert (await anext(states)).version == 0
        seen = [(await anext(states)).version]
        while seen[-1] < 10:
            seen.append((await anext(states)).version)
        await slow.deposit(1)
        assert (await anext(states)).version == 11
    assert len(seen) < 10
    assert seen == sorted(set(seen))


async def test_it_ends_with_its_client(connect: Connect) -> None:
    async with connect() as client:
        states = client.follow(Account, "ending")
        await anext(states)
        waiting = asyncio.ensure_future(anext(states))
        await asyncio.sleep(0)
        client.untyped.close()
        with pytest.raises(aether.ClientUnusable, match="closed"):
            await waiting
        with pytest.raises(aether.ClientUnusable, match="closed"):
            await anext(states)
        with pytest.raises(aether.ClientUnusable):
            await anext(client.follow(Account, "ending"))


async def test_a_step_that_is_cancelled_loses_nothing(client: aether.Client) -> None:
    async with client.follow(Account, "cancelled") as states:
        await anext(states)
        step = asyncio.ensure_future(anext(states))
        await asyncio.sleep(0)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        await client.actor(Account, "cancelled").deposit(1)
        assert (await anext(states)).version == 1


@pytest.mark.parametrize("deadline_s", [0, -1.0, float("nan"), 1e9])
async def test_a_deadline_that_cannot_be_is_named(client: aether.Client, deadline_s: float) -> None:
    with pytest.raises(aether.InvalidCommand) as refused:
        await anext(client.follow(Account, "a", deadline_s=deadline_s))
    assert refused.value.path == "deadline_s"
    with pytest.raises(aether.UnknownActor):
        client.follow("nobody", "a")


async def test_it_goes_on_over_a_connection_that_was_lost(own_server: NatsServer, namespace: str) -> None:
    run = ("tests.support.actors:model", "--workers", "1", "--nats", own_server.url, "--namespace", namespace)
    with Pool(*run):
        async with (
            Proxy(own_server.port) as proxy,
            aether.connect(proxy.url, model=model, namespace=namespace) as away,
            aether.connect(own_server.url, model=model, namespace=namespace) as client,
            away.follow(Account, "a") as states,
        ):
            assert (await anext(states)).version == 0
            for round_ in range(3):
                sessions = Sessions(cast("Any", away.untyped)._node.nats)
                proxy.cut()
                await sessions.lost()
                for _ in range(5):
                    await client.actor(Account, "a").deposit(1)
                proxy.mend()
                versions = [(await anext(states)).version for _ in range(5)]
                assert versions == [*range(5 * round_ + 1, 5 * round_ + 6)]
