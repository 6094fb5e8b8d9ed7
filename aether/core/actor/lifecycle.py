"""The life of a virtual machine, as one literal table.

Theory of operation. A machine replays, then takes turns. A turn runs the commands that wait; when they emitted events
the turn ends in a commit, and nothing else of the actor runs until its outcome is there. An outcome that is no plain
yes sends the machine back to replay: the history decides what happened, never the machine. Whatever happens to be
waiting stays in the mailbox meanwhile.

    replaying --REPLAYED--> idle --TURN_BEGUN--> running --TURN_EMPTY--> idle
        ^  |                                        |
        |  +--REPLAY_FAILED--> stopped              +--COMMIT_SENT--> committing --COMMITTED--> idle
        |                                           |                     |
        +-------------------REPLAY_NEEDED-----------+----------<----------+--(conflict, unknown, undo)

`STOPPED` ends it from any phase in which no turn and no commit is open. `ABANDONED` ends it from any phase: nothing
more of it is answered, and whoever waits asks again elsewhere.
"""

from enum import Enum


class Phase(Enum):
    """What a machine is doing."""

    REPLAYING = "replaying"
    IDLE = "idle"
    RUNNING = "running"
    COMMITTING = "committing"
    STOPPED = "stopped"

    __hash__ = object.__hash__  # an Enum's own is a call of Python, twice a transition


class Happening(Enum):
    """What happens to a machine."""

    REPLAYED = "replayed"
    REPLAY_FAILED = "replay failed"
    REPLAY_NEEDED = "replay needed"
    TURN_BEGUN = "turn begun"
    TURN_EMPTY = "turn empty"
    COMMIT_SENT = "commit sent"
    COMMITTED = "committed"
    STOPPED = "stopped"
    ABANDONED = "abandoned"

    __hash__ = object.__hash__


TRANSITIONS: dict[tuple[Phase, Happening], Phase] = {
    (Phase.REPLAYING, Happening.REPLAYED): Phase.IDLE,
    (Phase.REPLAYING, Happening.REPLAY_FAILED): Phase.STOPPED,
    (Phase.REPLAYING, Happening.STOPPED): Phase.STOPPED,
    (Phase.IDLE, Happening.TURN_BEGUN): Phase.RUNNING,
    (Phase.IDLE, Happening.REPLAY_NEEDED): Phase.REPLAYING,
    (Phase.IDLE, Happening.STOPPED): Phase.STOPPED,
    (Phase.RUNNING, Happening.TURN_EMPTY): Phase.IDLE,
    (Phase.RUNNING, Happening.COMMIT_SENT): Phase.COMMITTING,
    (Phase.RUNNING, Happening.REPLAY_NEEDED): Phase.REPLAYING,
    (Phase.COMMITTING, Happening.COMMITTED): Phase.IDLE,
    (Phase.COMMITTING, Happening.REPLAY_NEEDED): Phase.REPLAYING,
    **{(phase, Happening.ABANDONED): Phase.STOPPED for phase in Phase if phase is not Phase.STOPPED},
}


def advance(phase: Phase, happening: Happening) -> Phase:
    """The next phase. Raises AssertionError for what cannot happen there, and the phase stays."""
    following = TRANSITIONS.get((phase, happening))
    assert following is not None, f"{happening.value} cannot happen while {phase.value}"
    return following
