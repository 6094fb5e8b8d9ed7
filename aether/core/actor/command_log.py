"""The command log: which commands of an actor have committed, and how they were answered.

An id is kept until its command's deadline plus a margin, because a client may retry that long. The log also knows
the position before each commit: a snapshot stores the least of them instead of the log, and history gives the log
back. Answers are kept as they are sent: bytes, which the garbage collector does not look at.

Most actors remember few commands, and a worker may have hundreds of thousands of actors: the few are a chain, each one
object. Only an actor that remembers many has a dictionary and buckets.
"""

from bisect import bisect_left
from datetime import datetime

from aether.ids import Position

FEW = 8
"""So many commands are searched one after the other; for more there is an index."""

OUT_OF_TIME = "\0out of time\0"
"""Before a deadline and a command's id: see `out_of_time_name`."""


def out_of_time_name(command_id: str, deadline: datetime) -> str:
    """The name under which the log keeps that a command, whose id the caller gave, had no time left at this deadline.

    Its sends that are late have the same deadline. One with another deadline is a further try, and is run.
    """
    return f"{OUT_OF_TIME}{deadline.timestamp()}\0{command_id}"


class _Remembered:
    """One of few commands, and the next to expire after it."""

    __slots__ = ("after", "answer", "command_id", "next", "second")

    def __init__(
        self, second: int, after: Position, command_id: str, answer: bytes, next: "_Remembered | None"
    ) -> None:
        self.second = second
        self.after: int = after
        self.command_id = command_id
        self.answer = answer
        self.next = next


class _Given(_Remembered):
    """One whose id the caller gave. Most have an id of the client's own: they do without this field."""

    __slots__ = ("digest",)

    def __init__(
        self, second: int, after: Position, command_id: str, answer: bytes, next: _Remembered | None, digest: str
    ) -> None:
        super().__init__(second, after, command_id, answer, next)
        self.digest = digest


class CommandLog:
    """The log of one actor. One writer: its virtual machine."""

    __slots__ = ("_few", "_first", "_many")

    def __init__(self) -> None:
        self._few = 0
        self._first: _Remembered | None = None
        self._many: _Many | None = None

    def __len__(self) -> int:
        return self._few if self._many is None else len(self._many.answers)

    def get(self, command_id: str) -> bytes | None:
        """The answer of a remembered command."""
        if self._many is not None:
            return self._many.answers.get(command_id)
        one = self._first
        while one is not None:
            if one.command_id == command_id:
                return one.answer
            one = one.next
        return None

    def digest(self, command_id: str) -> str:
        """What a remembered id was given to; empty when that was not noted."""
        if self._many is not None:
            return self._many.digests.get(command_id, "")
        one = self._first
        while one is not None:
            if one.command_id == command_id:
                return _digest(one)
            one = one.next
        return ""

    def add(self, command_id: str, answer: bytes, expires_s: float, after: Position, digest: str = "") -> None:
        """Remember a command until `expires_s` (Unix seconds); `after` is the actor's position before its commit.

        `digest` says what an id that the caller gave was given to.
        """
        if self.get(command_id) is not None:
            return
        second = int(expires_s) + 1
        if self._many is None and self._few == FEW:
            self._index()
        if self._many is not None:
            self._many.add(command_id, answer, second, after, digest)
            return
        self._few += 1
        before, one = None, self._first
        while one is not None and one.second <= second:
            before, one = one, one.next
        if digest:
            added: _Remembered = _Given(second, after, command_id, answer, one, digest)
        else:
            added = _Remembered(second, after, command_id, answer, one)
        if before is None:
            self._first = added
        else:
            before.next = added

    def forget_expired(self, now_s: float) -> None:
        """Drop every command whose time has passed. Cheap when there is none."""
        if self._many is not None:
            self._many.forget_expired(now_s)
            if not self._many.answers:
                self._many = None
            return
        one = self._first
        while one is not None and one.second <= now_s:
            self._first = one = one.next
            self._few -= 1

    def rebuild_from(self, otherwise: Position) -> tuple[Position, float]:
        """From where and until when (Unix seconds) history must be read to have this log again.

        Reading the commits after that position gives it; after that time there is nothing to rebuild.
        """
        if self._many is not None:
            return self._many.rebuild_from()
        one = self._first
        if one is None:
            return otherwise, 0.0
        after, second = one.after, one.second
        while one is not None:
            after, second = min(after, one.after), one.second
            one = one.next
        return Position(after), float(second)

    def _index(self) -> None:
        self._many = _Many()
        one = self._first
        while one is not None:
            self._many.add(one.command_id, one.answer, one.second, Position(one.after), _digest(one))
            one = one.next
        self._first, self._few = None, 0


class _Bucket:
    """The ids that expire within one second; `after` is the position before the first of their commits."""

    __slots__ = ("after", "ids", "second")

    def __init__(self, second: int, after: Position, command_id: str) -> None:
        self.second = second
        self.after = after
        self.ids = [command_id]


class _Many:
    """Answers by id; ids in buckets of one second of expiry, so that forgetting costs nothing a command."""

    __slots__ = ("_buckets", "answers", "digests")

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.digests: dict[str, str] = {}
        self._buckets: list[_Bucket] = []

    def add(self, command_id: str, answer: bytes, second: int, after: Position, digest: str) -> None:
        """Remember a command that is not remembered until a second."""
        self.answers[command_id] = answer
        if digest:
            self.digests[command_id] = digest
        buckets = self._buckets
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
        """Drop every command whose second has passed."""
        buckets = self._buckets
        while buckets and buckets[0].second <= now_s:
            for command_id in buckets.pop(0).ids:
                del self.answers[command_id]
                if self.digests:
                    self.digests.pop(command_id, None)

    def rebuild_from(self) -> tuple[Position, float]:
        """The least position before a commit, and the last second. There is something remembered."""
        return min(bucket.after for bucket in self._buckets), float(self._buckets[-1].second)


def _digest(one: _Remembered) -> str:
    return one.digest if isinstance(one, _Given) else ""


def _second(bucket: _Bucket) -> int:
    return bucket.second
