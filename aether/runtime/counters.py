"""Counts of what a runtime did and refused, and how long it took. Written on the event loop only."""

from dataclasses import dataclass, field, fields

from aether.core.metrics.failures import RecentFailures
from aether.core.metrics.histogram import Histogram
from aether.errors import (
    AetherError,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    Rejected,
    Unavailable,
    UnknownActor,
    UnknownCommand,
)


class CommandCounts:
    """How the commands of one kind and name ended, and how long they took: `seconds`, from arrival to answer.

    - `ok`: answered with a reply. `rejected`: decided nos, and bad input that a handler found. `failed`: faults of
      handlers, of histories, of the worker. `timed_out`: no outcome by the deadline.
    - `duplicate`: sent again, and answered as the first one was. `overloaded`: refused at a bound. `unavailable`: told
      to ask again, because the actor is not served here now or nothing can be stored. `invalid`: refused before a
      handler ran, for its arguments, its deadline or its id; or too large to be stored. `unknown`: of a kind or command
      that the model does not have.
    - `late`: handlers that were still at work at the deadline, whatever became of them. It is no outcome.
    """

    __slots__ = (
        "duplicate",
        "failed",
        "invalid",
        "late",
        "ok",
        "overloaded",
        "rejected",
        "seconds",
        "timed_out",
        "unavailable",
        "unknown",
    )

    def __init__(self) -> None:
        self.ok = 0
        self.rejected = 0
        self.failed = 0
        self.timed_out = 0
        self.duplicate = 0
        self.overloaded = 0
        self.unavailable = 0
        self.invalid = 0
        self.unknown = 0
        self.late = 0
        self.seconds = Histogram()

    def refused(self, error: AetherError) -> None:
        """A command ended with this error, without a turn or before its handler."""
        if isinstance(error, Unavailable):
            self.unavailable += 1
        elif isinstance(error, Overloaded):
            self.overloaded += 1
        elif isinstance(error, DeadlineExceeded):
            self.timed_out += 1
        elif isinstance(error, InvalidCommand):
            self.invalid += 1
        elif isinstance(error, UnknownActor | UnknownCommand):
            self.unknown += 1
        elif isinstance(error, Rejected):
            self.rejected += 1
        else:
            self.failed += 1

    def outcomes(self) -> dict[str, int]:
        """How many commands ended in each way."""
        return {
            "ok": self.ok,
            "rejected": self.rejected,
            "failed": self.failed,
            "timed_out": self.timed_out,
            "duplicate": self.duplicate,
            "overloaded": self.overloaded,
            "unavailable": self.unavailable,
            "invalid": self.invalid,
            "unknown": self.unknown,
        }

    def as_dict(self) -> dict[str, int]:
        """All counts by name."""
        return {**self.outcomes(), "late": self.late}


@dataclass(slots=True)
class Counters:
    """Since the runtime was made. They are shown as metrics; nothing decides by them.

    Each count is the metric `aether_<name>_total` (`aether.core.metrics.catalogue`).

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
      cancellation. `handlers_put_off`: handlers that ran once more because they waited for each other.
    - `tells_relayed`: tells of actors that were stored in the inbox. `tells_applied`: tells that their actors have
      committed, or had before. `tells_failed`: tries of tells that failed. `tells_given_up`: those that were the last.
      `inbox_removed`: messages removed from the beginning of the inbox because they were needed no more.
    - `ticks_told`: ticks of schedules that were due and are stored in the inbox. `ticks_skipped`: those that were left
      out because they were too late.
    - `actors_not_loaded`: activations that failed. `states_changed`: states found changed outside an event.
      `loop_silences`: times when a handler blocked the event loop.
    - `actors_halted`: actors halted because their replay ended a worker. `workers_lost`: workers that a handler ended.
      `machines_given_up`: virtual machines ended by a fault of the runtime.
    - `snapshots_written`: snapshots stored. `snapshots_ignored`: snapshots of other code, or unreadable.
      `snapshots_left_out`: those not written because too many were under way. `snapshots_too_large`: those over the
      server's largest message, though compressed. `snapshots_failed`: those that could not be stored.
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
    tells_relayed: int = 0
    tells_applied: int = 0
    tells_failed: int = 0
    tells_given_up: int = 0
    inbox_removed: int = 0
    ticks_told: int = 0
    ticks_skipped: int = 0
    actors_not_loaded: int = 0
    loop_silences: int = 0
    handlers_given_up: int = 0
    handlers_put_off: int = 0
    states_changed: int = 0
    actors_halted: int = 0
    workers_lost: int = 0
    machines_given_up: int = 0
    snapshots_written: int = 0
    snapshots_ignored: int = 0
    snapshots_left_out: int = 0
    snapshots_too_large: int = 0
    snapshots_failed: int = 0

    commit_seconds: Histogram = field(default_factory=Histogram)
    activation_seconds: Histogram = field(default_factory=Histogram)
    loop_lag_seconds: Histogram = field(default_factory=Histogram)

    failures: RecentFailures = field(default_factory=RecentFailures)
    rejections: RecentFailures = field(default_factory=RecentFailures)
    by_command: dict[tuple[str, str], CommandCounts] = field(default_factory=dict)
    by_task: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many tasks have ended, by name and outcome: `aether.core.metrics.catalogue.TASK_OUTCOMES`."""

    attempts_by_task: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many attempts of tasks have ended, by name and outcome: `ATTEMPT_OUTCOMES` there."""

    def of(self, kind: str, command: str) -> CommandCounts:
        """The outcomes of one command of a kind; of two empty names: of commands that the model does not have."""
        found = self.by_command.get((kind, command))
        if found is None:
            found = self.by_command[kind, command] = CommandCounts()
        return found

    def of_task(self, task: str, outcome: str) -> None:
        """A task has ended."""
        self.by_task[task, outcome] = self.by_task.get((task, outcome), 0) + 1

    def of_attempt(self, task: str, outcome: str) -> None:
        """An attempt of a task has ended."""
        self.attempts_by_task[task, outcome] = self.attempts_by_task.get((task, outcome), 0) + 1

    def as_dict(self) -> dict[str, int]:
        """All counts by name, but for those by command."""
        return {name: getattr(self, name) for name in COUNTS}

    def counted(self) -> dict[str, int]:
        """The same without those that are 0."""
        return {name: count for name, count in self.as_dict().items() if count}


COUNTS: tuple[str, ...] = tuple(one.name for one in fields(Counters) if isinstance(one.default, int))
"""The names of the counts in `Counters`."""
