"""One shard as one member sees it: the life of a lease, as one literal table.

Theory of operation. A shard is ours when its row names us in our present session, and only a compare-and-set on the
row's last revision makes it so. We take a row that nobody holds: never written, released, or of a session that is
over. Then we open the shard (subscribe) and hold it. When the ring wants another member for it we close it (take no
more, answer what was taken, snapshot) and then release the row; the other one takes it from there. Our session may end
while we hold shards, because the server was down or we were stopped: then nothing is answered, and a row that is still
as we left it is reclaimed in the next session with all its machines; a row that somebody took meanwhile is lost.

A write may have no known outcome. Then the row is ours, or nobody's, only by a later row than the one it was written
over: a release without an answer may still be on its way, so what looks like our lease is settled by another write.

    AWAY --TAKE--> TAKING --TAKEN--> EMPTY --OPEN--> OPENING --OPENED--> HELD --CLOSE--> CLOSING --CLOSED--> EMPTY
    EMPTY --RELEASE--> RELEASING --RELEASED--> AWAY
    HELD --LAPSE--> LAPSED --TAKE--> RECLAIMING --TAKEN--> HELD

`LOST` ends it from any phase in which something is open here: what is open is abandoned, and nobody hears of it.
"""

from enum import Enum


class Phase(Enum):
    """What a member has of a shard."""

    AWAY = "away"
    TAKING = "taking"
    OPENING = "opening"
    HELD = "held"
    CLOSING = "closing"
    EMPTY = "empty"
    RELEASING = "releasing"
    LAPSED = "lapsed"
    RECLAIMING = "reclaiming"


class Happening(Enum):
    """What happens to a shard."""

    TAKE = "take"
    TAKEN = "taken"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    OWNED = "owned"
    OPEN = "open"
    OPENED = "opened"
    CLOSE = "close"
    CLOSED = "closed"
    RELEASE = "release"
    RELEASED = "released"
    LAPSE = "lapse"
    LOST = "lost"


LOSABLE = (Phase.OPENING, Phase.HELD, Phase.CLOSING, Phase.EMPTY, Phase.LAPSED)
"""Something of the shard may be open here, and no write of ours is under way that would tell."""

ANSWERING = frozenset({Phase.OPENING, Phase.HELD, Phase.CLOSING})
"""The row names us in our present session, so answers may leave."""

TRANSITIONS: dict[tuple[Phase, Happening], Phase] = {
    (Phase.AWAY, Happening.TAKE): Phase.TAKING,
    (Phase.AWAY, Happening.OWNED): Phase.EMPTY,  # a take whose outcome was unknown had been stored
    (Phase.TAKING, Happening.TAKEN): Phase.EMPTY,
    (Phase.TAKING, Happening.REFUSED): Phase.AWAY,
    (Phase.TAKING, Happening.UNKNOWN): Phase.AWAY,
    (Phase.EMPTY, Happening.OPEN): Phase.OPENING,
    (Phase.OPENING, Happening.OPENED): Phase.HELD,
    (Phase.HELD, Happening.CLOSE): Phase.CLOSING,
    (Phase.CLOSING, Happening.CLOSED): Phase.EMPTY,
    (Phase.EMPTY, Happening.RELEASE): Phase.RELEASING,
    (Phase.RELEASING, Happening.RELEASED): Phase.AWAY,
    (Phase.RELEASING, Happening.REFUSED): Phase.AWAY,
    (Phase.RELEASING, Happening.UNKNOWN): Phase.AWAY,
    (Phase.AWAY, Happening.RELEASE): Phase.RELEASING,  # a release without an answer may not have been stored
    (Phase.HELD, Happening.LAPSE): Phase.LAPSED,
    (Phase.RECLAIMING, Happening.LAPSE): Phase.LAPSED,
    (Phase.LAPSED, Happening.TAKE): Phase.RECLAIMING,
    (Phase.LAPSED, Happening.OWNED): Phase.HELD,  # likewise
    (Phase.RECLAIMING, Happening.TAKEN): Phase.HELD,
    (Phase.RECLAIMING, Happening.UNKNOWN): Phase.LAPSED,
    **{(phase, Happening.LOST): Phase.AWAY for phase in LOSABLE},
}


def advance(phase: Phase, happening: Happening) -> Phase:
    """The next phase. Raises AssertionError for what cannot happen there, and the phase stays."""
    following = TRANSITIONS.get((phase, happening))
    assert following is not None, f"{happening.value} cannot happen while {phase.value}"
    return following
