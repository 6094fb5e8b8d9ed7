"""One shard as one member sees it: the life of a lease, as one literal table.

Theory of operation. A shard is ours when its row names us in our present session, and only a compare-and-set on the
row's last revision makes it so. We take a row that no member holds: never written, released, or of a session that is
over. Then we open the shard (subscribe) and hold it. When the ring wants another member for it we close it (take no
more, answer what was taken, snapshot) and then release the row; the other one takes it from there. Our session may end
while we hold shards, because the server was down or we were stopped: then nothing is answered, and a row that is still
as we left it is reclaimed in the next session with all its machines; a row that another member took meanwhile is lost.

A write may have no known outcome. Then the row is ours, or no member's, only by a later row than the one it was written
over: a release without an answer may still be on its way, so another write decides whether what looks like our lease is
ours.

    NOT_HELD --ACQUIRE--> ACQUIRING --ACQUIRED--> ACQUIRED --START--> STARTING --STARTED--> HELD
    HELD --STOP--> STOPPING --STOPPED--> ACQUIRED --RELEASE--> RELEASING --RELEASED--> NOT_HELD
    HELD --EXPIRE--> EXPIRED --ACQUIRE--> RECLAIMING --ACQUIRED--> HELD

`LOST` ends it from any phase in which something is open here: what is open is abandoned, and no caller is answered.
"""

from enum import Enum

from aether.core.transitions import IllegalTransition


class Phase(Enum):
    """What a member has of a shard."""

    NOT_HELD = "not held"
    ACQUIRING = "acquiring"
    STARTING = "starting"
    HELD = "held"
    STOPPING = "stopping"
    ACQUIRED = "acquired"
    RELEASING = "releasing"
    EXPIRED = "expired"
    RECLAIMING = "reclaiming"


class ShardTrigger(Enum):
    """What happens to a shard."""

    ACQUIRE = "acquire"
    ACQUIRED = "acquired"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    OWNED = "owned"
    START = "start"
    STARTED = "started"
    STOP = "stop"
    STOPPED = "stopped"
    RELEASE = "release"
    RELEASED = "released"
    EXPIRE = "expire"
    LOST = "lost"


LOSABLE = (Phase.STARTING, Phase.HELD, Phase.STOPPING, Phase.ACQUIRED, Phase.EXPIRED)
"""Something of the shard may be open here, and no write of ours is under way."""

ANSWERING = frozenset({Phase.STARTING, Phase.HELD, Phase.STOPPING})
"""The row names us in our present session, so answers may leave."""

TRANSITIONS: dict[tuple[Phase, ShardTrigger], Phase] = {
    (Phase.NOT_HELD, ShardTrigger.ACQUIRE): Phase.ACQUIRING,
    (Phase.NOT_HELD, ShardTrigger.OWNED): Phase.ACQUIRED,  # a take whose outcome was unknown had been stored
    (Phase.ACQUIRING, ShardTrigger.ACQUIRED): Phase.ACQUIRED,
    (Phase.ACQUIRING, ShardTrigger.REFUSED): Phase.NOT_HELD,
    (Phase.ACQUIRING, ShardTrigger.UNKNOWN): Phase.NOT_HELD,
    (Phase.ACQUIRED, ShardTrigger.START): Phase.STARTING,
    (Phase.STARTING, ShardTrigger.STARTED): Phase.HELD,
    (Phase.HELD, ShardTrigger.STOP): Phase.STOPPING,
    (Phase.STOPPING, ShardTrigger.STOPPED): Phase.ACQUIRED,
    (Phase.ACQUIRED, ShardTrigger.RELEASE): Phase.RELEASING,
    (Phase.RELEASING, ShardTrigger.RELEASED): Phase.NOT_HELD,
    (Phase.RELEASING, ShardTrigger.REFUSED): Phase.NOT_HELD,
    (Phase.RELEASING, ShardTrigger.UNKNOWN): Phase.NOT_HELD,
    (Phase.NOT_HELD, ShardTrigger.RELEASE): Phase.RELEASING,  # a release without an answer may not have been stored
    (Phase.HELD, ShardTrigger.EXPIRE): Phase.EXPIRED,
    (Phase.RECLAIMING, ShardTrigger.EXPIRE): Phase.EXPIRED,
    (Phase.EXPIRED, ShardTrigger.ACQUIRE): Phase.RECLAIMING,
    (Phase.EXPIRED, ShardTrigger.OWNED): Phase.HELD,  # likewise
    (Phase.RECLAIMING, ShardTrigger.ACQUIRED): Phase.HELD,
    (Phase.RECLAIMING, ShardTrigger.UNKNOWN): Phase.EXPIRED,
    **{(phase, ShardTrigger.LOST): Phase.NOT_HELD for phase in LOSABLE},
}


def advance(phase: Phase, trigger: ShardTrigger) -> Phase:
    """The next phase. Raises `IllegalTransition` for what cannot happen there, and the phase stays."""
    following = TRANSITIONS.get((phase, trigger))
    if following is None:
        raise IllegalTransition(phase, trigger)
    return following
