"""Does what ownership decides: writes lease rows, starts and stops shards at the runtime, and reports the outcomes.

One task a shard at most; a shard that is abandoned has its task cancelled first. It takes no decision, and nothing it
does blocks the event loop.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias, assert_never

from aether.background import Background
from aether.config import ClusterConfig
from aether.core.cluster.effects import (
    RELEASED_LEASE,
    Abandon,
    AcquireLease,
    Announce,
    Effect,
    Release,
    RemoveMember,
    StartShard,
    StopShard,
)
from aether.core.cluster.handoff import ShardTrigger
from aether.core.cluster.membership import LeaseRow, encode_lease
from aether.errors import AetherError, Unavailable
from aether.log_lines import Repeated, words
from aether.ports import Table, Transport, VMProvider
from aether.table_keys import lease_key, member_row_key

OPEN_AGAIN_S = 0.1

Report: TypeAlias = Callable[[int, int, ShardTrigger, int], None]
"""Shard, serial, outcome, and the lease row's new revision or 0."""

log = logging.getLogger("aether.cluster")


class EffectRunner:
    """Performs effects for one member; `report` is called with each outcome, from the event loop.

    `failed` gets an unexpected error: the shard's state would stay unknown for ever, so the member should end.
    """

    def __init__(
        self,
        table: Table,
        transport: Transport,
        provider: VMProvider,
        config: ClusterConfig,
        report: Report,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._table = table
        self._transport = transport
        self._provider = provider
        self._config = config
        self._report = report
        self._at_work: dict[int, asyncio.Task[None]] = {}
        self._background = Background(failed)
        self._not_written = Repeated(log, logging.INFO, "leases were not written")
        self._not_served = Repeated(log, logging.INFO, "shards cannot be served yet")

    def perform(self, effect: Effect) -> None:
        """Begin an effect."""
        match effect:
            case AcquireLease(shard, serial, revision, row):
                self._work(shard, self._lease(shard, serial, revision, row, ShardTrigger.ACQUIRED))
            case Release(shard, serial, revision):
                self._work(shard, self._lease(shard, serial, revision, RELEASED_LEASE, ShardTrigger.RELEASED))
            case StartShard(shard, serial):
                self._work(shard, self._open(shard, serial))
            case StopShard(shard, serial, hurry):
                self._work(shard, self._close(shard, serial, hurry))
            case Abandon(shard):
                self._abandon(shard)
            case Announce(shards):
                self._transport.announce(shards)
            case RemoveMember(member, revision):
                self._background.once("aether dead member", self._remove_member(member, revision))
            case _:
                assert_never(effect)

    async def cancel(self) -> None:
        """Stop whatever is under way."""
        await self._background.stop()

    def _work(self, shard: int, work: Coroutine[Any, Any, None]) -> None:
        before = self._at_work.get(shard)
        task = self._background.vital(f"aether shard {shard}", _after(before, work))
        self._at_work[shard] = task
        task.add_done_callback(lambda done: self._worked(shard, done))
        task.add_done_callback(lambda _: work.close())  # it may have been cancelled before it began

    def _worked(self, shard: int, task: asyncio.Task[None]) -> None:
        if self._at_work.get(shard) is task:
            del self._at_work[shard]

    async def _lease(self, shard: int, serial: int, revision: int | None, row: LeaseRow, stored: ShardTrigger) -> None:
        key, value = lease_key(shard), encode_lease(row)
        try:
            written = (
                await self._table.create(key, value)
                if revision is None
                else await self._table.update(key, value, revision)
            )
        except AetherError as error:
            self._not_written.again(shard=shard, error=words(error))
            self._report(shard, serial, ShardTrigger.UNKNOWN, 0)
        except Exception:
            log.exception("a lease was not written", extra={"shard": shard})
            self._report(shard, serial, ShardTrigger.UNKNOWN, 0)
        else:
            self._report(shard, serial, ShardTrigger.REFUSED if written is None else stored, written or 0)

    async def _open(self, shard: int, serial: int) -> None:
        while True:
            try:
                await self._provider.serve_shard(shard)
            except Unavailable as error:
                self._not_served.again(shard=shard, error=words(error))
            except Exception:  # we hold the lease, so no other member would serve it
                log.exception("a shard cannot be served", extra={"shard": shard})
            else:
                self._report(shard, serial, ShardTrigger.STARTED, 0)
                return
            await asyncio.sleep(OPEN_AGAIN_S)

    async def _close(self, shard: int, serial: int, hurry: bool) -> None:
        provider = self._provider
        try:
            if not hurry:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._config.prepare_timeout_s):
                        await provider.prepare_shard(shard)
            async with asyncio.timeout(self._config.close_timeout_s):
                await provider.leave_shard(shard)
                while active := provider.get_active_vms(shard):
                    await asyncio.gather(*(provider.stop_vm(machine.actor_id) for machine in active))
        except TimeoutError:
            left = len(provider.get_active_vms(shard))
            log.warning("a shard is given away with actors at work", extra={"shard": shard, "actors": left})
        except Exception:  # it must go on to its next owner whatever happened here
            log.exception("a shard is given away without having been closed", extra={"shard": shard})
        provider.abandon_shard(shard)
        self._report(shard, serial, ShardTrigger.STOPPED, 0)

    def _abandon(self, shard: int) -> None:
        task = self._at_work.get(shard)
        if task is not None:
            task.cancel()
        self._provider.abandon_shard(shard)

    async def _remove_member(self, member: str, revision: int) -> None:
        try:
            await self._table.delete(member_row_key(member), revision)
        except Unavailable as error:
            log.info("a dead member's row was not removed", extra={"member": member, "error": words(error)})


async def _after(before: asyncio.Task[None] | None, work: Coroutine[Any, Any, None]) -> None:
    if before is not None:
        await asyncio.wait((before,))
    await work
