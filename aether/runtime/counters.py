"""Counts of what a runtime did and refused. Plain integers, written on the event loop only."""

from dataclasses import asdict, dataclass


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
    actors_failed: int = 0
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

    def as_dict(self) -> dict[str, int]:
        """All counts by name."""
        return asdict(self)
