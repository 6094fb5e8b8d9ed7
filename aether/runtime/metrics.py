"""What a runtime has measured, as readings. Read when it is asked for; nothing here is kept."""

from aether.core.metrics.readings import Readings
from aether.runtime.counters import COUNTS, Counters


def read(
    counters: Counters,
    *,
    active: dict[str, int],
    waiting: int,
    shards: int,
    tasks: int = 0,
    tells: int = 0,
    dead_letters: int = 0,
) -> Readings:
    """The counts of a runtime, and what is so now.

    That is: active actors by kind, commands and tells that wait, shards that it has, tasks that run, dead letters.
    """
    readings = Readings()
    for (kind, command), counts in counters.by_command.items():
        for outcome, count in counts.outcomes().items():
            readings.put("aether_commands_total", count, kind, command, outcome)
        readings.put_histogram("aether_command_seconds", counts.seconds, kind, command)
    readings.put_histogram("aether_commit_seconds", counters.commit_seconds)
    readings.put_histogram("aether_activation_seconds", counters.activation_seconds)
    readings.put_histogram("aether_loop_lag_seconds", counters.loop_lag_seconds)
    for kind, count in active.items():
        readings.put("aether_active_actors", count, kind)
    readings.put("aether_waiting_commands", waiting)
    readings.put("aether_shards_owned", shards)
    for (task, outcome), count in counters.by_task.items():
        readings.put("aether_tasks_total", count, task, outcome)
    for (task, outcome), count in counters.attempts_by_task.items():
        readings.put("aether_task_attempts_total", count, task, outcome)
    readings.put("aether_running_tasks", tasks)
    readings.put("aether_inbox_pending", tells)
    readings.put("aether_dead_letters", dead_letters)
    for name in COUNTS:
        readings.put(count_metric(name), getattr(counters, name))
    return readings


def count_metric(name: str) -> str:
    """The metric of one of `COUNTS`."""
    return "aether_commands_received_total" if name == "commands" else f"aether_{name}_total"
