"""The row that says who makes durable what the server acknowledges."""

import asyncio

import pytest

from aether.core.backoff import Backoff
from aether.errors import Unavailable
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.memory.table import InMemoryTable
from aether.table_keys import SYNCED_BY_KEY, SYNCED_BY_SERVER, SYNCED_BY_WORKERS
from aether.worker import who_syncs
from aether.worker.who_syncs import say_who_syncs


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> InMemoryTable:
    monkeypatch.setattr(who_syncs, "AGAIN", Backoff(first_s=0.0, cap_s=0.0))
    return InMemoryConnection(InMemoryServer(), "ns").table


async def said(table: InMemoryTable) -> tuple[bytes | None, int]:
    row = await table.get(SYNCED_BY_KEY)
    assert row is not None
    return row.value, row.revision


async def test_it_is_written_once_and_when_it_is_another(table: InMemoryTable) -> None:
    await say_who_syncs(table, SYNCED_BY_SERVER)
    first = await said(table)
    await asyncio.gather(*(say_who_syncs(table, SYNCED_BY_SERVER) for _ in range(3)))
    assert await said(table) == first
    await asyncio.gather(*(say_who_syncs(table, SYNCED_BY_WORKERS) for _ in range(3)))
    assert await said(table) == (SYNCED_BY_WORKERS, first[1] + 1)


async def test_it_is_written_when_the_server_answers_again(
    table: InMemoryTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0
    get = table.get

    async def away(key: str) -> object:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise Unavailable("away")
        return await get(key)

    with monkeypatch.context() as patch:
        patch.setattr(table, "get", away)
        await say_who_syncs(table, SYNCED_BY_SERVER)
    assert (tries, await said(table)) == (3, (SYNCED_BY_SERVER, 1))
