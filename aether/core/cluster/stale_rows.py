"""Rows of members that certainly live no more, so that any member may remove them.

A row is stale when an earlier run of our own supervisor wrote it, of which no process lives, or when it is unchanged
for longer than it lives: the server has forgotten when it ends, as it may after a power cut. Pure; one writer: the
ownership.
"""

from collections.abc import Collection

from aether.core.cluster.membership import MemberObservation, MemberRow
from aether.core.cluster.session import MemberSession

RUN_SEPARATOR = "-"


class StaleRows:
    """The stale rows, each with its revision. `siblings` are the members that our supervisor runs now."""

    def __init__(self, own: MemberSession, siblings: Collection[str], overdue_s: float) -> None:
        self._own = own
        self._siblings = siblings
        self._overdue_s = overdue_s
        self._stale: dict[str, int] = {}
        self._observed: dict[str, tuple[int, float]] = {}

    def observe(self, member: str, observed: MemberObservation, now_s: float) -> None:
        """A member's row has changed."""
        revision, row = observed
        if row is None or self._is_ours(member, row):
            self._observed.pop(member, None)
        elif revision != self._observed.get(member, (0, 0.0))[0]:
            self._observed[member] = (revision, now_s)
        if member == self._own.name:
            return
        self._stale.pop(member, None)
        if row is not None and member not in self._siblings and self.is_of_dead_run(row):
            self._stale[member] = revision

    def take(self, now_s: float) -> list[tuple[str, int]]:
        """The members whose rows are to be removed now, each with the row's revision."""
        for member, (revision, observed_s) in self._observed.items():
            if now_s >= observed_s + self._overdue_s:
                self._stale[member] = revision
                self._observed[member] = (revision, now_s)
        taken = list(self._stale.items())
        self._stale.clear()
        return taken

    def next_s(self) -> list[float]:
        """When rows become stale unless they change."""
        return [observed_s + self._overdue_s for _, observed_s in self._observed.values()]

    def is_of_dead_run(self, row: MemberRow) -> bool:
        """Whether the row is of an earlier run of our supervisor: no process of that run lives."""
        me = self._own.me
        return bool(me.claim) and row.claim == me.claim and _run(row.incarnation) != _run(me.incarnation)

    def _is_ours(self, member: str, row: MemberRow) -> bool:
        return member == self._own.name and row.incarnation == self._own.me.incarnation


def _run(incarnation: str) -> str:
    """The start of the supervisor that an incarnation is of."""
    return incarnation.rpartition(RUN_SEPARATOR)[0]
