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
more of it is answered, and its callers ask again elsewhere.
"""

from enum import Enum

from aether.core.transitions import IllegalTransition


class Phase(Enum):
    """What a machine is doing."""

    REPLAYING = "replaying"
    IDLE = "idle"
    RUNNING = "running"
    COMMITTING = "committing"
    STOPPED = "stopped"

    __hash__ = object.__hash__  # an Enum's own is a call of Python, twice a transition


class Trigger(Enum):
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


TRANSITIONS: dict[tuple[Phase, Trigger], Phase] = {
    (Phase.REPLAYING, Trigger.REPLAYED): Phase.IDLE,
    (Phase.REPLAYING, Trigger.REPLAY_FAILED): Phase.STOPPED,
    (Phase.REPLAYING, Trigger.STOPPED): Phase.STOPPED,
    (Phase.IDLE, Trigger.TURN_BEGUN): Phase.RUNNING,
    (Phase.IDLE, Trigger.REPLAY_NEEDED): Phase.REPLAYING,
    (Phase.IDLE, Trigger.STOPPED): Phase.STOPPED,
    (Phase.RUNNING, Trigger.TURN_EMPTY): Phase.IDLE,
    (Phase.RUNNING, Trigger.COMMIT_SENT): Phase.COMMITTING,
    (Phase.RUNNING, Trigger.REPLAY_NEEDED): Phase.REPLAYING,
    (Phase.COMMITTING, Trigger.COMMITTED): Phase.IDLE,
    (Phase.COMMITTING, Trigger.REPLAY_NEEDED): Phase.REPLAYING,
    **{(phase, Trigger.ABANDONED): Phase.STOPPED for phase in Phase if phase is not Phase.STOPPED},
}


def advance(phase: Phase, trigger: Trigger) -> Phase:
    """The next phase. Raises `IllegalTransition` for what cannot happen there, and the phase stays."""
    following = TRANSITIONS.get((phase, trigger))
    if following is None:
        raise IllegalTransition(phase, trigger)
    return following
