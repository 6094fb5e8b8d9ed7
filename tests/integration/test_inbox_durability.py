"""What the inbox gives is on the disk, where the server's acknowledgement does not say so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aether.errors import Unavailable
from aether.ids import ActorId
from aether.jetstream.adapters import JetStreamConnection
from aether.ports import START, Committed
from tests.contract.harness import payload_of, publish
from tests.support.durable import Durable
from tests.support.jetstream import Sessions, node
from tests.support.members import soon
from tests.support.nats_server import NatsServer

ALICE = ActorId("account", "alice")


@asynccontextmanager
async def waiting(server: NatsServer, namespace: str) -> AsyncIterator[tuple[JetStreamConnection, Durable, Durable]]:
    """A node, and the durabilities of commits and of the inbox that it waits for."""
    commits, inbox = Durable(), Durable()
    async with node(server.url, namespace) as made:
        made.wait_for(commits, inbox)
        yield made, commits, inbox


async def held_back(asked: Awaitable[Any], durable: Durable, until: int) -> Any:
    """What is asked for, which comes when it is durable, and not before."""
    asking = asyncio.ensure_future(asked)
    await soon(lambda: durable.waiting == 1)
    durable.reach(until - 1)
    assert durable.waiting == 1
    assert not asking.done()
    durable.reach(until)
    return await asking


async def test_a_receipt_comes_when_the_tell_is_on_the_disk(nats_server: NatsServer, namespace: str) -> None:
    async with waiting(nats_server, namespace) as (made, _, inbox):
        assert await held_back(made.inbox.send(3, b"a", "a"), inbox, 1) == 1


async def test_a_tell_is_applied_when_it_is_on_the_disk(nats_server: NatsServer, namespace: str) -> None:
    async with waiting(nats_server, namespace) as (made, _, inbox), node(nats_server.url, namespace) as other:
        await other.inbox.send(3, b"a", "a")
        await other.inbox.send(3, b"b", "b")
        batch = await held_back(made.inbox.tells(3, 0), inbox, 2)
        assert [one.payload for one in batch.messages] == [b"a", b"b"]


async def test_a_shard_may_send_when_its_mark_is_on_the_disk(nats_server: NatsServer, namespace: str) -> None:
    async with waiting(nats_server, namespace) as (made, _, inbox):
        mark = await held_back(made.inbox.claim_relay(3, b"mark", 0), inbox, 1)
        assert await made.inbox.relay(5, 3, b"a", mark) == 2, "a relayed tell need not be: it is relayed again"


async def test_a_mark_says_nothing_of_commits_that_are_not_on_the_disk(nats_server: NatsServer, namespace: str) -> None:
    async with waiting(nats_server, namespace) as (made, commits, _), node(nats_server.url, namespace) as other:
        assert await made.inbox.end_of_commits() == 0
        await stored(other)
        assert await held_back(made.inbox.end_of_commits(), commits, 1) == 1


async def test_what_cannot_be_synced_is_unavailable(nats_server: NatsServer, namespace: str) -> None:
    async with waiting(nats_server, namespace) as (made, _, inbox):
        asking = asyncio.ensure_future(made.inbox.send(3, b"a", "a"))
        await soon(lambda: inbox.waiting == 1)
        inbox.reach(0, "the disk")
        with pytest.raises(Unavailable, match="the disk"):
            await asking


async def stored(made: JetStreamConnection) -> None:
    """One commit."""
    outcome = await publish(made.event_store, ALICE, payload_of(ALICE, 1), START)
    assert isinstance(outcome, Committed)


async def test_a_receipt_is_of_the_connection_that_the_tell_was_stored_on(
    own_server: NatsServer, namespace: str
) -> None:
    """Between two connections there may have been a power cut, and the sequence may be another tell's."""
    async with waiting(own_server, namespace) as (made, _, inbox):
        sessions = Sessions(made.nats)
        asking = asyncio.ensure_future(made.inbox.send(3, b"a", "a"))
        await soon(lambda: inbox.waiting == 1)
        own_server.kill()
        own_server.start()
        await sessions.back()
        inbox.reach(1)
        with pytest.raises(Unavailable, match="connection was lost"):
            await asking
