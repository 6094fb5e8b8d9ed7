"""Every metric: its name, its type, its labels, and what it says. A metric is declared here and nowhere else.

Names and labels go to Prometheus as they are. Labels are kinds, commands and outcomes, never keys: there are millions.
"""

from dataclasses import dataclass
from enum import Enum


class MetricType(Enum):
    """How a metric behaves. Counters and histograms only grow while a worker lives; a gauge is what is so now."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Its samples have a value for each label."""

    name: str
    type: MetricType
    about: str
    labels: tuple[str, ...] = ()


_COUNTER, _GAUGE, _HISTOGRAM = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM

TASK_OUTCOMES = ("ok", "given_up", "cancelled")
"""How a task ends, once: its result is stored, or its actor is told that it failed too often, or was cancelled."""

ATTEMPT_OUTCOMES = ("ok", "failed", "timed_out", "cancelled", "given_back")
"""How an attempt of a task ends; `given_back`: its worker left meanwhile, and another one begins it anew."""

METRICS: tuple[Metric, ...] = (
    Metric("aether_commands_total", _COUNTER, "Commands and queries that ended so.", ("kind", "command", "outcome")),
    Metric("aether_command_seconds", _HISTOGRAM, "From the arrival of a command at its worker to its answer.",
           ("kind", "command")),
    Metric("aether_commit_seconds", _HISTOGRAM, "From handing a commit to the event store to its outcome."),
    Metric("aether_activation_seconds", _HISTOGRAM, "From the first command for an actor that is not in memory to the "
           "end of its replay."),
    Metric("aether_loop_lag_seconds", _HISTOGRAM, "How late a timer of the event loop was, four times a second."),
    Metric("aether_active_actors", _GAUGE, "Actors in memory.", ("kind",)),
    Metric("aether_waiting_commands", _GAUGE, "Commands without an answer."),
    Metric("aether_inbox_pending", _GAUGE, "Tells that owners have read and that are not applied."),
    Metric("aether_dead_letters", _GAUGE, "Tells that were given up and neither sent again nor dropped."),
    Metric("aether_shards_owned", _GAUGE, "Shards that workers hold."),
    Metric("aether_shards", _GAUGE, "Shards that the namespace has."),
    Metric("aether_workers", _GAUGE, "Workers that told their numbers."),
    Metric("aether_workers_missing", _GAUGE, "Workers that are members and did not tell their numbers in time."),
    Metric("aether_commands_received_total", _COUNTER, "Commands and queries that arrived at workers."),
    Metric("aether_answers_total", _COUNTER, "Answers sent."),
    Metric("aether_answers_fenced_total", _COUNTER, "Answers left out because the lease of their shard had ended."),
    Metric("aether_duplicates_total", _COUNTER, "Commands that came again, and got the answer of the first."),
    Metric("aether_refusals_stored_total", _COUNTER, "Refusals stored as aether.Refused."),
    Metric("aether_overloaded_total", _COUNTER, "Commands refused at a bound."),
    Metric("aether_commits_total", _COUNTER, "Commits handed to the committer."),
    Metric("aether_commits_fenced_total", _COUNTER, "Commits not sent because the lease had ended."),
    Metric("aether_batches_total", _COUNTER, "Atomic batches of commits."),
    Metric("aether_conflicts_total", _COUNTER, "Commits refused because another writer was first."),
    Metric("aether_unknown_outcomes_total", _COUNTER, "Commits without an acknowledgement."),
    Metric("aether_appends_refused_total", _COUNTER, "Commits that the server refused, for want of room for example."),
    Metric("aether_activations_total", _COUNTER, "Actors brought into memory."),
    Metric("aether_events_replayed_total", _COUNTER, "Events read to bring actors into memory."),
    Metric("aether_events_followed_total", _COUNTER, "Events of other writers applied as they were broadcast."),
    Metric("aether_passivations_total", _COUNTER, "Idle actors taken out of memory."),
    Metric("aether_commands_rejected_total", _COUNTER, "Decided nos and bad input found by handlers."),
    Metric("aether_handlers_failed_total", _COUNTER, "Errors in handlers."),
    Metric("aether_handlers_late_total", _COUNTER, "Handlers that were past their deadline."),
    Metric("aether_handlers_given_up_total", _COUNTER, "Handlers that went on after their cancellation."),
    Metric("aether_handlers_put_off_total", _COUNTER, "Handlers that were put off because they waited for each other."),
    Metric("aether_tells_relayed_total", _COUNTER, "Tells of actors stored in the inbox."),
    Metric("aether_tells_applied_total", _COUNTER, "Tells that their actors committed, or had before."),
    Metric("aether_tells_failed_total", _COUNTER, "Tries of tells that failed."),
    Metric("aether_tells_given_up_total", _COUNTER, "Tells that failed too often."),
    Metric("aether_inbox_removed_total", _COUNTER, "Messages removed from the beginning of the inbox."),
    Metric("aether_ticks_told_total", _COUNTER, "Ticks of schedules that were due and were stored in the inbox."),
    Metric("aether_ticks_skipped_total", _COUNTER, "Ticks of schedules that were too late and were left out."),
    Metric("aether_tasks_total", _COUNTER, "Tasks that ended so, each once.", ("task", "outcome")),
    Metric("aether_task_attempts_total", _COUNTER, "Attempts of tasks that ended so.", ("task", "outcome")),
    Metric("aether_running_tasks", _GAUGE, "Tasks that run."),
    Metric("aether_actors_not_loaded_total", _COUNTER, "Activations that failed."),
    Metric("aether_states_changed_total", _COUNTER, "States found changed outside an event."),
    Metric("aether_loop_silences_total", _COUNTER, "Times when a handler blocked the event loop."),
    Metric("aether_actors_halted_total", _COUNTER, "Actors halted because their replay ended a worker."),
    Metric("aether_workers_lost_total", _COUNTER, "Workers that a handler ended."),
    Metric("aether_machines_given_up_total", _COUNTER, "Virtual machines ended by a fault of the runtime."),
    Metric("aether_snapshots_written_total", _COUNTER, "Snapshots stored."),
    Metric("aether_snapshots_ignored_total", _COUNTER, "Snapshots of other code, or unreadable."),
    Metric("aether_snapshots_left_out_total", _COUNTER, "Snapshots not written: too many were under way."),
    Metric("aether_snapshots_too_large_total", _COUNTER, "Snapshots too large for a message, though compressed."),
    Metric("aether_snapshots_failed_total", _COUNTER, "Snapshots that could not be stored."),
)  # fmt: skip

BY_NAME = {metric.name: metric for metric in METRICS}
