"""A pool whose server stores nothing: it is not ready, says why once, its callers know, and it heals without hands."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

import aether
from aether.config import ConnectionConfig
from aether.connecting import connect_untyped
from aether.jetstream.api import Answered, Method, stream_info
from aether.jetstream.connection.nats_connection import NatsConnection, connect
from aether.names import Names
from aether.untyped_client import UntypedClient
from tests.support.actors import Account, model
from tests.support.nats_server import NatsServer
from tests.support.pool import READY, Pool
from tests.support.transfers import Till
from tests.support.transfers import model as transfers_model

GUARD_S = 60.0
NOT_READY = re.compile(r"ERROR aether\.health: not ready: (.*) error=(.*)")
OVER = re.compile(r"WARNING aether\.health: that is over: (.*)")
LIMITED = "jetstream { max_file_store: 4MB }\n"
DENIED = """
authorization {
  users: [
    { user: worker, password: w, permissions: { publish: { deny: ["$KV.AETHER_denied_TABLE.>"] } } }
    { user: client, password: c }
  ]
}
no_auth_user: worker
"""

_create = Method("STREAM.CREATE.{}", Answered)
_delete = Method("STREAM.DELETE.{}", Answered)
_purge = Method("STREAM.PURGE.{}", Answered)
_update = Method("STREAM.UPDATE.{}", Answered)


@contextmanager
def pool_on(server: NatsServer, namespace: str) -> Iterator[Pool]:
    os.environ["AETHER_MEMBER_TTL_S"] = "3"
    try:
        pool = Pool("tests.support.actors:model", "--workers", "2", "--nats", server.url, "--namespace", namespace)
    finally:
        del os.environ["AETHER_MEMBER_TTL_S"]
    with pool:
        yield pool


@asynccontextmanager
async def reached(
    server: NatsServer, namespace: str
) -> AsyncIterator[tuple[aether.Client, UntypedClient, NatsConnection]]:
    config = ConnectionConfig(url=server.url)
    async with (
        aether.connect(server.url, model=model, namespace=namespace) as client,
        connect_untyped(server.url, namespace=namespace) as untyped,
        connect(config) as nats,
    ):
        yield client, untyped, nats


async def states(untyped: UntypedClient) -> dict[str, int]:
    """How many workers are in each state, as `ps` shows them."""
    counts: dict[str, int] = {}
    try:
        members = (await untyped.overview()).members
    except aether.Unavailable:  # there is no table to read
        return counts
    for member in members:
        counts[member["state"]] = counts.get(member["state"], 0) + 1
    return counts


async def until(untyped: UntypedClient, wanted: dict[str, int]) -> None:
    async with asyncio.timeout(GUARD_S):
        while await states(untyped) != wanted:  # noqa: ASYNC110 - `ps` has no event of its own
            await asyncio.sleep(0.05)


async def deposits(client: aether.Client, key: str) -> Any:
    return await client.actor(Account, key, deadline_s=30).deposit(1)


async def test_a_full_server_makes_the_pool_unready_and_room_makes_it_ready(namespace: str) -> None:
    with NatsServer(config=LIMITED) as server, pool_on(server, namespace) as pool:
        async with reached(server, namespace) as (client, untyped, nats):
            assert await deposits(client, "a") == 1
            await until(untyped, {"serving": 2})
            await _create(nats, "FILL", {"name": "FILL", "subjects": ["fill.>"], "storage": "file"})
            while b"error" not in (await nats.request("fill.x", b"x" * 60_000, 5)).data:
                pass
            await until(untyped, {"unready": 2})
            for _ in range(3):  # from the first refusal on to long after the rows have ended
                with pytest.raises(aether.Unavailable, match="insufficient resources"):
                    await client.actor(Account, "a", deadline_s=2).deposit(1)
            why = [member["why"] for member in (await untyped.overview()).members]
            assert all("10023" in each for each in why)
            await _purge(nats, "FILL")
            assert await deposits(client, "a") == 2
            await until(untyped, {"serving": 2})
            assert await client.actor(Account, "a").statement() == 2
    told = [line for line in pool.lines if " ERROR " in line]
    assert len(told) == 2, "one line a worker: " + "".join(told)
    assert len(pool.lines) < 60, "".join(pool.lines)


async def test_a_deleted_table_is_made_anew_and_nothing_stored_is_lost(own_server: NatsServer, namespace: str) -> None:
    with pool_on(own_server, namespace) as pool:
        async with reached(own_server, namespace) as (client, untyped, nats):
            assert await deposits(client, "a") == 1
            await _delete(nats, f"KV_{Names(namespace).table}")
            await asyncio.to_thread(pool.wait_for, NOT_READY, 2)
            assert await deposits(client, "a") == 2
            await until(untyped, {"serving": 2})
            assert [event.version for event, _ in await _history(untyped, "a")] == [1, 2]


async def _history(untyped: UntypedClient, key: str) -> list[Any]:
    return [found async for found in untyped.history(aether.ActorId("account", key))]


async def test_a_deleted_stream_is_made_anew(own_server: NatsServer, namespace: str) -> None:
    with pool_on(own_server, namespace) as pool:
        async with reached(own_server, namespace) as (client, untyped, nats):
            assert await deposits(client, "a") == 1
            await _delete(nats, Names(namespace).stream)
            assert await deposits(client, "never used before") == 1
            await until(untyped, {"serving": 2})
            await asyncio.to_thread(pool.wait_for, OVER)
    assert [line for line in pool.lines if "was made anew, empty" in line]


@pytest.mark.parametrize("method", [_delete, _purge], ids=["deleted", "purged"])
async def test_after_the_stream_of_tells_was_lost_tells_are_relayed_and_applied(
    own_server: NatsServer, namespace: str, method: Method[Answered]
) -> None:
    transfers = "tests.support.transfers:model"
    with Pool(transfers, "--workers", "2", "--nats", own_server.url, "--namespace", namespace) as pool:
        async with (
            aether.connect(own_server.url, model=transfers_model, namespace=namespace) as client,
            connect(ConnectionConfig(url=own_server.url)) as nats,
        ):
            payer = client.actor(Till, "payer", deadline_s=GUARD_S)
            await payer.open(100)
            for number in range(1, 41):
                if number == 21:
                    await _received(client, 20)
                    await method(nats, Names(namespace).inbox)
                await payer.send(f"payment {number}", "payee", 1)
            await _received(client, 40)
            assert await payer.read() == 60
    assert [line for line in pool.lines if "has lost a relay mark" in line]


async def _received(client: aether.Client, amount: int) -> None:
    async with asyncio.timeout(GUARD_S):
        while await client.actor(Till, "payee", deadline_s=GUARD_S).read() != amount:  # noqa: ASYNC110 - it progresses
            await asyncio.sleep(0.05)


async def test_workers_that_may_not_write_the_table_are_not_said_to_be_ready() -> None:
    with NatsServer(config=DENIED) as server:
        url = server.url.replace("nats://", "nats://client:c@")
        async with connect(ConnectionConfig(url=url)):
            pass
        pool = Pool("tests.support.actors:model", "--workers", "2", "--nats", server.url, "--namespace", "denied")
        try:
            found = await asyncio.to_thread(pool.wait_for, NOT_READY, 2)
            assert {match[1] for match in found} == {"the member's row is not renewed"}
            assert all("does not permit" in match[2] for match in found)
            async with connect_untyped(server.url, namespace="denied") as untyped:
                assert (await untyped.overview()).members == []
            assert not [line for line in pool.lines if READY.search(line)]
            assert not [line for line in pool.lines if "serving" in line]
            assert len(pool.lines) < 30, "".join(pool.lines)
        finally:
            assert await asyncio.to_thread(pool.drain) in (0, 1)
            pool.close()


async def test_a_drain_without_a_server_says_so_in_a_few_lines(own_server: NatsServer, namespace: str) -> None:
    with pool_on(own_server, namespace) as pool:
        async with reached(own_server, namespace) as (client, _, _):
            for number in range(150):
                assert await client.actor(Account, f"a{number}").deposit(1) == 1
        before = len(pool.lines)
        own_server.kill()
        await asyncio.to_thread(pool.drain)
    after = pool.lines[before:]
    assert len(after) < 40, "".join(after)
    assert not [line for line in after if line.rstrip().endswith("error=")]
    assert not [line for line in after if "Traceback" in line]


async def test_a_setting_that_was_changed_meanwhile_is_named_and_repair_makes_the_pool_ready(
    own_server: NatsServer, namespace: str
) -> None:
    with pool_on(own_server, namespace) as pool:
        async with reached(own_server, namespace) as (client, untyped, nats):
            assert await deposits(client, "a") == 1
            stream = Names(namespace).stream
            config = (await stream_info(nats, stream)).config or {}
            await _update(nats, stream, {**config, "max_age": 3_600_000_000_000, "sealed": False})
            await asyncio.to_thread(pool.wait_for, NOT_READY, 2)
            why = {str(member.get("why")) for member in (await untyped.overview()).members}
            assert all(f"{stream}: max_age is 3600000000000, needed is 0" in each for each in why)
            assert [one.setting for one in await untyped.repair(change=True)] == ["max_age"]
            await until(untyped, {"serving": 2})
            assert await deposits(client, "a") == 2
