"""What a member knows of one shard: its own phase there, the last state of the lease row, and its own last write."""

from dataclasses import dataclass

from aether.core.cluster.effects import RELEASED_LEASE
from aether.core.cluster.handoff import Phase
from aether.core.cluster.membership import Holder, LeaseRow


@dataclass(slots=True)
class ShardLease:
    """One shard as one member sees it. One writer: the ownership.

    `serial` counts the phases, so that late outcomes are told from present ones. `row` was read at `revision`;
    `writing` is what our last write holds, over the revision `tried_at`. `refused_at`: a write over that revision was
    refused, so the row has a later one that we have not read yet. `doubted_at`: a release over that revision has no
    answer, so the row there may be ours no more. No write before `retry_at_s`.
    """

    phase: Phase = Phase.NOT_HELD
    serial: int = 0
    revision: int = 0
    row: LeaseRow | None = None
    writing: LeaseRow = RELEASED_LEASE
    tried_at: int = 0
    refused_at: int = -1
    doubted_at: int = -1
    retry_at_s: float = 0.0

    def observe(self, revision: int, row: LeaseRow | None) -> bool:
        """The row was read or written at a revision; whether that is later than what was known."""
        # The end of a row has a revision that was read before.
        later = revision > self.revision or (row is None and revision == self.revision)
        if later:
            self.revision, self.row, self.refused_at = revision, row, -1
        return later

    def names(self, holder: Holder | None) -> bool:
        """Whether the row names a member in its session."""
        return self.row is not None and (self.row.holder, self.row.session) == holder

    def belongs_to(self, holder: Holder | None) -> bool:
        """Whether the row names the member, and no write of ours may have changed it meanwhile."""
        return self.names(holder) and self.revision not in (self.refused_at, self.doubted_at)

    def is_doubted(self, holder: Holder | None) -> bool:
        """Whether the row names the member, and a release without an answer may have changed it."""
        return self.names(holder) and self.revision == self.doubted_at != self.refused_at
