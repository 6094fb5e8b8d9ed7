"""Compare-and-set rows with time to live: `Table`.

A row that ends leaves its mark at the next revision, so that a watcher that was away learns of it; a mark is no row:
`create` writes over it, `update` and `delete` do not find it. Rows expire by the server's clock.
"""

from collections.abc import Callable

from aether.memory.faults import FaultPoint
from aether.memory.feed import Feed
from aether.memory.link import Link
from aether.ports import Row, Subscription


class InMemoryTable:
    """The table of a namespace, as one node sees it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._space = link.space

    async def create(self, key: str, value: bytes, ttl_s: float | None = None) -> int | None:
        """The new row's revision, or None when there is one. Raises `Unavailable` when unknown."""
        return await self._link.call(
            FaultPoint.TABLE_WRITE,
            lambda _: self._space.put(key, value, ttl_s) if self._space.live(key) is None else None,
        )

    async def update(self, key: str, value: bytes, revision: int, ttl_s: float | None = None) -> int | None:
        """The row's next revision, or None when it is no longer at `revision`. Raises `Unavailable` when unknown."""
        return await self._link.call(
            FaultPoint.TABLE_WRITE, lambda _: self._space.put(key, value, ttl_s) if self._at(key, revision) else None
        )

    async def delete(self, key: str, revision: int) -> bool:
        """Whether the row was still at `revision` and is now gone. Raises `Unavailable` when unknown."""
        return await self._link.call(
            FaultPoint.TABLE_WRITE, lambda _: self._at(key, revision) and self._space.put(key, None) > 0
        )

    async def get(self, key: str) -> Row | None:
        """The live row. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.TABLE_READ, lambda _: self._space.live(key))

    async def rows(self, prefix: str = "") -> list[Row]:
        """All live rows whose key starts with `prefix`, by key. Raises `Unavailable`."""
        return await self._link.call(
            FaultPoint.TABLE_READ,
            lambda _: sorted(
                row for row in self._space.rows.values() if row.value is not None and row.key.startswith(prefix)
            ),
        )

    async def watch(self, receive: Callable[[Row], None], completed: Callable[[], None] = lambda: None) -> Subscription:
        """First every live row, then every change, in revision order. Raises `Unavailable`."""
        begun: list[TableWatch] = []
        try:
            await self._link.call(
                FaultPoint.TABLE_READ, lambda _: begun.append(TableWatch(self._link, receive, completed))
            )
        except BaseException:  # cancelled, or lost: nothing could stop it
            for watch in begun:
                await watch.stop()
            raise
        return begun[0]

    def _at(self, key: str, revision: int) -> bool:
        row = self._space.live(key)
        return row is not None and row.revision == revision


class TableWatch:
    """A watch that survives its connection: when it is back, it receives the last state of each row that changed
    meanwhile.

    None in its feed stands for the end of such a catching up.
    """

    def __init__(self, link: Link, receive: Callable[[Row], None], completed: Callable[[], None]) -> None:
        self._link = link
        self._receive = receive
        self._completed = completed
        self._revision = 0
        self._feed: Feed[Row | None] = Feed(self._hand_over, lambda feed: link.space.watchers.pop(feed, None))
        link.on_down[self._pause] = None
        link.on_up[self._resync] = None
        for row in link.space.rows_after(0):
            if row.value is not None:
                self._feed.push(row)
        self._feed.push(None)
        link.space.watchers[self._feed] = None

    async def stop(self) -> None:
        """End it; what had arrived has been received. Idempotent."""
        self._link.on_down.pop(self._pause, None)
        self._link.on_up.pop(self._resync, None)
        await self._feed.stop()

    def _hand_over(self, row: Row | None) -> None:
        if row is None:
            self._completed()
            return
        self._revision = row.revision
        self._receive(row)

    def _pause(self) -> None:
        self._link.space.watchers.pop(self._feed, None)
        self._feed.discard()

    def _resync(self) -> None:
        for row in self._link.space.rows_after(self._revision):
            self._feed.push(row)
        self._feed.push(None)
        self._link.space.watchers[self._feed] = None
