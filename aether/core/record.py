"""The command-id record: which commands of an actor have committed, and how they were answered.

Answers are kept as they are sent: bytes, which the garbage collector does not look at.

An id is kept until its command's deadline plus a margin, because a client may retry that long. Ids are kept in
buckets of one second of expiry, so that forgetting costs nothing a command. Each bucket knows the position before its
first commit: a snapshot stores the least of them instead of the record, and history gives the record back.
"""

from bisect import bisect_left

from aether.ids import Position


class _Bucket:
    """The ids that expire within one second; `after` is the position before the first of their commits."""

    __slots__ = ("after", "ids", "second")

    def __init__(self, second: int, after: Position, command_id: str) -> None:
        self.second = second
        self.after = after
        self.ids = [command_id]


class CommandRecord:
    """The record of one actor. One writer: its virtual machine."""

    __slots__ = ("_answers", "_buckets")

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}
        self._buckets: list[_Bucket] = []  # by second: few, and a list is a sixth of a dict

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, command_id: str) -> bytes | None:
        """The answer of a remembered command."""
        return self._answers.get(command_id)

    def add(self, command_id: str, answer: bytes, expires_s: float, after: Position) -> None:
        """Remember a command until `expires_s` (Unix seconds); `after` is the actor's position before its commit."""
        if command_id in self._answers:
            return
        self._answers[command_id] = answer
        second, buckets = int(expires_s) + 1, self._buckets
        if not buckets or second > buckets[-1].second:
            buckets.append(_Bucket(second, after, command_id))
            return
        place = len(buckets) - 1
        if second != buckets[place].second:
            place = bisect_left(buckets, second, key=_second)
        if buckets[place].second == second:
            buckets[place].ids.append(command_id)
        else:
            buckets.insert(place, _Bucket(second, after, command_id))

    def forget_expired(self, now_s: float) -> None:
        """Drop every command whose time has passed. Cheap when there is none."""
        buckets = self._buckets
        while buckets and buckets[0].second <= now_s:
            for command_id in buckets.pop(0).ids:
                del self._answers[command_id]

    def rebuild_from(self, otherwise: Position) -> tuple[Position, float]:
        """From where and until when (Unix seconds) history must be read to have this record again.

        Reading the commits after that position gives it; after that time there is nothing to rebuild.
        """
        if not self._buckets:
            return otherwise, 0.0
        return min(bucket.after for bucket in self._buckets), float(self._buckets[-1].second)


def _second(bucket: _Bucket) -> int:
    return bucket.second
