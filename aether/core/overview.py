"""What a reading of the table says of members and shards, for people to look at. Nothing is ever decided from it."""

from collections import Counter
from collections.abc import Iterable
from enum import Enum
from typing import Any, NamedTuple

from aether.core.membership import Holder, Word, decode_lease, decode_member
from aether.core.ring import assignment, owners
from aether.names import member_of_row_key, shard_of_lease_key


class ShardState(Enum):
    """How it is with a shard: held by whom the ring wants, on its way there, of a holder that is gone, or nobody's."""

    HELD = "held"
    MOVING = "moving"
    ORPHANED = "orphaned"
    FREE = "free"


class ShardOverview(NamedTuple):
    """One shard: who holds it, who should, and the epoch of its lease (0: it was never taken)."""

    shard: int
    state: ShardState
    holder: str
    wanted: str
    epoch: int


class Overview(NamedTuple):
    """Members by name, and every shard in order."""

    members: list[dict[str, Any]]
    shards: list[ShardOverview]


def overview(rows: Iterable[tuple[str, bytes | None, int]], shards: int) -> Overview:
    """What these rows (key, value, revision) say."""
    words: dict[str, Word] = {}
    leases: dict[int, tuple[Holder, int]] = {}
    for key, value, revision in rows:
        member, shard, lease = member_of_row_key(key), shard_of_lease_key(key), decode_lease(value)
        if member is not None:
            words[member] = Word(revision, decode_member(value))
        elif shard is not None and lease is not None:
            leases[shard] = (Holder(lease.holder, lease.session), revision)
    held = Counter(holder for holder, _ in leases.values())
    active = [member for member, word in words.items() if word.row is not None and word.row.active]
    wanted = owners(assignment(active, shards))
    return Overview(
        members=[
            _member(word, held[Holder(name, word.session or 0)])
            for name, word in sorted(words.items())
            if word.row is not None
        ],
        shards=[_shard(shard, leases.get(shard), wanted.get(shard, ""), words) for shard in range(shards)],
    )


def _shard(shard: int, lease: tuple[Holder, int] | None, wanted: str, words: dict[str, Word]) -> ShardOverview:
    holder, epoch = lease or (Holder("", 0), 0)
    word = words.get(holder.member)
    if not holder.member:
        state = ShardState.FREE
    elif word is None or word.session != holder.session:
        state = ShardState.ORPHANED
    else:
        state = ShardState.HELD if holder.member == wanted else ShardState.MOVING
    return ShardOverview(shard, state, holder.member, wanted, epoch)


def _member(word: Word, shards: int) -> dict[str, Any]:
    assert word.row is not None
    row = word.row
    return {
        "node": row.node,
        "slot": row.slot,
        "state": "serving" if row.active else "draining",
        **row.about,
        "shards": shards,
        "incarnation": row.incarnation,
        "session": word.session,
    }
