"""Has the inbox of a shard read, and begin again after an error. The coroutine beside `aether.runtime.shard_inbox`."""

import asyncio
import logging
from collections.abc import Callable

from aether.errors import AetherError
from aether.log_lines import Repeated, words
from aether.runtime.shard_inbox import ShardInbox
from aether.runtime.tell_line import AGAIN

log = logging.getLogger("aether.inbox")


async def read_for_ever(inbox: ShardInbox, jitter: Callable[[], float]) -> None:
    """Read the tells of a shard and hand them over, for ever. `jitter` gives [0, 1)."""
    not_read = Repeated(log, logging.INFO, "tells cannot be read now, or it cannot be written down which are applied")
    full = Repeated(log, logging.ERROR, "a shard has too many tells that wait: those to its other actors wait, too")
    attempt = 0
    while True:
        try:
            await inbox.step()
            attempt = 0
            not_read.over()
            if (of := inbox.full_of) is not None:
                full.again(shard=inbox.shard, waiting=inbox.waiting, actor=of.actor, of_actor=of.count)
            else:
                full.over()
            await inbox.until_woken()
        except AetherError as error:
            inbox.read_again()
            not_read.again(shard=inbox.shard, error=words(error))
            await asyncio.sleep(AGAIN.delay_s(attempt, jitter()))
            attempt += 1
