"""Which member should own each shard: rendezvous hashing with bounded load, the same in every process.

Owns nothing and remembers nothing: the set of members and the number of shards decide, not their order and not who
owned what before. Never `hash()`: it differs between processes.

1. Each member ranks all shards by hashes of its own. The higher it ranks a shard, the heavier is its weight for it; a
   shard's first choice is its heaviest member (Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous",
   1996). Ranks instead of the hashes themselves give every member the same weights to win with, which about
   halves the variance of how much it wins.
2. A member keeps at most `load_max` of its first choices, the heaviest. The rest, the overflow, heaviest first, go each
   to their heaviest member that has room, and displace no shard (after Mirrokni, Thorup and Zadimoghaddam, "Consistent
   Hashing with Bounded Loads", 2016).

The first choices of two sets of members differ only by what joiners take and leavers give away. So a shard that got its
first choice both before and after moves only to a joiner or from a leaver, and what moves otherwise is at most the
overflow before plus the overflow after. `docs/ring.md` has the expectation of that, the proof and the measurements.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import shake_128
from struct import unpack

MEMBERS_REMEMBERED = 128
"""So many members' weights stay in memory, 8 bytes per member and shard. Further members cost time only."""

Weights = Mapping[str, Sequence[int]]
"""Each member's weight for every shard."""


def assignment(members: Iterable[str], shards: int) -> dict[str, tuple[int, ...]]:
    """The shards that each member should own, ascending. Without members: an empty dict."""
    return bounded({member: weights_of(member, shards) for member in members})


def owners(assigned: Mapping[str, Iterable[int]]) -> dict[int, str]:
    """The member that should own each shard, by an assignment."""
    return {shard: member for member, mine in assigned.items() for shard in mine}


def load_max(shards: int, members: int) -> int:
    """The most shards that one of so many members is given: one above the average, rounded up.

    Raises ZeroDivisionError without members.
    """
    return -(-shards // members) + 1


def bounded(weights: Weights) -> dict[str, tuple[int, ...]]:
    """The assignment that these weights give, each member's shards ascending."""
    chosen = first_choices(weights)
    room = load_max(sum(map(len, chosen.values())), len(chosen)) if chosen else 0
    given = {member: mine[:room] for member, mine in chosen.items()}
    overflow = [(weights[member][shard], shard) for member, mine in chosen.items() for shard in mine[room:]]
    for _, shard in sorted(overflow, reverse=True):
        with_room = (member for member in given if len(given[member]) < room)
        given[max(with_room, key=lambda member: weights[member][shard])].append(shard)
    return {member: tuple(sorted(mine)) for member, mine in given.items()}


def first_choices(weights: Weights) -> dict[str, list[int]]:
    """For each member the shards of which it is the heaviest member, without a limit, the heaviest shard first."""
    chosen: dict[str, list[int]] = {member: [] for member in sorted(weights)}
    lists = list(chosen.values())
    for shard, column in enumerate(zip(*(weights[member] for member in chosen), strict=True)):
        lists[column.index(max(column))].append(shard)
    for member, mine in chosen.items():
        mine.sort(key=weights[member].__getitem__, reverse=True)
    return chosen


@lru_cache(maxsize=MEMBERS_REMEMBERED)
def weights_of(member: str, shards: int) -> Sequence[int]:
    """One member's weight for every shard: its rank for the shard, then 32 bits that order equal ranks."""
    draws = unpack(f"<{shards}Q{shards}I", shake_128(member.encode()).digest(12 * shards))
    weights = array("Q", bytes(8 * shards))
    for rank, shard in enumerate(sorted(range(shards), key=draws.__getitem__)):
        weights[shard] = rank << 32 | draws[shards + shard]
    return weights
