"""A request of a client that is made again while it is unavailable, until a deadline.

It says once in the log what it waits for. One event loop; it sends nothing itself.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from aether.calls import SAY_AFTER_S, Caller
from aether.errors import AetherError, DeadlineExceeded, Unavailable, asked_at
from aether.ids import Position
from aether.log_lines import printable
from aether.ports import StoredCommit

T = TypeVar("T")

log = logging.getLogger("aether.client")


class RetryingClient(Protocol):
    """What a request needs of its client. `server` is the server's name for people."""

    @property
    def caller(self) -> Caller: ...  # noqa: D102 - a field
    @property
    def namespace(self) -> str: ...  # noqa: D102 - a field
    @property
    def server(self) -> str: ...  # noqa: D102 - a field
    @property
    def trouble(self) -> str:
        """Why there is no connection to the server now; "" when there is one."""
        ...

    def check(self) -> None:
        """Raise `ClientUnusable` unless the client can be used here and now."""
        ...


class RetriedRequest:
    """Asks for something again while it is unavailable, for so many seconds: `what` is to be `done`. One asker."""

    def __init__(self, client: RetryingClient, closing: asyncio.Event, what: str, done: str, for_s: float) -> None:
        self._client = client
        self._closing = closing
        self._what = what
        self._done = done
        self._for_s = for_s
        self.start_again()

    def start_again(self) -> None:
        """Progress was made: the time runs from now."""
        self._begun_s = asyncio.get_running_loop().time()
        self._attempt = 0
        self._said = False
        self._last: Unavailable | None = None

    async def ask(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` gives. Raises its last error, or what it means at the deadline; `ClientUnusable`."""
        while True:
            self._client.check()
            try:
                async with asyncio.timeout_at(self._begun_s + self._for_s):
                    return await ask()
            except Unavailable as error:
                await self._pause(error)
            except TimeoutError:
                self._client.check()
                raise self._conclusion() from None

    async def read_on(
        self, read_after: Callable[[Position], AsyncIterator[list[StoredCommit]]], after: Position
    ) -> AsyncIterator[list[StoredCommit]]:
        """Commits after a position, some at a time; after a lost connection it reads on from where it was.

        Each batch starts the time again. Raises what `ask` raises.
        """
        batches: AsyncIterator[list[StoredCommit]] | None = None

        async def following() -> list[StoredCommit]:
            nonlocal batches
            if batches is None:
                batches = read_after(after)
            try:
                return await anext(batches, [])
            except BaseException:  # it is over then, and another one goes on from `after`
                batches = None
                raise

        while commits := await self.ask(following):
            yield commits
            after = commits[-1].position
            self.start_again()

    async def _pause(self, error: Unavailable) -> None:
        self._client.check()
        self._last = error
        delay_s = self._client.caller.retry.delay_s(self._attempt, random.random())  # noqa: S311 - no secret
        self._attempt += 1
        waited_s = asyncio.get_running_loop().time() - self._begun_s
        if waited_s + delay_s >= self._for_s:
            raise self._conclusion() from None
        if waited_s > SAY_AFTER_S and not self._said:
            self._said = True
            text = "%s cannot be %s yet, after %.1f s (namespace %s at %s): %s"
            log.warning(
                text, printable(self._what), self._done, waited_s, self._client.namespace, self._client.server, error
            )
        with suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._closing.wait()

    def _conclusion(self) -> AetherError:
        """What to raise at the deadline: nothing was stored by reading, whatever it came to."""
        text = f"{self._what} could not be {self._done} within {self._for_s:g} s"
        why = self._client.trouble or (self._last.message if self._last is not None else "")
        if why:
            error: AetherError = Unavailable(f"{text}: {why}")
        else:
            known = self._done == "read"
            error = DeadlineExceeded(f"{text}: the server does not answer", outcome_known=known)
        return asked_at(error, self._client.namespace, self._client.server)
