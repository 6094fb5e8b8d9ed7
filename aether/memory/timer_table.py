"""What a server in memory holds of timers: what waits, and what was given out and is not taken yet.

Each method is one synchronous step, as those of `NamespaceContent` are.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from aether.ids import Position
from aether.memory.clock import AlarmClock
from aether.names import shard_of
from aether.sends import CancelSchedule, SetSchedule

EARLY_S = 1e-6
"""By so much an alarm may be early."""


class TimerTable:
    """The timers of one namespace."""

    def __init__(self, shards: int, clock: AlarmClock) -> None:
        self.fired: dict[int, dict[int, SetSchedule]] = {}
        """By shard: the ticks that are due, by their sequence."""
        self.bells: dict[Callable[[int], None], None] = {}
        self.changes = 0
        """How often something was armed, cancelled or given out."""
        self._shards = shards
        self._clock = clock
        self._sequences = count(1)
        self._last: dict[tuple[str, str], SetSchedule | CancelSchedule] = {}
        self._due: list[tuple[float, int, SetSchedule]] = []
        self._order = count()

    def arm(self, send: SetSchedule | CancelSchedule, end: Position | None) -> bool:
        """Take the place of what is there, unless that is of a later place: then False."""
        there = self._last.get((send.source, send.name))
        if there == send:
            return True
        is_later = there is not None and (there.position, there.number) > (send.position, send.number)
        if there is not None and is_later and (end is None or there.position <= end):
            return False
        self.changes += 1
        self._last[send.source, send.name] = send
        if isinstance(send, SetSchedule):
            self._wait(send)
        return True

    def waiting(self) -> list[SetSchedule]:
        """The schedules whose next tick is waited for."""
        return [one for one in self._last.values() if isinstance(one, SetSchedule)]

    def forget(self, setting: SetSchedule) -> None:
        """Have no tick of a setting, if it is there still."""
        if self._last.get((setting.source, setting.name)) == setting:
            del self._last[setting.source, setting.name]

    def remove(self, shard: int, until: int) -> None:
        """Forget ticks that were given out."""
        fired = self.fired.get(shard, {})
        for sequence in [one for one in fired if one <= until]:
            del fired[sequence]

    def _wait(self, setting: SetSchedule) -> None:
        heappush(self._due, (setting.at.timestamp(), next(self._order), setting))
        self._set_alarm(setting)

    def _set_alarm(self, setting: SetSchedule) -> None:
        delay_s = max(0.0, setting.at.timestamp() - self._clock.wall_s())
        self._clock.call_after(delay_s, lambda: self._ring(setting))

    def _ring(self, setting: SetSchedule) -> None:
        """Give out all that is due, in the order of their times, and what is due at once in that of its setting.

        An alarm may be a moment early or late: that of another setting for the same time.
        """
        while self._due and self._due[0][0] - EARLY_S <= self._clock.wall_s():
            _, _, due = heappop(self._due)
            self._give_out(due)
        if self._last.get((setting.source, setting.name)) is setting:  # the wall clock was set back
            self._set_alarm(setting)

    def _give_out(self, setting: SetSchedule) -> None:
        name = setting.source, setting.name
        if self._last.get(name) is not setting:
            return
        self.changes += 1
        del self._last[name]
        shard = shard_of(setting.actor_id, self._shards)
        self.fired.setdefault(shard, {})[next(self._sequences)] = setting
        for ring in list(self.bells):
            ring(shard)
