"""Whether commits of different actors pay to be stored together: one atomic batch, one disk sync, more staging.

On a server that syncs every write a batch of a hundred costs about what one write costs; on one that does not, staging
the batch costs more than it saves. Nobody tells a client which it is, so both ways are tried in turn while there is a
backlog, and the faster one is used until the next trial. Pure: time and counts come in, the way comes out.
"""

from enum import Enum


class Way(Enum):
    """How to store a backlog of commits."""

    EACH = "each"
    TOGETHER = "together"


class Grouping:
    """The choice of one runtime. One writer: its committer.

    A trial is `trial_commits` commits that settled while there was always a backlog of at least `backlog_min`; a rate
    older than `retrial_s` seconds is measured again. Without a backlog the way is `EACH`: a batch would only wait.
    """

    __slots__ = ("_backlog_min", "_began_s", "_count", "_rates", "_retrial_s", "_trial_commits", "way")

    def __init__(self, *, trial_commits: int = 256, backlog_min: int = 16, retrial_s: float = 5.0) -> None:
        self.way = Way.EACH
        self._trial_commits = trial_commits
        self._backlog_min = backlog_min
        self._retrial_s = retrial_s
        self._began_s: float | None = None
        self._count = 0
        self._rates: dict[Way, tuple[float, float]] = {}

    def settled(self, commits: int, backlog: int, now_s: float) -> None:
        """Some commits have settled, out of a backlog of so many."""
        if backlog < self._backlog_min:
            self.way, self._began_s = Way.EACH, None
            return
        if self._began_s is None:
            self._began_s, self._count = now_s, 0
            return
        self._count += commits
        if self._count >= self._trial_commits and now_s > self._began_s:
            self._rates[self.way] = (self._count / (now_s - self._began_s), now_s)
            self._began_s = None
            self.way = self._next(now_s)

    def _next(self, now_s: float) -> Way:
        other = Way.TOGETHER if self.way is Way.EACH else Way.EACH
        measured = self._rates.get(other)
        if measured is None or now_s - measured[1] > self._retrial_s:
            return other
        return max(Way, key=lambda way: self._rates[way][0])
