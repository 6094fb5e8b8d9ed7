"""Whether commits of different actors pay to be stored together: one atomic batch, one disk sync, more staging.

On a server that syncs every write a batch of a hundred costs about what one write costs; on one that does not, staging
the batch costs more than it saves. Nobody tells a client which it is, so both are measured: how many commits a second
the store takes each on its own, and how long one waits when they go in batches. Pure: time and counts come in, the
way comes out.
"""

from enum import Enum
from math import inf

LEAVES_AT = 1.3
"""Batches go on until this many times the commits that were open would have to be, so that chance does not decide."""

CLEARLY = 1.25
"""Singles must wait so many times as long as batches do, because batches are more work for the server."""

UNUSUAL = 2.0
"""So many times the commits that are open on the average while singles are in flight are a growing backlog."""

ROUNDS = 16
"""What is open must have settled so often before the other way is explored, which may be all of it."""

TRIAL_ROUNDS = 4
"""A trial of singles lasts until what was open has settled so often."""

FEW = 8
"""Singles that show whether what is known of them still holds. With fsync they take 2 ms, `probe_commits` take 10."""


class Way(Enum):
    """How to store a backlog of commits."""

    EACH = "each"
    TOGETHER = "together"


class Measured:
    """What was seen of a way lately: so many commits, in such a time, which waited so long in sum."""

    __slots__ = ("commits", "took_s", "waited_s")

    def __init__(self) -> None:
        self.commits = 0.0
        self.took_s = 0.0
        self.waited_s = 0.0

    @property
    def per_s(self) -> float:
        """Commits a second, 0 if nothing was seen."""
        return self.commits / self.took_s if self.took_s else 0.0

    @property
    def wait_s(self) -> float:
        """A commit's wait from the line to the outcome (Little's law), infinite if nothing was seen."""
        return self.waited_s / self.commits if self.commits else inf

    def agrees(self, other: "Measured") -> bool:
        """Whether both saw about the same rate."""
        return other.per_s / 2 < self.per_s < other.per_s * 2

    def add(self, other: "Measured") -> None:
        """Count what the other saw too."""
        self.commits += other.commits
        self.took_s += other.took_s
        self.waited_s += other.waited_s

    def keep(self, commits: float) -> None:
        """Let what was seen count no more than so many commits."""
        if self.commits > commits:
            part = commits / self.commits
            self.commits, self.took_s, self.waited_s = commits, self.took_s * part, self.waited_s * part


class Grouping:
    """The choice of one runtime. One writer: its committer, which has one batch in flight or any number of singles.

    Stored each on its own, a commit waits until the store has taken all that were open before it; in a batch, for its
    end, and perhaps for the end of the one before. So batches pay from as many open commits on as the store takes
    singles in a commit's wait for its batch. With that the way follows the load within milliseconds, and no trial is
    needed while both ways are used now and then. They begin only where singles were seen to wait longer, or where far
    more are open than usual: callers that wait for answers call in lumps.

    The singles' rate is that of the time in which some are in flight, whole stretches of it: acknowledgements come in
    lumps, so that the time between two of them says nothing. A wait is the time that passed for each of the open
    commits, summed, by those that settled (Little's law).

    A way that the choice leaves alone is explored: after `stay_commits` in the other one at first, because a start is
    a bad time to measure, and four times as late each time the choice stands, up to `stay_commits_max`; soon again when
    the wait has become `changed` times what it was then, or as small a part of it, because that is another load or
    another server. What has not been used for `memory_commits` is measured anew.

    To explore batches takes one. To explore singles, a few are sent and all others wait for their end, so as few as
    will do. When they are as fast as what is known, nothing has changed. Otherwise `probe_commits` are sent: if these
    take longer in proportion, the store is what bounds them, and the few will do the next time. If they do not, the
    store is far and needs many in flight, which it gets: `first_commits`. When half of what is open would be too few
    for a batch, all of it is sent. Singles that are then faster than the batches get a trial, unless more and more pile
    up: where something else is the bottleneck, fewer are open than for a batch.

    With fewer than `backlog_min` open commits there is no backlog: each goes on its own, and nothing is explored.
    """

    def __init__(
        self,
        *,
        first_commits: int = 128,
        probe_commits: int = 32,
        backlog_min: int = 16,
        stay_commits: int = 256,
        stay_commits_max: int = 524_288,
        memory_commits: int = 512,
        changed: float = 3.0,
    ) -> None:
        assert FEW < probe_commits < first_commits
        self.way = Way.EACH
        self._first_commits = first_commits
        self._probe_commits = probe_commits
        self._backlog_min = backlog_min
        self._stay_commits_min = stay_commits
        self._stay_commits_max = stay_commits_max
        self._memory_commits = memory_commits
        self._changed = changed

        self._open = 0
        self._most = 0
        self._singles = 0
        self._looked_s = 0.0
        self._each = Measured()
        self._together = Measured()
        self._batch_s = 0.0
        self._batch_waited_s = 0.0

        self._stay_commits = stay_commits
        self._since_each = 0
        self._since_together = 0
        self._exploring = False
        self._explored_with = 0
        self._known = self._each
        self._bound_by_store = False
        self._few_s = 0.0
        self._probe = 0
        self._again = False
        self._probe_left = 0
        self._trial_left = 0
        self._trial_open_max = 0
        self._chosen_s = 0.0

    @property
    def full(self) -> bool:
        """Whether as many singles are under way as are needed to know them: the rest should wait."""
        if self.way is not Way.EACH:
            return False
        if self._exploring:
            return self._probe_left <= 0
        return not self._together.commits and self._singles >= self._first_commits

    @property
    def pays_from(self) -> float:
        """From how many open commits on batches are better; infinite while one of the ways was never used."""
        if not (self._each.commits and self._each.took_s and self._together.commits):
            return inf
        return max(self._backlog_min, self._together.wait_s * self._each.per_s)

    def joined(self, now_s: float) -> None:
        """A commit is in line from now on."""
        self._look(now_s)
        self._open += 1
        if self.way is Way.EACH and not self._exploring:
            self._consider_together()

    def sent(self, commits: int) -> None:
        """Some commits of the line are sent: one on its own, or a batch."""
        if commits > 1:
            self._batch_s = self._batch_waited_s = 0.0
            return
        self._singles += 1
        if not self._exploring:
            return
        if self.way is Way.EACH:
            self._probe_left -= 1
        else:  # too few are left for a batch
            self._exploring = False
            self._since_together = 0
            self.way = Way.EACH

    def left(self, commits: int) -> None:
        """These are not sent after all."""
        self._open -= commits

    def settled(self, commits: int, now_s: float) -> None:
        """What was sent as one has settled, all of it."""
        self._look(now_s)
        most = self._open
        self._open -= commits
        if commits > 1:
            self._measure_batch(commits)
        else:
            self._measure_single()
        if self._exploring:
            if self.way is Way.TOGETHER:
                if commits > 1:
                    self._explored()
            elif self._probe_left <= 0 and not self._singles:
                self._probed()
        elif self.way is Way.EACH:
            self._consider_together()
        elif not self._singles:
            self._consider_each(most)

    def _look(self, now_s: float) -> None:
        """The commits that are open have waited since the last look."""
        passed_s = now_s - self._looked_s
        waited_s = self._open * passed_s
        self._batch_s += passed_s
        self._batch_waited_s += waited_s
        if self._singles:
            self._each.took_s += passed_s
            self._each.waited_s += waited_s
        self._looked_s = now_s

    def _measure_single(self) -> None:
        self._singles -= 1
        self._since_together += 1
        if self._since_each > self._memory_commits:
            self._each.keep(self._probe_commits / 2)
        self._since_each = 0
        self._trial_left -= 1
        self._each.commits += 1
        if self._each.commits > self._memory_commits:
            self._each.keep(self._memory_commits / 2)

    def _measure_batch(self, commits: int) -> None:
        kept = self._together.commits * 3 / 4 if self._since_together <= self._memory_commits else 0.0
        self._together.keep(kept)
        self._together.commits += commits
        self._together.took_s += self._batch_s
        self._together.waited_s += self._batch_waited_s
        self._since_together = 0
        self._since_each += commits

    def _consider_together(self) -> None:
        """Singles are sent: do so many pile up that a batch pays, or is it time to see whether it would?"""
        if self._open < self._backlog_min or (self._trial_left > 0 and self._open <= self._trial_open_max):
            return
        if self._pays(self._open):
            self.way = Way.TOGETHER
            self._trial_left = 0
            if not self._singles_wait_longer:
                self._stay_commits = self._stay_commits_min
        elif not self._together.commits:
            self._explore(Way.TOGETHER, self._open, self._since_together >= self._first_commits)
        else:
            self._explore(Way.TOGETHER, self._open, self._is_time(self._since_together, self._each.wait_s))

    def _consider_each(self, most: int) -> None:
        """A batch has settled, before which so many were open: too few for another one, or time to look at singles?"""
        lately, self._most = max(most, self._most), most  # those of a batch call again a moment after it has settled
        if lately < self._backlog_min or lately * LEAVES_AT < self.pays_from:
            self.way = Way.EACH
        else:
            self._explore(Way.EACH, lately, self._is_time(self._since_each, self._together.wait_s))

    def _pays(self, open_commits: int) -> bool:
        """Whether so many open commits had better be stored in batches.

        That they pile up for a moment says nothing: callers that wait for an answer call in lumps, and cannot pile up
        more than they are. So more must be open than usual by far, or singles must really wait longer than batches.
        """
        if open_commits < self.pays_from:
            return False
        return self._singles_wait_longer or open_commits * self._each.took_s >= UNUSUAL * self._each.waited_s

    @property
    def _singles_wait_longer(self) -> bool:
        """Whether that was seen, lately, of both."""
        return self._each.wait_s > CLEARLY * self._together.wait_s

    def _is_time(self, since: int, wait_s: float) -> bool:
        """Whether the other way was left alone for long enough, given the wait in this one now."""
        if since > self._memory_commits and not wait_s / self._changed < self._chosen_s < wait_s * self._changed:
            self._chosen_s = wait_s
            self._stay_commits = self._stay_commits_min
        return since >= self._stay_commits and since >= ROUNDS * self._open

    def _explore(self, way: Way, most: int, now: bool) -> None:
        """Use the other way for a while, if it is time; so many commits were open lately."""
        if not now:
            return
        self.way = way
        self._explored_with = most
        self._exploring = True
        if way is Way.EACH:
            self._known = self._each
            self._again = False
            self._send_singles(FEW)

    def _send_singles(self, commits: int) -> None:
        """Measure so many, and nothing else beside them."""
        self._each = Measured()
        self._probe = self._probe_left = commits

    def _probed(self) -> None:
        """The singles that were explored have settled: were they enough?"""
        most, each = self._explored_with, self._each
        if self._again:
            self._explored()
        elif self._probe == FEW:
            if self._bound_by_store and each.agrees(self._known):
                each.add(self._known)
                self._explored()
            else:
                self._few_s = each.took_s
                self._send_singles(self._probe_commits)
        elif self._probe == self._probe_commits and each.took_s < 2 * self._few_s:
            self._bound_by_store = False
            self._send_singles(self._first_commits)
        else:
            self._bound_by_store = self._probe == self._probe_commits
            self._again = self.pays_from <= most < 2 * self.pays_from or each.per_s > self._together.per_s
            if self._again:
                self._send_singles(max(self._probe_commits, self._open))
            else:
                self._explored()

    def _explored(self) -> None:
        """Both ways are known: choose, and say when that is to be doubted."""
        explored, most, each = self.way, self._explored_with, self._each
        self._exploring = False
        self.way = Way.TOGETHER if self._pays(most) else Way.EACH
        if explored is Way.EACH and each.per_s > self._together.per_s:
            self.way = Way.EACH
            self._trial_left, self._trial_open_max = TRIAL_ROUNDS * most, 2 * most
        if self.way is explored:
            self._stay_commits = max(self._stay_commits // 4, self._stay_commits_min)
        else:
            self._stay_commits = min(self._stay_commits * 4, self._stay_commits_max)
        self._chosen_s = (self._together if self.way is Way.TOGETHER else each).wait_s
