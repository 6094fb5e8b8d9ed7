"""Leaves a row in the table that says who makes durable what the server acknowledges: for when no worker is there.

A client whose tell the server has acknowledged asks the workers whether it is on the disk. Where none is left, the row
says whether there was anything to ask for.
"""

import asyncio
import logging

from aether.core.backoff import Backoff
from aether.errors import Unavailable
from aether.log_lines import words
from aether.ports import Table
from aether.table_keys import SYNCED_BY_KEY

TRIES_MAX = 20
AGAIN = Backoff(first_s=0.05, cap_s=1.0)

log = logging.getLogger("aether.worker")


async def say_who_syncs(table: Table, synced_by: bytes) -> None:
    """Write it, if the row does not say so already. A worker calls this that serves: all that serve say the same."""
    for attempt in range(TRIES_MAX):
        try:
            if await _written(table, synced_by):
                return
        except Unavailable as error:
            log.debug("who syncs cannot be said now", extra={"error": words(error)})
        await asyncio.sleep(AGAIN.delay_s(attempt, 0.0))


async def _written(table: Table, synced_by: bytes) -> bool:
    row = await table.get(SYNCED_BY_KEY)
    if row is None or row.value is None:
        return await table.create(SYNCED_BY_KEY, synced_by) is not None
    return row.value == synced_by or await table.update(SYNCED_BY_KEY, synced_by, row.revision) is not None
