"""Keeps one member's row: writes it often enough, and says what is known of it to nobody but the session.

One task. A write that is not acknowledged in time is given up and tried again soon; what came of it the watch tells.
It takes no decision: `aether.core.session` says what to write.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aether.config import ClusterConfig
from aether.core.membership import encode_member
from aether.core.session import Create, OwnSession, Update, Wait
from aether.errors import Unavailable
from aether.names import member_row_key
from aether.ports import Clock, Table

RETRY_S = 0.1
WRITE_TIMEOUT_S = 1.0
"""A renewal that takes longer is tried again: the leader of a replicated table may be another by then."""

log = logging.getLogger("aether.cluster")


class Heartbeat:
    """Renews the row of `own`; `about` gives what it says for people, `active` whether the member wants shards."""

    def __init__(
        self,
        table: Table,
        clock: Clock,
        own: OwnSession,
        config: ClusterConfig,
        *,
        active: Callable[[], bool],
        about: Callable[[], dict[str, Any]],
    ) -> None:
        self._table = table
        self._clock = clock
        self._own = own
        self._config = config
        self._active = active
        self._about = about
        self._due = asyncio.Event()
        self._finishing = False

    def soon(self) -> None:
        """Write again as soon as possible: something about us has changed."""
        self._due.set()

    def finish(self) -> None:
        """Have `run` end after the write that is under way, whose outcome tells what is to be removed."""
        self._finishing = True
        self._due.set()

    async def run(self) -> None:
        """Write until `finish`."""
        every_s = self._config.ttl_s / self._config.renewals_a_ttl
        while not self._finishing:
            self._due.clear()
            stored = await self._write()
            try:
                async with asyncio.timeout(every_s if stored else min(RETRY_S, every_s)):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def remove(self) -> None:
        """Remove the row, unless it is another's by now. After `run` has ended; the caller bounds it.

        Raises `Unavailable` when it cannot be known.
        """
        while (revision := self._own.row_revision) or self._own.unknown:
            if revision and await self._table.delete(member_row_key(self._own.name), revision):
                return
            await asyncio.sleep(RETRY_S)  # a write was under way: the watch tells its revision

    async def _write(self) -> bool:
        write = self._own.write(self._clock.boot_s(), active=self._active(), about=self._about())
        if isinstance(write, Wait):
            return True
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                revision = await self._store(write)
        except (Unavailable, TimeoutError) as error:
            log.info("the member's row was not renewed", extra={"member": self._own.name, "error": str(error)})
            return False
        self._own.answered(revision)
        return revision is not None

    async def _store(self, write: Create | Update) -> int | None:
        key, ttl_s = member_row_key(self._own.name), self._config.ttl_s
        match write:
            case Create(row):
                return await self._table.create(key, encode_member(row), ttl_s)
            case Update(row, revision):
                return await self._table.update(key, encode_member(row), revision, ttl_s)
