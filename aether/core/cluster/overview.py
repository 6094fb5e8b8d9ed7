"""What a reading of the table says of members and shards, for people to look at. Nothing is ever decided from it."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

from aether.core.cluster.membership import Holder, MemberObservation, MemberRow, decode_lease, decode_member
from aether.core.cluster.ring import assignment, owners
from aether.core.cluster.status import ANSWERS, DRAINING, SERVING, SILENT, Status, decode_status
from aether.table_keys import member_of_row_key, shard_of_lease_key


class ShardState(Enum):
    """Where a shard is: with the member the ring wants, on its way there, with a member that is gone, or with none."""

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


def overview(
    rows: Iterable[tuple[str, bytes | None, int]], shards: int, statuses: Mapping[str, Status] | None = None
) -> Overview:
    """What these rows (key, value, revision) say, and the workers' own status, by name; None when none was asked."""
    observations: dict[str, MemberObservation] = {}
    leases: dict[int, tuple[Holder, int]] = {}
    for key, value, revision in rows:
        member, shard, lease = member_of_row_key(key), shard_of_lease_key(key), decode_lease(value)
        if member is not None:
            observations[member] = MemberObservation(revision, decode_member(value))
        elif shard is not None and lease is not None:
            leases[shard] = (Holder(lease.holder, lease.session), revision)
    held = Counter(holder for holder, _ in leases.values())
    active = [member for member, observed in observations.items() if observed.row is not None and observed.row.active]
    wanted = owners(assignment(active, shards))
    return Overview(
        members=[
            _member(name, observed, held[Holder(name, observed.session or 0)], statuses)
            for name, observed in sorted(observations.items())
            if observed.row is not None
        ],
        shards=[_shard(shard, leases.get(shard), wanted.get(shard, ""), observations) for shard in range(shards)],
    )


def _shard(
    shard: int, lease: tuple[Holder, int] | None, wanted: str, observations: dict[str, MemberObservation]
) -> ShardOverview:
    holder, epoch = lease or (Holder("", 0), 0)
    observed = observations.get(holder.member)
    if not holder.member:
        state = ShardState.FREE
    elif observed is None or observed.session != holder.session:
        state = ShardState.ORPHANED
    else:
        state = ShardState.HELD if holder.member == wanted else ShardState.MOVING
    return ShardOverview(shard, state, holder.member, wanted, epoch)


def _member(
    name: str, observed: MemberObservation, shards: int, statuses: Mapping[str, Status] | None
) -> dict[str, Any]:
    assert observed.row is not None
    row = observed.row
    state, why = _state(name, row, statuses)
    return {
        "node": row.node,
        "slot": row.slot,
        "state": state,
        **({"why": why} if why else {}),
        **{key: value for key, value in row.about.items() if key != ANSWERS},
        "shards": shards,
        "incarnation": row.incarnation,
        "session": observed.session,
    }


def _state(name: str, row: MemberRow, statuses: Mapping[str, Status] | None) -> tuple[str, str]:
    """How a worker is, and why it is not ready: by its own status when it was asked, else by its row."""
    status = None if statuses is None else statuses.get(name)
    if status is not None and status.incarnation == row.incarnation:
        return status.state, status.why
    if statuses is not None and row.about.get(ANSWERS):
        return SILENT, ""
    return SERVING if row.active else DRAINING, ""


async def ask_members(
    ask: Callable[[Callable[[bytes], bool], float], Awaitable[None]], names: Collection[str], timeout_s: float
) -> dict[str, Status]:
    """What these members say of themselves when they are asked by `ask`; without those that say nothing in time."""
    statuses: dict[str, Status] = {}

    def receive(raw: bytes) -> bool:
        status = decode_status(raw)
        if status is not None:
            statuses[status.member] = status
        return statuses.keys() >= set(names)

    if names:
        await ask(receive, timeout_s)
    return statuses
