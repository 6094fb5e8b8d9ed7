"""The timers of schedules: each has a command waiting for its next tick, and gives it out when that is due."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple, Protocol, TypeAlias

from aether.ids import Position
from aether.ports.bus import Subscription
from aether.ports.inbox import InboxBatch
from aether.sends import CancelSchedule, SetSchedule

EndOfCommits: TypeAlias = Callable[[], Awaitable[Position]]
"""Asks for the last position of the stream of commits."""


class OverdueTimers(NamedTuple):
    """Timers whose tick was due long ago, with their sequences; up to which one it was looked, and whether to go on."""

    found: list[tuple[int, SetSchedule]]
    last: int
    more: bool


class Timers(Protocol):
    """The timers of a namespace, one for each actor and name of a schedule. All of it raises `Unavailable`.

    A timer holds what a commit has last said of its schedule, and the place of that. What is of an earlier place
    changes nothing, so to arm again does no harm. A tick is given out at least once, and not before it is due. Once it
    was, the timer has forgotten it: an earlier setting that is armed again then is given out, too.
    """

    @property
    def unsynced_s(self) -> float:
        """For how long after it was armed a power cut may take a timer away; 0 when it is on the disk at once."""
        ...

    async def arm(self, send: SetSchedule | CancelSchedule, end: EndOfCommits | None = None) -> bool:
        """Have its next tick given out when it is due, or have none; False when what is there is of a later place.

        With `end`, which is asked then: unless that is beyond the commits, and so of one that is lost.
        """
        ...

    async def armed(self, kind: str = "", key: str = "") -> list[SetSchedule]:
        """The schedules whose next tick is waited for: of an actor, of a kind, or all. In no order."""
        ...

    async def fired(self, shard: int, after: int) -> InboxBatch:
        """Some of the ticks of a shard's actors that are due, after a sequence, in order: each a `SetSchedule`."""
        ...

    async def remove_fired(self, shard: int, until: int) -> None:
        """Forget the ticks of a shard up to a sequence, that one included: they are stored elsewhere."""
        ...

    async def overdue(self, after: int, late_s: float) -> OverdueTimers:
        """Some of the timers after a sequence, of which those whose tick was due so long ago, by the server's clock."""
        ...

    async def remove_overdue(self, tick: SetSchedule, sequence: int) -> None:
        """Forget such a timer, as it was read at its sequence."""
        ...

    async def now(self) -> datetime:
        """What the server's clock shows, by which ticks are given out."""
        ...

    async def end(self) -> int:
        """Another number each time that something was armed or given out, as the leader knows it."""
        ...

    async def follow(self, shard: int, rung: Callable[[], None]) -> Subscription:
        """Call back when a tick of the shard is given out, and when some may have been; best effort."""
        ...
