"""Which shards a member has, takes and gives: a fold over the table's rows and the outcomes of what it did about them.

It owns every shard's phase (`aether.core.cluster.handoff`) and what the table says of leases. Inputs are synchronous
and cheap; `decide` gives all that is to be done by now. Each effect carries its shard's serial, and so
does its outcome, so that an outcome that comes late, after the shard was lost and taken again, changes nothing.

The ring places shards on the members that are there and, for a while, on those that may only be late
(`late_members`). Rows of members that certainly live no more are removed (`stale_rows`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aether.config import ClusterConfig
from aether.core.cluster.effects import (
    RELEASED_LEASE,
    Abandon,
    AcquireLease,
    Announce,
    Effect,
    Release,
    RemoveMember,
    StartShard,
    StopShard,
)
from aether.core.cluster.handoff import ANSWERING, Phase, ShardTrigger, advance
from aether.core.cluster.late_members import LateMembers
from aether.core.cluster.membership import Holder, LeaseRow, MemberObservation, MemberRow, Membership
from aether.core.cluster.ring import assignment, owners
from aether.core.cluster.session import MemberSession, RowChange
from aether.core.cluster.shard_lease import ShardLease
from aether.core.cluster.stale_rows import StaleRows

GIVING = (Phase.STOPPING, Phase.ACQUIRED, Phase.RELEASING)
NEVER_S = float("inf")


@dataclass(frozen=True, slots=True)
class Moves:
    """How many shards are held, being taken and being given."""

    held: int
    taking: int
    giving: int


class Ownership:
    """One member's part of the shards. `own` is its session; the cluster's shell is the one caller.

    `siblings` are the members that the same supervisor runs.
    """

    def __init__(self, own: MemberSession, shards: int, config: ClusterConfig, siblings: Sequence[str] = ()) -> None:
        self.own = own
        self.leaving = False
        self._config = config
        self._siblings = frozenset(siblings) | {own.name}
        self._shards = [ShardLease() for _ in range(shards)]
        self._members = Membership()
        self._answering = own.holding.shards
        self._look: set[int] = set(range(shards))
        self._ring: tuple[str, ...] | None = None
        self._wanted: Mapping[int, str] = {}
        self._late = LateMembers(config)
        self._stale = StaleRows(own, self._siblings, config.overdue_s)
        self._complete = False
        self._giving = 0
        self._withdrawn = False
        self._opened: list[int] = []
        self._wake_s = NEVER_S

    # ------------------------------------------------------------------------------------------ what others ask

    def answers(self, shard: int, now_s: float) -> bool:
        """Whether an answer for the shard may leave at this instant: the reply fence."""
        return self.own.holding.valid(shard, now_s)

    def members(self) -> list[tuple[str, MemberRow]]:
        """The members that are there, by name, with their rows."""
        return list(self._members.rows())

    def phase(self, shard: int) -> Phase:
        """What we have of a shard."""
        return self._shards[shard].phase

    def epoch(self, shard: int) -> int:
        """The revision of a shard's lease row."""
        return self._shards[shard].revision

    @property
    def stored_format(self) -> int:
        """The newest format of stored events that every member reads."""
        return self._members.stored_format

    def differing(self) -> str:
        """A member whose commits become durable in another way than ours, and who may be alive; "" without one.

        Once we are there too, it is a member that was there before us: the later one gives way.
        """
        own = self.own
        for member, row in self._members.rows():
            if member == own.name or row.durability == own.me.durability or self._stale.is_of_dead_run(row):
                continue
            session = self._members.observation(member).session
            if own.session is None or session is None or session < own.session:
                return member
        return ""

    @property
    def empty(self) -> bool:
        """Whether nothing of any shard is here."""
        return all(shard.phase is Phase.NOT_HELD for shard in self._shards)

    @property
    def balanced(self) -> bool:
        """Whether we hold what the ring wants us to hold and nothing else, as of the last `decide`."""
        if self.own.session is None or not self._wanted:
            return False
        return all(
            shard.phase is (Phase.HELD if self._target(number) == self.own.name else Phase.NOT_HELD)
            for number, shard in enumerate(self._shards)
        )

    def moves(self) -> Moves:
        """What is under way."""
        phases = [shard.phase for shard in self._shards]
        return Moves(
            held=phases.count(Phase.HELD),
            taking=sum(phases.count(phase) for phase in (Phase.ACQUIRING, Phase.STARTING, Phase.RECLAIMING)),
            giving=self._giving,
        )

    # ------------------------------------------------------------------------------------------ inputs

    def expect_siblings(self, now_s: float) -> None:
        """The siblings are starting too: for `gather_s` nothing of theirs is taken."""
        self._late.expect(self._siblings - {self.own.name}, now_s)

    def member_observed(self, member: str, revision: int, row: MemberRow | None, now_s: float) -> RowChange:
        """A member's row has changed, in the table's order; what that means if the member is ourselves."""
        before = self._members.read(member, revision, row)
        observed = self._members.observation(member)
        self._stale.observe(member, observed, now_s)
        if row is not None:
            self._late.came(member)
        elif before.row is not None and before.row.active and not self.leaving:
            self._late.ended(member, now_s)
        if (before.session, _active(before)) != (observed.session, _active(observed)):
            self._ring = None  # place anew, and look at every lease: one of its sessions may be over
        if member != self.own.name:
            return RowChange.NOTHING
        change = self.own.observe(observed)
        if self._withdrawn and self.own.valid(now_s):
            self._withdrawn = False
            self._look.update(range(len(self._shards)))
        if change is not RowChange.NOTHING:
            self._session_changed(change, now_s)
        return change

    def lease_observed(self, shard: int, revision: int, row: LeaseRow | None) -> None:
        """A lease's row has changed, in the table's order."""
        self._members.reached(revision)
        self._learn(shard, revision, row)

    def completed(self, now_s: float) -> None:
        """All rows of the table have been delivered: at the beginning, and again after every loss of the watch."""
        self._members.completed()
        self._ring = None
        if self._complete:
            self._late.disturbed(now_s)
        self._complete = True

    def done(self, number: int, serial: int, outcome: ShardTrigger, now_s: float, revision: int = 0) -> None:
        """What came of an effect; `revision` is the lease row's new one after a write that was stored."""
        shard = self._shards[number]
        if serial != shard.serial:
            return
        if revision:
            self._learn(number, revision, shard.writing)
        self._look.add(number)
        if outcome is ShardTrigger.UNKNOWN:
            shard.retry_at_s = now_s + self._config.retry_s
            if shard.phase is Phase.RELEASING:
                shard.doubted_at = shard.tried_at
        elif outcome is ShardTrigger.REFUSED:
            shard.refused_at = shard.tried_at
        self._move(number, self._as_it_is_now(shard, outcome))

    def withdraw(self) -> bool:
        """Our row is not renewed: serve nothing until it is, though our leases still hold. Whether that is new."""
        new, self._withdrawn = not self._withdrawn, True
        if new:
            self._look.update(range(len(self._shards)))
        return new

    def leave(self) -> None:
        """From now on nothing is wanted here."""
        self.leaving = True
        self._ring = None

    # ------------------------------------------------------------------------------------------ decisions

    def decide(self, now_s: float) -> list[Effect]:
        """All that is to be done now, in order."""
        if not self._complete:
            return []
        effects: list[Effect] = [RemoveMember(member, revision) for member, revision in self._stale.take(now_s)]
        self._wake_s = NEVER_S
        self._place(now_s)
        look, self._look = sorted(self._look), set()
        for number in look:
            effect = self._next(number, now_s)
            if effect is not None:
                effects.append(effect)
        if self._opened:
            effects.append(Announce(tuple(self._opened)))
            self._opened = []
        return effects

    def next_wake_s(self) -> float:
        """When `decide` has something to do though no input comes; infinity when it never has."""
        return min([self._wake_s, *self._late.next_s(), *self._stale.next_s()])

    def _place(self, now_s: float) -> None:
        """Work the ring out anew when its members may have changed."""
        ring = {member for member, row in self._members.rows() if row.active} | self._late.expected(now_s)
        if self.leaving:
            ring.discard(self.own.name)
        elif self.own.session is None:
            ring.add(self.own.name)
        members = tuple(sorted(ring))
        if members != self._ring:
            self._ring = members
            self._wanted = owners(assignment(members, len(self._shards)))
            self._look.update(range(len(self._shards)))

    def _next(self, number: int, now_s: float) -> Effect | None:
        """What is to be done about one shard."""
        shard = self._shards[number]
        mine, ours = self._is_mine(shard), shard.row is not None and shard.row.holder == self.own.name
        wanted = self._target(number) == self.own.name
        if self._withdrawn:
            return self._step_back(number, mine=mine)
        match shard.phase:
            case Phase.NOT_HELD if mine:
                self._move(number, ShardTrigger.OWNED)
                return self._next(number, now_s)
            case Phase.NOT_HELD if wanted and self._is_free(shard):
                return self._take(number, ShardTrigger.ACQUIRE, now_s)
            case Phase.NOT_HELD if shard.is_doubted(self.own.holder):
                return self._release(number, now_s)
            case Phase.EXPIRED if mine:
                self._move(number, ShardTrigger.OWNED)
                return self._next(number, now_s)
            case Phase.EXPIRED if ours and not self.leaving:
                return self._take(number, ShardTrigger.ACQUIRE, now_s)
            case Phase.STOPPING if ours:
                return None
            case Phase.STARTING | Phase.HELD | Phase.STOPPING | Phase.ACQUIRED | Phase.EXPIRED if not mine:
                self._look.add(number)  # it may be free, and no row will say so
                self._wake_s = now_s
                self._move(number, ShardTrigger.LOST)
                return Abandon(number)
            case Phase.HELD if not wanted:
                return self._close(number)
            case Phase.ACQUIRED if wanted:
                return StartShard(number, self._move(number, ShardTrigger.START))
            case Phase.ACQUIRED:
                return self._release(number, now_s)
            case _:
                return None

    def _step_back(self, number: int, *, mine: bool) -> Effect | None:
        """What is to be done about one shard while our row is not renewed: close it, and write nothing."""
        match self._shards[number].phase:
            case Phase.HELD:
                return StopShard(number, self._move(number, ShardTrigger.STOP), hurry=True)
            case Phase.STARTING | Phase.EXPIRED:
                self._move(number, ShardTrigger.LOST)
                return Abandon(number)
            case Phase.STOPPING | Phase.ACQUIRED if not mine or self.leaving:
                self._move(number, ShardTrigger.LOST)
                return Abandon(number)
            case _:
                return None

    def _take(self, number: int, trigger: ShardTrigger, now_s: float) -> Effect | None:
        shard, holder = self._shards[number], self.own.holder
        if shard.revision == shard.refused_at:
            return None  # the watch will show who was quicker
        if holder is None or not self.own.valid(now_s) or self._too_early(number, now_s):
            self._look.add(number)
            return None
        shard.tried_at = shard.revision
        shard.writing = LeaseRow(holder=holder.member, session=holder.session, incarnation=self.own.me.incarnation)
        revision = None if shard.row is None else shard.revision
        return AcquireLease(number, self._move(number, trigger), revision, shard.writing)

    def _close(self, number: int) -> Effect | None:
        target = self._target(number)
        busy = self._giving >= self._config.moves_in_flight_max
        if target is not None and (busy or target in self._late):
            self._look.add(number)
            return None
        return StopShard(number, self._move(number, ShardTrigger.STOP))

    def _release(self, number: int, now_s: float) -> Effect | None:
        shard = self._shards[number]
        if self.leaving and not self.own.valid(now_s):
            # The server cannot be reached: the row is left to others, who find our session over.
            if shard.phase is Phase.NOT_HELD:
                return None
            self._move(number, ShardTrigger.LOST)
            return Abandon(number)
        if self._too_early(number, now_s):
            self._look.add(number)
            return None
        shard.tried_at = shard.revision
        shard.writing = RELEASED_LEASE
        return Release(number, self._move(number, ShardTrigger.RELEASE), shard.revision)

    def _too_early(self, number: int, now_s: float) -> bool:
        retry_at_s = self._shards[number].retry_at_s
        if retry_at_s > now_s:
            self._wake_s = min(self._wake_s, retry_at_s)
        return retry_at_s > now_s

    # ------------------------------------------------------------------------------------------ parts

    def _target(self, number: int) -> str | None:
        return self._wanted.get(number)

    def _is_mine(self, shard: ShardLease) -> bool:
        return shard.belongs_to(self.own.holder)

    def _is_free(self, shard: ShardLease) -> bool:
        row = shard.row
        if row is None or not row.holder or shard.is_doubted(self.own.holder):
            return True
        return self._members.over(Holder(row.holder, row.session))

    def _learn(self, number: int, revision: int, row: LeaseRow | None) -> None:
        if self._shards[number].observe(revision, row):
            self._look.add(number)
            self._fence(number)

    def _move(self, number: int, trigger: ShardTrigger) -> int:
        """Advance a shard's phase; its new serial."""
        shard = self._shards[number]
        before, shard.phase = shard.phase, advance(shard.phase, trigger)
        shard.serial += 1
        self._giving += (shard.phase in GIVING) - (before in GIVING)
        if shard.phase is Phase.HELD:
            self._opened.append(number)
        self._fence(number)
        return shard.serial

    def _fence(self, number: int) -> None:
        shard = self._shards[number]
        if shard.phase in ANSWERING and self._is_mine(shard):
            self._answering.add(number)
        else:
            self._answering.discard(number)

    def _as_it_is_now(self, shard: ShardLease, outcome: ShardTrigger) -> ShardTrigger:
        """The outcome, given the rows that were read meanwhile."""
        if outcome is ShardTrigger.ACQUIRED and not self._is_mine(shard):
            outcome = ShardTrigger.REFUSED
        if outcome is ShardTrigger.REFUSED and shard.phase is Phase.RECLAIMING:
            return ShardTrigger.UNKNOWN  # the watch will say who has the row now
        return outcome

    def _session_changed(self, change: RowChange, now_s: float) -> None:
        self._answering.clear()
        self._look.update(range(len(self._shards)))
        for number, shard in enumerate(self._shards):
            if shard.phase in (Phase.HELD, Phase.RECLAIMING):
                self._move(number, ShardTrigger.EXPIRE)
        if change is not RowChange.JOINED:
            self._late.disturbed(now_s)


def _active(observed: MemberObservation) -> bool:
    return observed.row is not None and observed.row.active
