"""The membership table: rows with compare-and-set, time to live and one ordered watch."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from aether.ports.bus import Subscription


class Row(NamedTuple):
    """A row of the table: `value` is None when it was deleted or expired; `revision` orders all rows."""

    key: str
    value: bytes | None
    revision: int


class Table(Protocol):
    """Compare-and-set key-value with time to live and one ordered watch."""

    async def create(self, key: str, value: bytes, ttl_s: float | None = None) -> int | None:
        """The new row's revision, or None when the key already has a row. Raises `Unavailable` when unknown."""
        ...

    async def update(self, key: str, value: bytes, revision: int, ttl_s: float | None = None) -> int | None:
        """The row's next revision, or None when it is no longer at `revision`. Raises `Unavailable` when unknown."""
        ...

    async def delete(self, key: str, revision: int) -> bool:
        """Whether the row was still at `revision` and is now gone. Raises `Unavailable` when unknown."""
        ...

    async def get(self, key: str) -> Row | None:
        """The live row, for display and tests; ownership is never decided from it."""
        ...

    async def rows(self, prefix: str = "") -> list[Row]:
        """All live rows whose key starts with `prefix`, by key."""
        ...

    async def watch(self, receive: Callable[[Row], None], completed: Callable[[], None] = lambda: None) -> Subscription:
        """First every live row, then changes in revision order; an expiry or deletion has the value None.

        A change that a later one of the same row overtook may be left out: the last change of every row always comes.
        `completed` is called when every row has been delivered as of one revision: after the beginning, and again after
        each time that the watch was interrupted and has caught up.
        """
        ...
