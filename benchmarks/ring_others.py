"""Other ways to place shards under the same bound, beside `aether.core.cluster.ring`: weights in, owners out."""

import itertools
from collections.abc import Sequence
from hashlib import shake_128
from struct import unpack

from aether.core.cluster.ring import Weights, bounded, first_choices, load_max, owners


def as_it_is(weights: Weights) -> dict[int, str]:
    """What `assignment` does."""
    return owners(bounded(weights))


def unbounded(weights: Weights) -> dict[int, str]:
    """Rendezvous hashing without a bound: every shard to its first choice."""
    return owners(first_choices(weights))


def matching(weights: Weights) -> dict[int, str]:
    """The heaviest of all pairs of shard and member first, while there is room: the stable matching."""
    room = _room(weights)
    owner: dict[int, str] = {}
    pairs = ((weight, shard, member) for member, mine in weights.items() for shard, weight in enumerate(mine))
    for _, shard, member in sorted(pairs, reverse=True):
        if shard not in owner and room[member]:
            owner[shard] = member
            room[member] -= 1
    return owner


def one_pass(weights: Weights) -> dict[int, str]:
    """Shard after shard, each to its heaviest member that has room, as Mirrokni and others place balls."""
    room = _room(weights)
    owner = {}
    for shard in range(_shards(weights)):
        member = max((member for member in weights if room[member]), key=lambda member: weights[member][shard])
        owner[shard] = member
        room[member] -= 1
    return owner


def in_turns(weights: Weights) -> dict[int, str]:
    """Members take turns, each takes its heaviest shard that is left (Maglev, NSDI 2016): loads differ by one."""
    owner: dict[int, str] = {}
    shards = range(_shards(weights))
    picks = {member: iter(sorted(shards, key=mine.__getitem__, reverse=True)) for member, mine in weights.items()}
    for member in itertools.cycle(picks):
        shard = next((shard for shard in picks[member] if shard not in owner), None)
        if shard is None:
            break
        owner[shard] = member
    return owner


def plain_hashes(member: str, shards: int) -> Sequence[int]:
    """Weights that are hashes and not ranks."""
    return unpack(f"<{shards}Q", shake_128(member.encode()).digest(8 * shards))


def _shards(weights: Weights) -> int:
    return len(next(iter(weights.values())))


def _room(weights: Weights) -> dict[str, int]:
    return dict.fromkeys(weights, load_max(_shards(weights), len(weights)))
