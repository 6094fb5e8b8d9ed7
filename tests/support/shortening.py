"""Has the inbox shortened all the time, down to the last few messages, by the workers that this process starts."""

from aether.jetstream import inbox_beginning
from aether.runtime import inbox_purge, relaying, shard_inbox, telling


def shorten_all_the_time() -> None:
    """Look several times per second, and write every mark at once. The stream has blocks of 32 kB."""
    relaying.RENEW_TELLS = inbox_purge.LOOK_TELLS = 20
    inbox_purge.KEPT_S = 0.5
    inbox_beginning.BLOCK_BYTES_MAX = 32 * 1024
    telling.PURGE_EVERY_S = 0.2
    shard_inbox.MARK_TELLS = 1
