"""A commit that has no outcome yet: from the end of its turn to what became of its append. Written by the committer."""

import logging
from collections.abc import Callable

from aether.ids import ActorId, Position
from aether.ports import AppendOutcome
from aether.runtime.stage import Stage

log = logging.getLogger("aether.committer")


class CommitBatch:
    """Commits that were sent together; `left` of them have no outcome yet."""

    __slots__ = ("left", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.left = size


class PendingCommit:
    """One commit. The store calls it with its outcome, which then waits in the stage `outcomes`.

    - `expected`: the position of the actor's commit before this one. `on_outcome`: its machine, which gets the outcome.
    - `sent`: it counts as in flight. `sent_s`: when it left, boot time in seconds. `batch`: what it was sent with, if
      not on its own.
    - `lease_valid`: whether the lease of a shard is valid at this instant.
    """

    __slots__ = (
        "_lease_valid",
        "_outcomes",
        "actor_id",
        "batch",
        "expected",
        "on_outcome",
        "outcome",
        "payload",
        "sent",
        "sent_s",
        "shard",
    )

    def __init__(
        self,
        outcomes: "Stage[PendingCommit]",
        lease_valid: Callable[[int], bool],
        actor_id: ActorId,
        shard: int,
        payload: bytes,
        expected: Position,
        on_outcome: Callable[[AppendOutcome], None],
    ) -> None:
        self._outcomes = outcomes
        self._lease_valid = lease_valid
        self.outcome: AppendOutcome | None = None
        self.sent = True
        self.sent_s = 0.0
        self.batch: CommitBatch | None = None
        self.actor_id = actor_id
        self.shard = shard
        self.payload = payload
        self.expected = expected
        self.on_outcome = on_outcome

    def __call__(self, outcome: AppendOutcome) -> None:
        """Take the outcome; the first counts."""
        if self.outcome is None:
            self.outcome = outcome
            self._outcomes.add(self)

    def may_send(self) -> bool:
        """Whether it may leave at this instant."""
        try:
            return self._lease_valid(self.shard)
        except Exception:  # it is asked in the midst of a batch: the others go on
            log.exception("a lease could not be asked", extra={"actor": str(self.actor_id)})
            return False
