"""A member's own session: how it begins, lasts and ends. Inputs are changes of the table, outputs are writes.

A write is a compare-and-set on the last observed, so two processes cannot both keep one row. Nothing is believed on the
acknowledgement of a write: the session begins, and its validity is prolonged, when the row comes back through the
watch. So a member whose watch is blind stops serving like one that cannot write. Validity counts from the sending of
the write that came back, because the server's time to live began after it.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from msgspec.structs import replace

from aether.core.cluster.holding import Holding
from aether.core.cluster.membership import Holder, MemberObservation, MemberRow
from aether.table_keys import member_name

ALIVE_AFTER_RENEWALS = 2
"""After so many renewals of another process's row in our slot, that process counts as alive."""


@dataclass(frozen=True, slots=True)
class Create:
    """Write the first row of a session where there is none."""

    row: MemberRow


@dataclass(frozen=True, slots=True)
class Update:
    """Write over the row at a revision: renew our own row, or replace that of a dead predecessor."""

    row: MemberRow
    revision: int


@dataclass(frozen=True, slots=True)
class Wait:
    """A process that may be alive has our slot: wait for the end of its row. For ever once we were replaced."""


Write: TypeAlias = Create | Update | Wait


class RowChange(Enum):
    """What a change of our own row means."""

    NOTHING = "nothing"
    JOINED = "joined"
    EXPIRED = "expired"
    REPLACED = "replaced"
    ALIVE_ELSEWHERE = "alive elsewhere"


class MemberSession:
    """One process's slot in the table. `replaces` is an incarnation that is known to be dead. For `answers_for_s` from
    the sending of a renewal this member may answer."""

    def __init__(self, me: MemberRow, *, replaces: str | None, answers_for_s: float) -> None:
        self.me = me
        self.name = member_name(me.node, me.slot)
        self.session: int | None = None
        self.holding = Holding()
        self._replaces = replaces
        self._answers_for_s = answers_for_s
        self._observed = MemberObservation(0, None)
        self._acknowledged = 0
        self._unknown = False
        self._sent_s: dict[int, float] = {}
        self._beat = 0
        self._over = False
        self._foreign: tuple[str, int] = ("", 0)

    @property
    def holder(self) -> Holder | None:
        """The member and session that our leases name; None without a session."""
        return None if self.session is None else Holder(self.name, self.session)

    @property
    def row_revision(self) -> int:
        """The revision of our own row as last read or acknowledged, whichever is newer; 0 when there is none."""
        if self._acknowledged > self._observed.revision:
            return self._acknowledged
        return self._observed.revision if self._is_mine(self._observed) else 0

    @property
    def unknown(self) -> bool:
        """Whether a write is open: it may be stored, and was neither answered nor read back."""
        return self._unknown

    @property
    def until_s(self) -> float:
        """Until when the session certainly lasts."""
        return self.holding.until_s

    def valid(self, now_s: float) -> bool:
        """Whether the session certainly lasts at this instant."""
        return now_s < self.holding.until_s

    def write(self, now_s: float, *, active: bool, about: dict[str, Any]) -> Write:
        """The next write. What it says of the session counts once `observe` has seen it."""
        observed = self._observed
        if self._over:
            return Wait()
        if observed.row is not None and not self._is_mine(observed) and not self._is_dead(observed.row):
            return Wait()
        self._beat += 1
        self._sent_s = {beat: sent_s for beat, sent_s in self._sent_s.items() if now_s < sent_s + self._answers_for_s}
        self._sent_s[self._beat] = now_s
        self._unknown = True
        row = replace(self.me, beat=self._beat, active=active, about=about)
        if observed.row is None:
            return Create(row)
        if not self._is_mine(observed):
            return Update(row, observed.revision)
        return Update(replace(row, session=observed.session), max(observed.revision, self._acknowledged))

    def answered(self, revision: int | None) -> None:
        """The last write was stored at this revision, on which the next one builds, or refused."""
        self._unknown = False
        if revision is not None:
            self._acknowledged = revision

    def observe(self, observed: MemberObservation) -> RowChange:
        """Take in what was read of our row."""
        before, self._observed = self._observed, observed
        if self._is_mine(observed):
            return self._echoed(observed)
        lapsed, self.session, self.holding.until_s = self.session is not None, None, 0.0
        if observed.row is None:
            return RowChange.EXPIRED if lapsed else RowChange.NOTHING
        change = RowChange.REPLACED if lapsed or self._is_mine(before) else self._occupied(observed.row)
        self._over = self._over or change is not RowChange.NOTHING
        return change

    def _echoed(self, observed: MemberObservation) -> RowChange:
        assert observed.row is not None
        joined = observed.session != self.session
        self._unknown = self._unknown and observed.row.beat < self._beat
        if joined:
            self.holding.until_s = 0.0
        self.session = observed.session
        sent_s = self._sent_s.get(observed.row.beat)
        if sent_s is not None:
            self.holding.until_s = max(self.holding.until_s, sent_s + self._answers_for_s)
        for beat in [beat for beat in self._sent_s if beat <= observed.row.beat]:
            del self._sent_s[beat]
        return RowChange.JOINED if joined else RowChange.NOTHING

    def _occupied(self, row: MemberRow) -> RowChange:
        incarnation, renewals = self._foreign
        self._foreign = (row.incarnation, renewals + 1 if incarnation == row.incarnation else 0)
        alive = self._foreign[1] >= ALIVE_AFTER_RENEWALS and not self._is_dead(row)
        return RowChange.ALIVE_ELSEWHERE if alive else RowChange.NOTHING

    def _is_mine(self, observed: MemberObservation) -> bool:
        return observed.row is not None and observed.row.incarnation == self.me.incarnation

    def _is_dead(self, row: MemberRow) -> bool:
        """Whether the process of a row in our slot is known to be dead: it was reaped, or its claim is ours now."""
        return row.incarnation == self._replaces or (row.claim != "" and row.claim == self.me.claim)
