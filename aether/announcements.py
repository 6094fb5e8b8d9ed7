"""The announcements of new owners that a connection has received, and the waits for them. One event loop."""

import asyncio
from collections.abc import Sequence

from aether.aio import Waiters


class Announcements:
    """The last announcement of each shard, in event loop time."""

    def __init__(self) -> None:
        self._last_s: dict[int, float] = {}
        self._waiting: dict[int, Waiters] = {}

    def announced(self, shards: Sequence[int]) -> None:
        """These shards have an owner that begins to answer now."""
        now_s = asyncio.get_running_loop().time()
        for shard in shards:
            self._last_s[shard] = now_s
            waiters = self._waiting.pop(shard, None)
            if waiters is not None:
                waiters.wake()

    def end(self) -> None:
        """End every wait: no announcement will come."""
        waiting, self._waiting = self._waiting, {}
        for waiters in waiting.values():
            waiters.wake()

    async def wait(self, shard: int, since_s: float, timeout_s: float) -> None:
        """Return when the shard was announced after `since_s`, at once if it was already, or in `timeout_s`.

        In the same instant counts as after: uvloop's time has milliseconds only, and to ask once too often is cheap.
        """
        last_s = self._last_s.get(shard)
        if last_s is not None and last_s >= since_s:
            return
        await self._waiting.setdefault(shard, Waiters()).wait(timeout_s)
