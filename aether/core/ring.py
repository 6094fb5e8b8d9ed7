"""Which member owns a shard: rendezvous hashing, the same in every process.

Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous" (1996): each member gets a weight for the shard
and the heaviest owns it, so a member that comes or goes moves only its own shards. Never `hash()`: it differs between
processes.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b


def owner_of(shard: int, members: Sequence[str]) -> str:
    """The member that owns a shard. Raises ValueError without members."""
    return max(members, key=lambda member: (_weight(shard, member), member))


def shards_of(member: str, members: Sequence[str], shards: int) -> list[int]:
    """The shards that one member owns, ascending."""
    return [shard for shard in range(shards) if owner_of(shard, members) == member]


def slot_members(slots: int) -> list[str]:
    """The member names of one supervisor's slots."""
    return [f"slot-{slot}" for slot in range(slots)]


def assignment(members: Iterable[str], shards: int) -> dict[str, list[int]]:
    """Every member's shards."""
    names = list(members)
    owned: dict[str, list[int]] = {name: [] for name in names}
    for shard in range(shards):
        owned[owner_of(shard, names)].append(shard)
    return owned


def _weight(shard: int, member: str) -> bytes:
    return blake2b(f"{shard}/{member}".encode(), digest_size=8).digest()


def owners(members: Sequence[str], shards: int) -> Sequence[str]:
    return [owner_of(shard, members) for shard in range(shards)] if members else []
