"""Whether commits of different actors pay to be stored together: one atomic batch, one disk sync, more staging.

On a server that syncs every write a batch of a hundred costs about what one write costs; on one that does not, staging
the batch costs more than it saves. Nobody tells a client which it is, so both ways are tried in turn while there is a
backlog, and the one in which commits wait less is used until the next trial. Pure: time and counts come in, the way
comes out.
"""

from enum import Enum

SELDOM_TRIALS = 64
"""A way that is tried again after so many trials of the better one can be given more commits: it costs little."""


class Way(Enum):
    """How to store a backlog of commits."""

    EACH = "each"
    TOGETHER = "together"


class Trial:
    """One look at a way: it lasts until the commits that were sent in it have settled. Made by `Grouping`.

    From its first commit on, `counted` are all that settled, whenever they were sent, and `waited_s` is the time that
    passed for each of those that were open, summed.
    """

    __slots__ = ("counted", "probes", "sent", "settled", "waited_s", "wanted", "way")

    def __init__(self, way: Way, wanted: int, probes: bool) -> None:
        self.way = way
        self.wanted = wanted
        self.probes = probes
        self.sent = 0
        self.settled = 0
        self.counted = 0
        self.waited_s = 0.0


class Grouping:
    """The choice of one runtime. One writer: its committer.

    A way is as good as a commit's wait in it is short, from the line to the outcome: by Little's law the mean number of
    open commits by those that settle in a second. With a fixed number in flight that is the way that does most; at a
    load that both can carry both do as many a second, and only the wait tells them apart.

    A trial is `trial_commits` commits, until those that were sent in it have settled: acknowledgements come in lumps,
    so that the time between two of them says nothing. The wait in a way is that of its trials since the other one, the
    latest `memory_trials` above all. The better way is kept for a few trials, then the other is tried again: soon at
    first, because a start is a bad time to measure, and twice as late each time the choice stands, up to
    `stay_trials_max`; soon again when the wait has become `changed` times what it was at the choice, or as small a part
    of it, because that is another load or another server. The other way's trial is a probe of `probe_commits`, as all
    others wait for its end; of `trial_commits` when it is seldom. That is unfair to a way that needs many in flight:
    one with at most double the wait gets a second trial, of all that is open at least, which counts.

    When fewer than `backlog_min` commits were open at each of the last `quiet_commits` outcomes there is no backlog,
    and the way is `EACH`, unmeasured: a batch would only wait.
    """

    def __init__(
        self,
        *,
        trial_commits: int = 128,
        probe_commits: int = 32,
        quiet_commits: int = 64,
        backlog_min: int = 16,
        stay_trials_max: int = 4096,
        memory_trials: int = 16,
        changed: float = 3.0,
    ) -> None:
        self.way = Way.EACH
        self._unmeasured = Trial(Way.EACH, 0, probes=False)
        self._trial = self._unmeasured
        self._trial_commits = trial_commits
        self._probe_commits = probe_commits
        self._quiet_commits = quiet_commits
        self._backlog_min = backlog_min
        self._stay_trials_max = stay_trials_max
        self._memory_commits = memory_trials * trial_commits
        self._changed = changed
        self._wait_s: dict[Way, float] = {}
        self._measured: Way | None = None
        self._commits = 0.0
        self._waited_s = 0.0
        self._better: Way | None = None
        self._chosen_wait_s = 0.0
        self._stay_trials = 1
        self._trials_left = 0
        self._quiet = 0
        self._open = 0
        self._looked_s = 0.0

    @property
    def full(self) -> bool:
        """Whether the way that seems worse has been given enough for its trial: the rest should wait for the end."""
        return self._trial.probes and self._trial.sent >= self._trial.wanted

    def joined(self, now_s: float) -> None:
        """A commit is in line from now on."""
        self._look(now_s)
        self._open += 1
        if self._trial is self._unmeasured and self._open >= self._backlog_min:
            self._quiet = 0
            self._begin(self._better or Way.EACH)

    def sent(self, commits: int) -> Trial:
        """Some commits of the line are sent in the way that is chosen; what `settled` wants to know."""
        trial = self._trial
        if trial.sent >= trial.wanted:
            return self._unmeasured
        trial.sent += commits
        return trial

    def settled(self, trial: Trial, commits: int, now_s: float) -> None:
        """Some commits that were sent together, for which `sent` gave this trial, have settled."""
        self._look(now_s)
        if self._trial.sent:
            self._trial.counted += commits
        self._quiet = self._quiet + commits if self._open < self._backlog_min else 0
        self._open -= commits
        if self._quiet >= self._quiet_commits:
            self.way, self._trial = Way.EACH, self._unmeasured
        elif trial is self._trial and trial is not self._unmeasured:
            trial.settled += commits
            if trial.settled >= max(trial.sent, trial.wanted):
                self._over(trial)

    def _look(self, now_s: float) -> None:
        """The commits that are open have waited since the last look."""
        if self._trial.sent:
            self._trial.waited_s += self._open * (now_s - self._looked_s)
        self._looked_s = now_s

    def _over(self, trial: Trial) -> None:
        self._measure(trial)
        way, wait_s = trial.way, self._wait_s
        other = Way.TOGETHER if way is Way.EACH else Way.EACH
        if other not in wait_s:
            self._begin(other)
        elif way is self._better:
            self._trials_left -= 1
            stays = self._trials_left > 0 and not self._has_changed()
            self._begin(way if stays else other)
        elif trial.probes and wait_s[way] < 2 * wait_s[other]:
            self._measured = None
            self._begin(way, again=True)
        else:
            self._choose()

    def _measure(self, trial: Trial) -> None:
        way = trial.way
        if way is not self._measured:
            self._measured, self._commits, self._waited_s = way, 0.0, 0.0
        elif self._commits > self._memory_commits:
            self._commits, self._waited_s = self._commits / 2, self._waited_s / 2
        self._commits += trial.counted
        self._waited_s += trial.waited_s
        self._wait_s[way] = self._waited_s / self._commits

    def _begin(self, way: Way, *, again: bool = False) -> None:
        """A trial of this way: a probe of the one that is not the better one, but when it is looked at again."""
        probes = self._better is not None and way is not self._better and not again
        wanted = self._trial_commits
        if again:
            wanted = max(wanted, self._open)
        elif probes and self._stay_trials < SELDOM_TRIALS:
            wanted = self._probe_commits
        self.way = way
        self._trial = Trial(way, wanted, probes)

    def _choose(self) -> None:
        better = min(Way, key=lambda way: self._wait_s[way])
        self._stay_trials = min(self._stay_trials * 2, self._stay_trials_max) if better is self._better else 2
        self._better, self._trials_left = better, self._stay_trials
        self._chosen_wait_s = self._wait_s[better]
        self._begin(better)

    def _has_changed(self) -> bool:
        """Whether the wait is not at all what it was at the choice; then the next choices are looked at soon."""
        if self._commits < self._memory_commits:
            return False
        now_s, chosen_s = self._wait_s[self.way], self._chosen_wait_s
        changed = not chosen_s / self._changed < now_s < chosen_s * self._changed
        if changed:
            self._stay_trials = 1
        return changed
