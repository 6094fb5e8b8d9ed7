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

    A trial is `trial_commits` commits that settled while there was a backlog. The faster way is kept for a few trials,
    then the other is tried again: soon at first, because a start is a bad time to measure, and twice as late each time
    the choice stands, up to `stay_trials_max`. When `quiet_commits` in a row had less than `backlog_min` beside them
    there is no backlog, and the way is `EACH`: a batch would only wait.
    """

    def __init__(
        self,
        *,
        trial_commits: int = 256,
        quiet_commits: int = 64,
        backlog_min: int = 16,
        stay_trials_max: int = 64,
    ) -> None:
        self.way = Way.EACH
        self._trial_commits = trial_commits
        self._quiet_commits = quiet_commits
        self._backlog_min = backlog_min
        self._stay_trials_max = stay_trials_max
        self._per_s: dict[Way, float] = {}
        self._faster: Way | None = None
        self._stay_trials = 1
        self._trials_left = 0
        self._began_s: float | None = None
        self._count = 0
        self._quiet = 0

    def settled(self, way: Way, commits: int, backlog: int, now_s: float) -> None:
        """Some commits that were sent in this way have settled, out of a backlog of so many.

        After a change of the way, those that are still under way in the other one say nothing about the new one.
        """
        self._quiet = self._quiet + commits if backlog < self._backlog_min else 0
        if self._quiet >= self._quiet_commits:
            self.way, self._began_s = Way.EACH, None
        elif way is not self.way:
            return
        elif self._began_s is None:
            self._began_s, self._count = now_s, 0
        else:
            self._count += commits
            if self._count >= self._trial_commits and now_s > self._began_s:
                self._per_s[self.way] = self._count / (now_s - self._began_s)
                self._began_s = None
                self.way = self._next()

    def _next(self) -> Way:
        other = Way.TOGETHER if self.way is Way.EACH else Way.EACH
        if other not in self._per_s:
            return other
        if self.way is self._faster:
            self._trials_left -= 1
            return self.way if self._trials_left > 0 else other
        faster = max(Way, key=lambda way: self._per_s[way])
        self._stay_trials = min(self._stay_trials * 2, self._stay_trials_max) if faster is self._faster else 2
        self._faster, self._trials_left = faster, self._stay_trials
        return faster
