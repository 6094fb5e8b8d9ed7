"""Lists of actors, a page at a time, with as little read as the page needs.

The server lists the actors of one shard at once, so a page goes on shard by shard from where the last one ended. A
page looks through as many shards as it may in its time; the next page goes on.
"""

import asyncio
from dataclasses import dataclass

from aether.gateway.actors import cursor_of, read_cursor
from aether.reading_client import SHARDS_LISTED_AT_ONCE
from aether.untyped_client import UntypedClient

PAGE_KEYS = 60
SEARCH_S = 0.08
"""How long one page may search before it shows what it has found, seconds."""


@dataclass(frozen=True, slots=True)
class KeysPage:
    """Keys, the cursor of the next page, None after the last one, and how many shards have been looked through."""

    keys: tuple[str, ...]
    cursor: str | None
    shards_done: int
    shards: int


async def find_keys(
    client: UntypedClient, kind: str, cursor: str | None, beginning: str, deadline_s: float, limit: int = PAGE_KEYS
) -> KeysPage:
    """The next keys of a kind that begin so. Raises `InvalidCommand` for no cursor, and what `keys_of_shard` raises."""
    shard, after = read_cursor(cursor, client.shards)
    loop = asyncio.get_running_loop()
    begun_s, found, at_once = loop.time(), [], 1
    while shard < client.shards:
        shards = range(shard, min(shard + at_once, client.shards))
        lists = await asyncio.gather(*(client.keys_of_shard(kind, one, deadline_s=deadline_s) for one in shards))
        for one, keys in zip(shards, lists, strict=True):
            for key in keys:
                if key.startswith(beginning) and (after is None or key > after):
                    found.append(key)
                    if len(found) == limit:
                        return KeysPage(tuple(found), cursor_of(one, key), one, client.shards)
            after = None
        shard, at_once = shard + len(shards), min(2 * at_once, SHARDS_LISTED_AT_ONCE)
        if shard < client.shards and loop.time() - begun_s >= SEARCH_S:
            return KeysPage(tuple(found), cursor_of(shard, ""), shard, client.shards)
    return KeysPage(tuple(found), None, client.shards, client.shards)
