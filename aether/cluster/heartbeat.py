"""Keeps one member's row: writes it often enough, and reports what is known of it to the session only.

One task. A write that is not acknowledged in time is given up and tried again soon; the watch shows what came of it.
It takes no decision: `aether.core.cluster.session` says what to write.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aether.config import ClusterConfig
from aether.core.cluster.membership import encode_member
from aether.core.cluster.session import Create, MemberSession, Update, Wait
from aether.core.health import Health, Need
from aether.errors import Unavailable, VersionConflict
from aether.log_lines import Repeated, words
from aether.ports import Clock, NotSent, NotStored, Table
from aether.table_keys import member_row_key

RETRY_S = 0.1
WRITE_TIMEOUT_S = 1.0
"""Seconds after which a renewal without an answer is sent again: the replicated table may have a new leader."""

REFUSED_FOR_S = 1.0
"""Seconds of refused renewals after which the member says that it is not ready."""

UNANSWERED_MAX = 5
"""After so many renewals in a row without an answer, over a connection that lasts, the server counts as stuck."""

WITHDRAW_BEFORE_S = 1.0
"""Seconds before the end of its row at which a member that cannot renew it takes no more commands. Callers then find no
worker and know that nothing was done; otherwise they would wait for answers that may not leave."""

log = logging.getLogger("aether.cluster")


class Heartbeat:
    """Renews the row of `own`; `about` gives what it says for people, `active` whether the member wants shards."""

    def __init__(
        self,
        table: Table,
        clock: Clock,
        own: MemberSession,
        config: ClusterConfig,
        *,
        active: Callable[[], bool],
        about: Callable[[], dict[str, Any]],
        health: Health,
        withdraw: Callable[[], None],
    ) -> None:
        self._table = table
        self._clock = clock
        self._own = own
        self._config = config
        self._active = active
        self._about = about
        self._health = health
        self._withdraw = withdraw
        self._withdraws_before_s = min(WITHDRAW_BEFORE_S, config.answers_for_s / 3)
        self._refused_since_s: float | None = None
        self._failures = 0
        self._unanswered = 0
        self._stuck = False
        self._missed = Repeated(log, logging.INFO, "the member's row was not renewed")
        self._due = asyncio.Event()
        self._finishing = False

    def soon(self) -> None:
        """Write again as soon as possible: something about us has changed."""
        self._due.set()

    def finish(self) -> None:
        """Have `run` end after the write that is under way, whose outcome says which revision is to be removed."""
        self._finishing = True
        self._due.set()

    async def run(self) -> None:
        """Write until `finish`."""
        every_s = self._config.ttl_s / self._config.renewals_per_ttl
        while not self._finishing:
            self._due.clear()
            error = await self._write()
            self._took(error)
            try:
                async with asyncio.timeout(min(RETRY_S, every_s) if error else every_s):
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
            await asyncio.sleep(RETRY_S)  # a write was under way: the watch shows its revision

    def _took(self, error: Exception | None) -> None:
        """The outcome of the last write: whether the row lasts, and whether to take no more commands before it ends."""
        now_s = self._clock.boot_s()
        valid = self._own.valid(now_s)
        if error is None:
            self._refused_since_s = None
            self._failures = 0
            self._missed.over()
            self._unanswered = 0
            if self._stuck:
                self._stuck = False
                self._health.well(Need.ANSWERS)
            if valid:
                self._health.well(Need.ROW)
            return
        self._failures += 1
        if not isinstance(error, NotStored):
            self._refused_since_s = None
        elif self._refused_since_s is None:
            self._refused_since_s = now_s
        self._unanswered = self._unanswered + 1 if isinstance(error, TimeoutError) else 0
        if self._unanswered >= UNANSWERED_MAX:
            self._stuck = True
            self._health.wrong(Need.ANSWERS, words(error))
        self._missed.again(member=self._own.name, error=words(error))
        refused = self._refused_since_s is not None and now_s - self._refused_since_s >= REFUSED_FOR_S
        if refused or (not valid and self._own.session is not None):
            self._health.wrong(Need.ROW, words(error))
        # Without a connection there is no subscription to withdraw, and the actors are kept for when it is back.
        connected = not isinstance(error, NotSent)
        ends = self._own.session is not None and not self._own.valid(now_s + self._withdraws_before_s)
        if connected and ends and self._failures > 1:  # a loop that was held up has one that was late, no more
            self._health.wrong(Need.ROW, words(error))
            self._withdraw()

    async def _write(self) -> Exception | None:
        """Write once; the reason when the write was not stored, else None."""
        write = self._own.write(self._clock.boot_s(), active=self._active(), about=self._about())
        if isinstance(write, Wait):
            return None
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                revision = await self._store(write)
        except TimeoutError:
            return TimeoutError(f"no answer within {WRITE_TIMEOUT_S:g} s")
        except Unavailable as error:
            return error
        self._own.answered(revision)
        if revision is None:
            return VersionConflict(self._own.name, 0, 0, "the row is no longer as it was read")
        return None

    async def _store(self, write: Create | Update) -> int | None:
        key, ttl_s = member_row_key(self._own.name), self._config.ttl_s
        match write:
            case Create(row):
                return await self._table.create(key, encode_member(row), ttl_s)
            case Update(row, revision):
                return await self._table.update(key, encode_member(row), revision, ttl_s)
