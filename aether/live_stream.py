"""What the streams of a client have in common: a subscription that belongs to one reader, and how it ends.

A stream without a reference any more, because its reader left its loop, ends its subscription by itself. It belongs
to the event loop that it was entered in; only `_drop` may be called from another thread.
"""

import asyncio
import weakref
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from aether.background import Background
from aether.errors import AetherError
from aether.ports import StoredCommit, Subscription

Begin = Callable[[Callable[[StoredCommit], None]], Awaitable[Subscription]]
"""Subscribes a receiver of commits."""


class LiveStream(ABC):
    """Receives from when it is entered until it is stopped or over. `begin` subscribes.

    Stopped, it gives what it has received and then ends; over, it raises its error once that is read, each time anew.
    """

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._over: AetherError | None = None
        self._stopped = False
        self._entered = False
        self._received = asyncio.Event()
        self._entering = asyncio.Lock()
        self._subscription: Subscription | None = None
        self._when_dropped: weakref.finalize[[asyncio.AbstractEventLoop, Subscription], LiveStream] | None = None

    async def __aenter__(self) -> Self:
        self._stopped = False
        async with self._entering:
            if not self._entered:
                await self._subscribe()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        self._stopped, self._entered = True, False
        self._received.set()
        subscription, self._subscription = self._subscription, None
        dropped, self._when_dropped = self._when_dropped, None
        if dropped is not None:
            dropped.detach()
        if subscription is not None:
            await subscription.stop()

    def __aiter__(self) -> Self:
        return self

    def end(self, error: AetherError) -> None:
        """Receive no more: its reader gets this error."""
        if self._over is None:
            self._over = error
            self._received.set()

    @abstractmethod
    def _receive(self, commit: StoredCommit) -> None:
        """A commit was stored."""

    @abstractmethod
    async def _begun(self) -> None:
        """It is subscribed: read what has to be read before anything is given."""

    async def _subscribe(self) -> None:
        self._subscription = subscription = await self._begin(_weakly(self._receive))
        self._when_dropped = weakref.finalize(self, _drop, asyncio.get_running_loop(), subscription)
        self._when_dropped.atexit = False
        try:
            await self._begun()
        except BaseException:
            await self._stop()
            self._stopped = False  # the next step begins anew
            raise
        self._entered = True
        if self._stopped:  # meanwhile
            await self._stop()

    async def _wait(self) -> None:
        """Wait for something to be received. Raises StopAsyncIteration when nothing comes, or why."""
        if self._over is not None:
            raise self._over
        if self._stopped:
            raise StopAsyncIteration
        self._received.clear()
        await self._received.wait()


def _weakly(receive: Callable[[StoredCommit], None]) -> Callable[[StoredCommit], None]:
    """The method of a stream, which it does not keep alive."""
    method = weakref.WeakMethod(receive)

    def received(commit: StoredCommit) -> None:
        live = method()
        if live is not None:
            live(commit)

    return received


def _drop(loop: asyncio.AbstractEventLoop, subscription: Subscription) -> None:
    """End the subscription of a stream that is gone."""

    with suppress(RuntimeError):  # the loop has ended, and its subscriptions with it
        loop.call_soon_threadsafe(lambda: _DROPPED.once("aether stream dropped", _stopped(subscription)))


async def _stopped(subscription: Subscription) -> None:
    with suppress(AetherError):  # its client is closed, and ended it
        await subscription.stop()


_DROPPED = Background()
