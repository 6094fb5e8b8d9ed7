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
    """One look at a way's speed: it lasts until the commits that were sent in it have settled. Made by `Grouping`.

    `counted` are all that settled meanwhile, whenever they were sent.
    """

    __slots__ = ("began_s", "counted", "probes", "sent", "settled", "way")

    def __init__(self, way: Way, began_s: float | None, probes: bool) -> None:
        self.way = way
        self.probes = probes
        self.began_s = began_s
        self.sent = 0
        self.settled = 0
        self.counted = 0


class Grouping:
    """The choice of one runtime. One writer: its committer.

    A trial is `trial_commits` commits, from the end of the trial before it until those that were sent in it have
    settled: acknowledgements come in lumps, so that the time between two of them says nothing. The speed of a way is
    that of its trials since the other one, the latest `memory_trials` above all. The faster way is kept for a few
    trials, then the other is tried again: soon at first, because a start is a bad time to measure, and twice as late
    each time the choice stands, up to `stay_trials_max`. It gets few commits, which is unfair to a way that needs many
    in flight: one that is at least half as fast gets a second trial without that limit, which counts. When
    `quiet_commits` in a row had less than `backlog_min` beside them there is no backlog, and the way is `EACH`: a batch
    would only wait.
    """

    def __init__(
        self,
        *,
        trial_commits: int = 128,
        quiet_commits: int = 64,
        backlog_min: int = 16,
        stay_trials_max: int = 256,
        memory_trials: int = 16,
        pause_s: float = 0.1,
    ) -> None:
        self.way = Way.EACH
        self._trial = Trial(Way.EACH, None, probes=False)
        self._trial_commits = trial_commits
        self._quiet_commits = quiet_commits
        self._backlog_min = backlog_min
        self._stay_trials_max = stay_trials_max
        self._memory_commits = memory_trials * trial_commits
        self._pause_s = pause_s
        self._per_s: dict[Way, float] = {}
        self._second_look = False
        self._measured: Way | None = None
        self._commits = 0.0
        self._took_s = 0.0
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
            self._begin(self.way, None)
        trial = self._trial
        if trial.began_s is None:
            trial.began_s = now_s
        if trial.sent >= self._trial_commits:
            return _UNCOUNTED
        trial.sent += commits
        return trial

    def settled(self, trial: Trial, commits: int, backlog: int, now_s: float) -> None:
        """Some commits that `sent` gave this trial have settled, out of a backlog."""
        self._settled_s = now_s
        if self._trial.began_s is not None:
            self._trial.counted += commits
        self._quiet = self._quiet + commits if backlog < self._backlog_min else 0
        if self._quiet >= self._quiet_commits:
            self._quiet, self._second_look = 0, False
            self._begin(Way.EACH, None)
        elif trial is self._trial:
            trial.settled += commits
            if trial.settled >= max(trial.sent, self._trial_commits):
                self._over(trial, now_s)

    def _over(self, trial: Trial, now_s: float) -> None:
        way = self.way
        if trial.began_s is not None and now_s > trial.began_s:
            self._measure(way, trial.counted, now_s - trial.began_s)
            way = self._next()
        self._begin(way, now_s)

    def _measure(self, way: Way, commits: int, took_s: float) -> None:
        if way is not self._measured:
            self._measured, self._commits, self._took_s = way, 0.0, 0.0
        elif self._commits > self._memory_commits:
            self._commits, self._took_s = self._commits / 2, self._took_s / 2
        self._commits += commits
        self._took_s += took_s
        self._per_s[way] = self._commits / self._took_s

    def _begin(self, way: Way, began_s: float | None) -> None:
        self.way = way
        probes = self._faster is not None and way is not self._faster and not self._second_look
        self._trial = Trial(way, began_s, probes)

    def _next(self) -> Way:
        other = Way.TOGETHER if self.way is Way.EACH else Way.EACH
        if other not in self._per_s:
            return other
        if self.way is self._faster:
            self._trials_left -= 1
            return self.way if self._trials_left > 0 else other
        if not self._second_look and self._faster is other and self._per_s[self.way] * 2 > self._per_s[other]:
            self._second_look, self._measured = True, None
            return self.way
        self._second_look = False
        faster = max(Way, key=lambda way: self._per_s[way])
        self._stay_trials = min(self._stay_trials * 2, self._stay_trials_max) if faster is self._faster else 2
        self._faster, self._trials_left = faster, self._stay_trials
        return faster


_UNCOUNTED = Trial(Way.EACH, None, probes=False)
"""What was sent when the trial had enough."""
