"""What a shard's inbox hears of tells: it reads once after a gap, and then goes on from what it hears."""

import asyncio
from typing import Any, cast

from aether.config import RuntimeConfig
from aether.ports import InboxBatch
from aether.runtime.counters import Counters
from aether.runtime.shard_inbox import ShardInbox
from aether.system.clock import SystemClock


class Empty:
    """An inbox without a tell to the shard, that counts what it is asked."""

    def __init__(self, *, has_tell: bool) -> None:
        self.reads = 0
        self._has_tell = has_tell

    async def applied_mark(self, _: int) -> int:
        return 3

    async def tells(self, _: int, __: int) -> InboxBatch:
        self.reads += 1
        return InboxBatch([], False)

    async def has_tell(self, _: int, __: int) -> bool:
        return self._has_tell


async def reads_of(stream: Empty, *heard: tuple[int, int]) -> int:
    unused = cast(Any, None)
    inbox = ShardInbox(
        0, 1, cast(Any, stream), receive=unused, clock=SystemClock(), config=RuntimeConfig(), counters=Counters(),
        dead_letters=unused, jitter=lambda: 0.0, may_apply=lambda: True,
    )  # fmt: skip
    task = asyncio.ensure_future(inbox.run())
    await asyncio.sleep(0)
    for after, until in heard:
        for _ in range(10):
            await asyncio.sleep(0)
        inbox.hear(after, until, None)
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    return stream.reads


async def test_after_a_gap_it_reads_once() -> None:
    assert await reads_of(Empty(has_tell=False), (10, 12), (12, 15), (15, 20)) == 1 + 1


async def test_what_a_replica_does_not_show_yet_is_read_again() -> None:
    assert await reads_of(Empty(has_tell=True), (10, 12), (12, 15), (15, 20)) == 1 + 3
