"""A member whose background work meets an unexpected error: it goes on serving, or it fails as a whole."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from aether import background
from aether.cluster.heartbeat import Heartbeat
from aether.core.backoff import Backoff
from aether.core.cluster.ownership import Ownership
from aether.memory.server import InMemoryServer
from aether.memory.table import InMemoryTable
from aether.runtime.registry import Registry
from aether.system.environment import is_compiled
from tests.support.members import SHARDS, member, soon
from tests.support.nodes import QUIET, node, until


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long before a task is started again."""
    monkeypatch.setattr(background, "AGAIN", Backoff(first_s=0.01, cap_s=0.01))


ALL = set(range(SHARDS))


def broken(*_: Any, **__: Any) -> Any:
    raise LookupError("a bug")


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Heartbeat, "_write"), (Ownership, "decide"), (Ownership, "member_observed"), (Ownership, "completed")],
)
async def test_what_cannot_be_done_again_fails_the_member(
    owner: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = InMemoryServer()
    async with member(server, "a") as a:
        await soon(lambda: a.answering() == ALL)
        monkeypatch.setattr(owner, name, broken)
        if name == "completed":
            a.connection.disconnect()
            a.connection.reconnect()
        await asyncio.wait((a.cluster.failed,), timeout=10)
        with pytest.raises(LookupError):
            a.cluster.failed.result()
        assert a.answering() == set(), "it serves nothing any more"
        monkeypatch.undo()


async def test_a_lease_that_raises_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = InMemoryServer()
    calls: list[int] = []
    create = InMemoryTable.create

    async def sometimes(self: InMemoryTable, key: str, value: bytes, ttl_s: float | None = None) -> int | None:
        if key.startswith("lease"):
            calls.append(1)
            if len(calls) % 2:
                raise LookupError("a bug")
        return await create(self, key, value, ttl_s)

    monkeypatch.setattr(InMemoryTable, "create", sometimes)
    async with member(server, "a") as a:
        await soon(lambda: a.answering() == ALL)
    assert len(calls) > len(ALL)


async def test_passivation_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    if is_compiled():
        pytest.skip("compiled methods cannot be replaced")
    unused_since, calls = Registry.unused_since, list[int]()

    def once(self: Registry, boot_s: float, most: int) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise LookupError("a bug")
        return unused_since(self, boot_s, most)

    monkeypatch.setattr(Registry, "unused_since", once)
    async with node(config=replace(QUIET, idle_passivation_s=0.01)) as runtime:
        await runtime.actor("account", "alice").deposit(1)
        await until(lambda: not runtime.get_active_vms())
        assert runtime.counters.passivations == 1
