"""A worker that takes over shards reads few at once: its member's row is renewed over the same connection."""

import asyncio
from typing import Any, cast

import pytest

from aether.ids import Position
from aether.jetstream import inbox as module
from aether.jetstream.api import Batch
from aether.jetstream.inbox import READS_AT_ONCE, JetStreamInbox
from aether.names import Names


class Server:
    """Answers nothing until it is told to; counts what waits."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.waiting = 0
        self.most = 0
        self.session: object = None

    def listen(self, _: object) -> None:
        """No session ever begins."""

    async def asked(self, *_: Any, **__: Any) -> Any:
        """Count it, and answer with nothing."""
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await self.go_on.wait()
        self.waiting -= 1
        return None


async def test_few_shards_are_read_at_once_and_all_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()

    async def batch(*what: Any, **more: Any) -> Any:
        await server.asked()
        return Batch([], False, 0)

    monkeypatch.setattr(module, "direct_batch", batch)
    monkeypatch.setattr(module, "leader_next", server.asked)
    inbox = JetStreamInbox(cast(Any, server), Names("bank", 64), 1)
    reads = [asyncio.ensure_future(inbox.tells(shard, 0)) for shard in range(20)]
    looks = [asyncio.ensure_future(inbox.next_tell(shard, 0)) for shard in range(20)]
    scans = [asyncio.ensure_future(inbox.commits_that_send(shard, Position(0), Position(9))) for shard in range(20)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert server.waiting == READS_AT_ONCE
    reads[0].cancel()
    server.go_on.set()
    done = await asyncio.gather(*reads, *looks, *scans, return_exceptions=True)
    assert [one for one in done if isinstance(one, BaseException)] == [done[0]]
    assert server.most == READS_AT_ONCE
