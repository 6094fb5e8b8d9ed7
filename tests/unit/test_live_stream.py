"""Streams of events and states whose readers leave early, come back, come twice or are told to stop."""

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from aether import Client, InvalidCommand, Overloaded
from aether.history import EventStream
from aether.state_stream import StateStream
from aether.testing import local_pool
from aether.testing.pool import SHARDS, LocalPool
from tests.support.actors import Account, Deposited, model

Stream = EventStream[Any] | StateStream[Any]


@pytest.fixture
async def pool() -> AsyncIterator[LocalPool]:
    async with local_pool(model, workers=1) as pool:
        yield pool


@pytest.fixture(params=["events", "states"])
def stream(request: pytest.FixtureRequest, pool: LocalPool) -> Stream:
    """A stream of deposits, or of alice's states."""
    return made(pool.client, str(request.param))


def made(client: Client, what: str) -> Stream:
    return client.subscribe(Deposited) if what == "events" else client.follow(Account, "alice")


async def deposit(pool: LocalPool, count: int = 1) -> None:
    for _ in range(count):
        await pool.client.actor(Account, "alice").deposit(1)


def receivers(pool: LocalPool) -> int:
    """Subscriptions of clients to what is stored."""
    return len(pool.server.space(pool.namespace, SHARDS).append_listeners)


async def test_a_reader_that_leaves_its_loop_early_is_sent_nothing_any_more(pool: LocalPool) -> None:
    before = receivers(pool)
    for what in ("events", "states"):
        await deposit(pool)
        reading = asyncio.create_task(first_of(pool.client, what))
        async with asyncio.timeout(5):
            while receivers(pool) == before:  # noqa: ASYNC110 - it makes progress
                await asyncio.sleep(0)
        await deposit(pool)
        await reading
        del reading
        gc.collect()
        async with asyncio.timeout(5):
            while receivers(pool) > before:  # noqa: ASYNC110 - it makes progress
                await asyncio.sleep(0)


async def first_of(client: Client, what: str) -> object:
    async for item in made(client, what):
        return item
    return None


async def test_a_reader_that_waits_is_let_go_when_its_stream_is_stopped(pool: LocalPool, stream: Stream) -> None:
    async with stream:
        if isinstance(stream, StateStream):
            await anext(stream)
        readers = [asyncio.ensure_future(anext(stream, None)) for _ in range(2)]
        await asyncio.sleep(0)
        await stream.stop()
        async with asyncio.timeout(5):
            assert await asyncio.gather(*readers) == [None, None]


async def test_what_was_received_can_be_read_after_the_stop_and_then_it_ends(pool: LocalPool, stream: Stream) -> None:
    async with stream:
        await deposit(pool, 2)
    await deposit(pool)
    async with asyncio.timeout(5):
        assert len([item async for item in stream]) == (2 if isinstance(stream, EventStream) else 3)


async def test_two_readers_that_begin_at_once_share_one_subscription(pool: LocalPool, stream: Stream) -> None:
    before = receivers(pool)
    readers = [asyncio.ensure_future(anext(stream)) for _ in range(2)]
    async with asyncio.timeout(5):
        while receivers(pool) == before:  # noqa: ASYNC110 - it makes progress
            await asyncio.sleep(0)
        await deposit(pool, 2)
        found: list[Any] = await asyncio.gather(*readers)
    assert receivers(pool) == before + 1
    assert len({one.version for one in found}) == 2
    await stream.stop()
    assert receivers(pool) == before


@dataclass(frozen=True)
class Elsewhere:
    """An event of another model."""


@pytest.mark.parametrize("wanted", ["Deposited", Elsewhere, Account, Deposited | Elsewhere, None, [Deposited]])
async def test_what_no_event_of_the_model_is_cannot_be_waited_for(pool: LocalPool, wanted: Any) -> None:
    with pytest.raises(InvalidCommand, match="event_types: no actor of the model tests has the event"):
        pool.client.subscribe(Deposited, wanted)


async def test_a_deadline_that_is_no_number_is_named(pool: LocalPool) -> None:
    with pytest.raises(InvalidCommand, match="deadline_s"):
        await pool.client.follow(Account, "alice", deadline_s="soon").__aenter__()  # type: ignore[call-overload]


async def test_a_reader_that_was_too_slow_hears_so_each_time(pool: LocalPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aether.history.STREAM_EVENTS_MAX", 2)
    async with pool.client.subscribe(Deposited) as events:
        await deposit(pool, 3)
        async with asyncio.timeout(5):
            assert [(await anext(events)).version for _ in range(2)] == [1, 2]
            for _ in range(2):
                with pytest.raises(Overloaded, match="behind"):
                    await anext(events)
