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


class Trial:
    """The commits that one look at a way's speed is made of. Made by `Grouping`."""

    __slots__ = ("before", "began_s", "probes", "sent", "settled", "way")

    def __init__(self, way: Way, probes: bool) -> None:
        self.way = way
        self.probes = probes
        self.began_s: float | None = None
        self.before = 0
        self.sent = 0
        self.settled = 0


class Grouping:
    """The choice of one runtime. One writer: its committer.

    A trial is `trial_commits` commits, from the end of the trial before it until those that were sent in it have
    settled: acknowledgements come in lumps, so that the time between two of them says nothing. The faster way is kept
    for a few trials, then the other is tried again: soon at first, because a start is a bad time to measure, and twice
    as late each time the choice stands, up to `stay_trials_max`. When `quiet_commits` in a row had less than
    `backlog_min` beside them there is no backlog, and the way is `EACH`: a batch would only wait.
    """

    def __init__(
        self,
        *,
        trial_commits: int = 128,
        quiet_commits: int = 64,
        backlog_min: int = 16,
        stay_trials_max: int = 256,
        pause_s: float = 0.1,
    ) -> None:
        self.way = Way.EACH
        self._trial = Trial(Way.EACH, probes=False)
        self._trial_commits = trial_commits
        self._quiet_commits = quiet_commits
        self._backlog_min = backlog_min
        self._stay_trials_max = stay_trials_max
        self._pause_s = pause_s
        self._per_s: dict[Way, float] = {}
        self._faster: Way | None = None
        self._stay_trials = 1
        self._trials_left = 0
        self._quiet = 0
        self._settled_s = 0.0

    @property
    def full(self) -> bool:
        """Whether the way that seems slower has been given enough for its trial: the rest should wait for the end."""
        return self._trial.probes and self._trial.sent >= self._trial_commits

    def sent(self, commits: int, in_flight: int, now_s: float) -> Trial:
        """Some commits are sent in the way that is chosen, beside `in_flight` others; what `settled` wants to know."""
        if not in_flight and now_s - self._settled_s > self._pause_s:
            self._begin(self.way, None, 0)
        trial = self._trial
        if trial.began_s is None:
            trial.began_s, trial.before = now_s, in_flight
        if trial.sent >= self._trial_commits:
            return UNCOUNTED
        trial.sent += commits
        return trial

    def settled(self, trial: Trial, commits: int, in_flight: int, backlog: int, now_s: float) -> None:
        """Some commits that `sent` gave this trial have settled, out of a backlog; so many are in flight still."""
        self._settled_s = now_s
        self._quiet = self._quiet + commits if backlog < self._backlog_min else 0
        if self._quiet >= self._quiet_commits:
            self._quiet = 0
            self._begin(Way.EACH, None, in_flight)
        elif trial is self._trial:
            trial.settled += commits
            if trial.settled >= max(trial.sent, self._trial_commits):
                self._over(trial, in_flight, now_s)

    def _over(self, trial: Trial, in_flight: int, now_s: float) -> None:
        way = self.way
        if trial.began_s is not None and now_s > trial.began_s:
            self._per_s[way] = (trial.before + trial.sent) / (now_s - trial.began_s)
            way = self._next()
        self._begin(way, now_s, in_flight)

    def _begin(self, way: Way, began_s: float | None, in_flight: int) -> None:
        self.way = way
        self._trial = Trial(way, probes=self._faster is not None and way is not self._faster)
        self._trial.began_s, self._trial.before = began_s, in_flight

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


UNCOUNTED = Trial(Way.EACH, probes=False)
"""What was sent when the trial had enough."""
