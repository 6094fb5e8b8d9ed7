"""Which appends may still arrive: for each shard, up to which expected position. Pure; one writer, the runtime.

An append is late when its sender does not know its outcome, or has lost the shard meanwhile: a process that was
stopped between its look at the lease and its write, a message that a slow server has not handled yet. The store takes
it as long as the actor's last position is the one that it expects. So a late append can change an actor only while the
actor's position is at most the one noted here, and no longer once something else has been appended to the actor.
"""

from aether.ids import Position

NO_LATE_APPEND = -1
"""Every append of earlier owners has had its outcome."""

ANY_LATE_APPEND = 2**62
"""An earlier owner's appends may arrive at any position: the present end of the stream bounds them."""


class LateAppends:
    """The bounds of one worker's shards."""

    __slots__ = ("_bounds",)

    def __init__(self, shards: int) -> None:
        self._bounds = [NO_LATE_APPEND] * shards

    def bound(self, shard: int) -> int:
        """The highest position that a late append may expect; `NO_LATE_APPEND` when there is none."""
        return self._bounds[shard]

    def possible(self, shard: int, position: Position) -> bool:
        """Whether an append may still arrive that expects this position of an actor of the shard."""
        return position <= self._bounds[shard]

    def open(self, shard: int, bound: int) -> None:
        """The shard is served from now on, and its earlier owners left this bound."""
        self._bounds[shard] = bound

    def note(self, shard: int, expected: Position) -> None:
        """An append that expects this position has no known outcome."""
        self._bounds[shard] = max(self._bounds[shard], expected)
