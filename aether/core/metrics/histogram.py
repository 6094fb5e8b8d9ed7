"""How long things took: counts of durations by size.

Every histogram has the same buckets, so the histograms of several workers are added bucket by bucket.
"""

from bisect import bisect_left
from typing import Final, NamedTuple

BOUNDS_S: Final[tuple[float, ...]] = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""The largest duration of each bucket but the last, seconds. The last bucket takes whatever is longer."""


class Exemplar(NamedTuple):
    """One duration that was counted, `seconds`, of a trace; `time_s` in Unix seconds."""

    trace_id: str
    seconds: float
    time_s: float


class Histogram:
    """Counts of durations by bucket, and their sum in seconds. It belongs to one event loop.

    `exemplars`: the latest duration of a sampled trace, by bucket. There are none where nothing is traced.

    What a worker handles together has one duration, so the latest one and its bucket are kept: to search for each costs
    several times as much.
    """

    __slots__ = ("_bucket", "_latest_s", "counts", "exemplars", "sum_s")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0
        self.exemplars: dict[int, Exemplar] = {}
        self._latest_s = 0.0
        self._bucket = 0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        if seconds != self._latest_s:
            self._bucket = bisect_left(BOUNDS_S, seconds)
            self._latest_s = seconds
        self.counts[self._bucket] += 1
        self.sum_s += seconds

    def note(self, exemplar: Exemplar) -> None:
        """Remember a duration with its trace, unless a later one of its size is known. `observe` counts it."""
        bucket = bisect_left(BOUNDS_S, exemplar.seconds)
        known = self.exemplars.get(bucket)
        if known is None or known.time_s <= exemplar.time_s:
            self.exemplars[bucket] = exemplar

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return sum(self.counts)

    def add(self, other: "Histogram") -> None:
        """Count what another histogram has counted too."""
        for bucket, count in enumerate(other.counts):
            self.counts[bucket] += count
        self.sum_s += other.sum_s
        for exemplar in other.exemplars.values():
            self.note(exemplar)

    def since(self, earlier: "Histogram") -> "Histogram":
        """What was counted after an earlier reading of the same histogram; all of it, if it has begun anew since.

        With the exemplars that are known now.
        """
        gained = Histogram()
        gained.exemplars = dict(self.exemplars)
        begun_anew = any(now < before for now, before in zip(self.counts, earlier.counts, strict=True))
        if begun_anew:
            gained.add(self)
        else:
            gained.counts = [now - before for now, before in zip(self.counts, earlier.counts, strict=True)]
            gained.sum_s = max(0.0, self.sum_s - earlier.sum_s)
        return gained

    def quantile_s(self, share: float) -> float | None:
        """The duration in seconds that this share (0-1) of all was not longer than; None when nothing was counted.

        Estimated as Prometheus does: durations are taken to lie evenly in their bucket. Where it would be in the last
        bucket, the largest bound.
        """
        rank, below = share * self.count, 0
        if not self.count:
            return None
        for bucket, count in enumerate(self.counts[:-1]):
            if count and below + count >= rank:
                lower_s = BOUNDS_S[bucket - 1] if bucket else 0.0
                return lower_s + (BOUNDS_S[bucket] - lower_s) * max(0.0, rank - below) / count
            below += count
        return BOUNDS_S[-1]


def histogram_of(counts: list[int], bounds_s: list[float], sum_s: float) -> Histogram:
    """A histogram from counts by other bounds, those of another version: each count goes where its bound belongs.

    There may be one more count than bounds, and fewer: what is left out at the end is zero.
    """
    found = Histogram()
    for bucket, count in enumerate(counts):
        bound_s = bounds_s[bucket] if bucket < len(bounds_s) else float("inf")
        found.counts[bisect_left(BOUNDS_S, bound_s)] += count
    found.sum_s = sum_s
    return found
