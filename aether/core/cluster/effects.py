"""What a member can do about shards: the effects that ownership decides on and the cluster's shell performs.

Each carries its shard's serial, which its outcome brings back.
"""

from dataclasses import dataclass
from typing import TypeAlias

from aether.core.cluster.membership import LeaseRow

RELEASED_LEASE = LeaseRow()
"""The lease row of a shard that was released."""


@dataclass(frozen=True, slots=True)
class AcquireLease:
    """Write `row`, which names us, over the lease row that is at `revision`; None when there is no row."""

    shard: int
    serial: int
    revision: int | None
    row: LeaseRow


@dataclass(frozen=True, slots=True)
class StartShard:
    """Begin to serve a shard."""

    shard: int
    serial: int


@dataclass(frozen=True, slots=True)
class StopShard:
    """Take no more commands of a shard, answer those taken, snapshot; in a `hurry` turn commands away at once."""

    shard: int
    serial: int
    hurry: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """Write that no member holds the lease row that is at `revision`."""

    shard: int
    serial: int
    revision: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Drop what is open of a shard and answer no caller: the shard is not ours any more."""

    shard: int


@dataclass(frozen=True, slots=True)
class Announce:
    """Announce to waiting callers that these shards are served here now."""

    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Remove the row of a process that is certainly dead."""

    member: str
    revision: int


Effect: TypeAlias = AcquireLease | StartShard | StopShard | Release | Abandon | Announce | RemoveMember
