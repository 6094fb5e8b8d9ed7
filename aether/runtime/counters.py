"""Counts of what a runtime did and refused. Plain integers, written on the event loop only."""

from dataclasses import dataclass, field, fields


class Outcomes:
    """How the commands of one kind and name ended: written by their turns, on the event loop only.

    `rejected` are decided nos and bad input that a handler found, `failed` are faults of handlers, `timed_out` had no
    outcome by their deadline. `late` are handlers that were still at work then, whatever became of them.
    """

    __slots__ = ("failed", "late", "ok", "rejected", "timed_out")

    def __init__(self) -> None:
        self.ok = 0
        self.rejected = 0
        self.failed = 0
        self.timed_out = 0
        self.late = 0

    def as_dict(self) -> dict[str, int]:
        """All counts by name."""
        return {
            "ok": self.ok,
            "rejected": self.rejected,
            "failed": self.failed,
            "timed_out": self.timed_out,
            "late": self.late,
        }


@dataclass(slots=True)
class Counters:
    """Since the runtime was made. A face may publish them; nothing decides by them."""

    commands: int = 0
    answers: int = 0
    answers_fenced: int = 0
    duplicates: int = 0
    refusals_stored: int = 0
    overloaded: int = 0
    commits: int = 0
    commits_fenced: int = 0
    batches: int = 0
    conflicts: int = 0
    unknown_outcomes: int = 0
    appends_refused: int = 0
    activations: int = 0
    events_replayed: int = 0
    events_followed: int = 0
    passivations: int = 0
    commands_rejected: int = 0
    handlers_failed: int = 0
    handlers_late: int = 0
    actors_not_loaded: int = 0
    loop_silences: int = 0
    handlers_given_up: int = 0
    states_changed: int = 0
    actors_halted: int = 0
    workers_lost: int = 0
    machines_given_up: int = 0
    snapshots_written: int = 0
    snapshots_ignored: int = 0
    snapshots_left_out: int = 0
    snapshots_too_large: int = 0
    snapshots_failed: int = 0

    by_command: dict[tuple[str, str], Outcomes] = field(default_factory=dict)

    def of(self, kind: str, command: str) -> Outcomes:
        """The outcomes of one command of a kind."""
        found = self.by_command.get((kind, command))
        if found is None:
            found = self.by_command[kind, command] = Outcomes()
        return found

    def as_dict(self) -> dict[str, int]:
        """All counts by name, but for those by command."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "by_command"}
