"""Handing things to a synchronous receiver: in order, from the event loop, all of them before `stop` returns.

One feed is one subscription of one node; the loop it was made in is its only caller. It must not know what it carries.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Feed(Generic[T]):
    """A queue that empties itself into `receive`, one item a turn of the event loop.

    Made inside the running loop. `stop` calls `leave`, which ends the delivering, then hands over what had arrived.
    """

    def __init__(self, receive: Callable[[T], None], leave: Callable[["Feed[T]"], None]) -> None:
        self._receive = receive
        self._leave = leave
        self._items: deque[T] = deque()
        self._loop = asyncio.get_running_loop()

    def push(self, item: T) -> None:
        """Hand `item` over soon, after those before it."""
        self._items.append(item)
        self._loop.call_soon(self._hand_over)

    def discard(self) -> None:
        """Forget what was not handed over: the connection it was on is gone."""
        self._items.clear()

    async def stop(self) -> None:
        """Leave; all that had arrived has been received when this returns. Idempotent."""
        self._leave(self)
        while self._items:
            self._hand_over()

    def _hand_over(self) -> None:
        if self._items:
            self._receive(self._items.popleft())
