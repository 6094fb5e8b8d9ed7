"""Counts of what a runtime did and refused. Plain integers, written on the event loop only."""

from dataclasses import dataclass, field, fields


class CommandCounts:
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
    """Since the runtime was made. A face may publish them; nothing decides by them.

    - `commands`: commands and queries that arrived. `answers`: answers sent. `answers_fenced`: answers left out because
      the lease of their shard had ended. `duplicates`: commands that came again, and got the answer of the first.
    - `refusals_stored`: refusals stored as `aether.Refused`. `overloaded`: commands refused at a bound.
    - `commits`: commits handed to the store. `commits_fenced`: those not sent, because the lease had ended. `batches`:
      atomic batches of commits. `conflicts`: commits refused because another writer was first. `unknown_outcomes`:
      commits without an acknowledgement. `appends_refused`: commits that the server refused, for want of room for
      example.
    - `activations`: actors brought into memory. `events_replayed`: events read for that. `events_followed`: events of
      other writers that were applied as they were broadcast. `passivations`: idle actors taken out of memory.
    - `commands_rejected`: decided nos and bad input found by handlers. `handlers_failed`: errors in handlers.
      `handlers_late`: handlers that were past their deadline. `handlers_given_up`: handlers that went on after their
      cancellation.
    - `actors_not_loaded`: activations that failed. `states_changed`: states found changed outside an event.
      `loop_silences`: times when a handler blocked the event loop.
    - `actors_halted`: actors halted because their replay ended a worker. `workers_lost`: workers that a handler ended.
      `machines_given_up`: virtual machines ended by a fault of the runtime.
    - `snapshots_written`: snapshots stored. `snapshots_ignored`: snapshots of other code, or unreadable.
      `snapshots_left_out`: those not written because too many were under way. `snapshots_too_large`: those over the
      server's largest message. `snapshots_failed`: those that could not be stored.
    """

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

    by_command: dict[tuple[str, str], CommandCounts] = field(default_factory=dict)

    def of(self, kind: str, command: str) -> CommandCounts:
        """The outcomes of one command of a kind."""
        found = self.by_command.get((kind, command))
        if found is None:
            found = self.by_command[kind, command] = CommandCounts()
        return found

    def as_dict(self) -> dict[str, int]:
        """All counts by name, but for those by command."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "by_command"}
