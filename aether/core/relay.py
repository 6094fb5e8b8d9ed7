"""What the owner of a shard knows of its actors' tells: which are in the inbox stream, and which are still to come.

What else a commit sends goes the same way: task starts into the inbox stream, too; schedules elsewhere, where they may
be brought twice, so that nothing has to be known of them (`brought`).

Theory of operation. A commit contains its tells. The inbox stream holds a copy of each, and which ones are missing is
the difference of the two streams; nothing else decides. Two owners of one shard may believe that they are its owner,
commits may land long after they were sent, and acknowledgements get lost. So:

- *The mark is the fence.* A shard has a mark in the inbox stream. Who begins to relay writes it anew, and each tell is
  stored only if the mark is still the one that its relayer wrote. So after a mark was written no tell of an earlier
  relayer lands: who then reads what the shard's tells in the inbox are knows all of them, and is the only one to add to
  them. An outcome that is not known is found out in the same way.
- *The scan has the last word.* Every commit of the shard up to the `cursor` was read, in the order of the stream. A
  commit that lands late has a later position than all that were there before it, so a later scan finds it. To be told
  of all commits between two positions is a scan, too, if the first one is not after the cursor.
- *A scan may be doubted.* A replaced leader of a replicated stream may say that there are no more commits. Such a scan
  is done again when no such leader can be left, and until then no mark passes it.
- *The short way.* A commit of our own need not wait for a scan: its actor's earlier commits are known, because they are
  our own, or not later than the cursor. Where they are not (the actor was replayed to beyond the cursor) the scan is
  waited for. So the tells of one actor are relayed in the order of its commits.

The mark says: every tell of a commit up to `relayed` is in the inbox, and each one of a later commit is there after the
sequence `since`. Both are true of all later states of the two streams, whichever worker wrote it. Of one actor's tells
to another one is under way at a time, so that one which is refused stands in the inbox before those behind it. Pure;
one writer, the relayer of the shard.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from math import ceil, inf
from typing import NamedTuple

from aether.core.relay_mark import Mark, Place
from aether.ids import Position
from aether.sends import CancelSchedule, Send, SetSchedule, StartTask, size_of
from aether.tells import Tell


class Doubt(NamedTuple):
    """A scan after a position and up to another that may have missed commits, and which it found.

    It is to be done again at `due_s`: no mark passes it before. A commit that only the second one finds is found by a
    claim, which begins at the mark.
    """

    after: int
    until: int
    found: frozenset[int]
    due_s: float


class Relay:
    """What one shard's commits send. Made anew by `claimed`; until then, and after `lost`, nothing may be sent."""

    __slots__ = (
        "_done", "_doubts", "_early", "_first", "_highest", "_last_set", "_left", "_queue", "_unscanned", "_unsynced",
        "_wanted", "cursor", "fence", "waiting_bytes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.fence = 0
        """The sequence of the mark that this relayer wrote last; 0 when none counts."""
        self.cursor = 0
        """All commits of the shard up to this position were read."""
        self.waiting_bytes = 0
        """How many bytes of arguments wait with them."""
        self._wanted = 0
        """The last commit of our own that a scan has to take in."""
        self._unscanned = True
        """Whether not all was scanned since it was claimed."""
        self._queue: deque[Send] = deque()
        """What is to be brought on its way, in this order."""
        self._left: dict[int, int] = {}
        """By the position of a commit: how many of its sends are in the queue."""
        self._early: set[int] = set()
        """Commits of our own after the cursor whose sends were taken in already."""
        self._done: set[Place] = set()
        """What commits after the cursor have sent and stood in the inbox when it was claimed."""
        self._first: dict[int, int] = {}
        """By the position of a commit: the first sequence in the inbox of what it has sent."""
        self._highest = 0
        """The last sequence of the inbox that is known: of our mark, or of what we have stored."""
        self._unsynced: deque[tuple[int, float]] = deque()
        """Positions of commits that no mark passes before a time: see `brought`."""
        self._doubts: deque[Doubt] = deque()
        """Scans that are to be done again, the first one first."""
        self._last_set: dict[tuple[str, str], Place] = {}
        """By actor and name: the last setting of a schedule that is in the queue."""

    @property
    def head(self) -> Send | None:
        """What is to be brought on its way next, while the fence is ours."""
        return self._queue[0] if self._queue and self.fence else None

    @property
    def behind(self) -> bool:
        """Whether a scan up to the end of the stream is needed: until then the short way is closed."""
        return self._unscanned or self._wanted > self.cursor

    @property
    def waiting(self) -> int:
        """How many sends are known and not relayed."""
        return len(self._queue)

    def claimed(self, fence: int, mark: Mark, relayed: Iterable[tuple[int, Place]]) -> None:
        """Begin anew: our mark is stored at sequence `fence`, and these tells stood in the inbox before it.

        `relayed` are sequences and places, in the order of the inbox. Commits later than `mark.relayed` have to be
        scanned before anything is sent.
        """
        self._forget()
        self._doubts.clear()
        self.fence, self.cursor, self._highest = fence, mark.relayed, fence
        for sequence, place in relayed:
            if place.position > mark.relayed:
                self._done.add(place)
                self._first.setdefault(place.position, sequence)

    def lacks(self, sends: Iterable[Send]) -> list[Send]:
        """Those that belong into the inbox and did not stand there when it was claimed."""
        done = self._done
        return [one for one in sends if _line(one) is not None and Place(one.position, one.number) not in done]

    def had(self, sends: Iterable[Send]) -> None:
        """These are not sent again, although they do not stand in the inbox: the scan that finds them follows."""
        self._done.update(Place(send.position, send.number) for send in sends)

    def resumed(self, fence: int) -> None:
        """Go on although the inbox was lost, and with it all marks: ours is stored anew, at sequence `fence`.

        What is known stays known: what is relayed is not relayed again, and what waits is.
        """
        self.fence = self._highest = fence
        self._first.clear()

    def _forget(self) -> None:
        """All but which commits were told of too early: the scan that takes them in has not begun yet, perhaps."""
        self._unscanned = True
        self.waiting_bytes = 0
        for known in (self._queue, self._left, self._early, self._done, self._first, self._last_set):
            known.clear()

    def lost(self) -> None:
        """What came of a tell or of a mark is not known, or another one relays: nothing is sent until `claimed`."""
        self.fence = 0

    def scanned(self, commits: Iterable[tuple[Position, Sequence[Send]]], until: int, is_part: bool = False) -> None:
        """All of the shard's commits after the cursor and up to `until` that send something, in their order.

        Where that `is_part` of a scan, up to its end the rest has to be scanned, too.
        """
        for position, sends in commits:
            if position > self.cursor and position not in self._early:
                self._add(position, sends)
        self._unscanned = is_part
        if until > self.cursor:
            self.cursor = until
            self._early = {position for position in self._early if position > until}
            self._done = {place for place in self._done if place.position > until}

    def doubt(self, doubt: Doubt) -> None:
        """That was not a scan that has the last word. Doubts come in the order of their positions and times."""
        self._doubts.append(doubt)

    def doubted(self, now_s: float) -> Doubt | None:
        """What is to be scanned again at this time."""
        return self._doubts[0] if self._doubts and self._doubts[0].due_s <= now_s else None

    def confirmed(self) -> None:
        """The first doubt was scanned again, and nothing else was found."""
        self._doubts.popleft()

    def heard(self, commits: Iterable[tuple[Position, Sequence[Send]]], after: int, until: int) -> bool:
        """The shard's commits after a position and up to `until` that send something; False when it is to be scanned.

        Those that are known may be left out. After a claim, and where something before them is missing, they say
        nothing.
        """
        if until <= self.cursor:
            return True
        if self._unscanned or after > self.cursor:
            return False
        self.scanned(commits, until)
        return True

    def knows(self, position: int) -> bool:
        """Whether a commit was told of already, or scanned."""
        return position <= self.cursor or position in self._early

    def committed(self, position: Position, sends: Sequence[Send], replayed_to: Position) -> bool:
        """A commit of our own that is stored and durable; False when a scan up to it has to take it in.

        `replayed_to`: up to there its actor's history was read, and all later commits of it are our own.
        """
        if not self.fence or self.behind or replayed_to > self.cursor:
            self._wanted = max(self._wanted, position)
            return False
        if position > self.cursor and position not in self._early:
            self._early.add(position)
            self._add(position, sends)
        return True

    def heads(self, most: int) -> list[Send]:
        """What may be stored at once, of so many: the head and those behind it, of one actor for one target the first.

        None without a fence, and when the head does not go into the inbox. What goes elsewhere is not passed.
        """
        if not self.fence:
            return []
        if len(self._queue) == 1:
            return [self._queue[0]] if isinstance(self._queue[0], Tell | StartTask) else []
        found: list[Send] = []
        lines: set[tuple[str, str]] = set()
        for send in islice(self._queue, most):
            line = _line(send)
            if line is None:
                break
            if line not in lines:
                lines.add(line)
                found.append(send)
        return found

    def settings(self, most: int) -> list[SetSchedule | CancelSchedule]:
        """The settings of schedules with which what waits begins."""
        found: list[SetSchedule | CancelSchedule] = []
        for send in islice(self._queue, most):
            if not isinstance(send, SetSchedule | CancelSchedule):
                break
            found.append(send)
        return found

    def is_superseded(self, send: SetSchedule | CancelSchedule) -> bool:
        """Whether a later setting of the same schedule waits: only the last one has to be armed."""
        return self._last_set.get((send.source, send.name)) != Place(send.position, send.number)

    def stored(self, send: Send, sequence: int) -> None:
        """One of the heads stands in the inbox, at this sequence."""
        position, queue = send.position, self._queue
        self._highest = max(self._highest, sequence)
        self._first[position] = min(self._first.get(position, sequence), sequence)
        if queue[0] is not send:  # those before it are of lines that wait for their first one
            place = 1
            while queue[place] is not send:
                place += 1
            del queue[place]
            queue.appendleft(send)
        self.brought()

    def brought(self, synced_s: float = 0.0) -> None:
        """The head is where it belongs, outside of the inbox. After a claim it may be brought there once more.

        `synced_s`: from then on it is on the disk for sure. Until then no mark passes it, so that the next claim, which
        a power cut leads to, brings it again.
        """
        send = self._queue.popleft()
        self.waiting_bytes -= size_of(send)
        position = send.position
        if isinstance(send, SetSchedule | CancelSchedule) and not self.is_superseded(send):
            del self._last_set[send.source, send.name]
        if synced_s:
            self._hold(position, synced_s)
        left = self._left[position] - 1
        if left:
            self._left[position] = left
        else:
            del self._left[position]

    def _hold(self, position: int, synced_s: float) -> None:
        """Keep the lowest position of each whole second: what is held longer than needed is only brought once more."""
        held, second = self._unsynced, float(ceil(synced_s))
        if held and held[-1][1] == second:
            position = min(position, held.pop()[0])
        held.append((position, second))

    def mark(self, now_s: float = inf) -> Mark:
        """What may be said at this time, which `synced_s` counts in."""
        while self._unsynced and self._unsynced[0][1] <= now_s:
            self._unsynced.popleft()
        open_ = [*self._left, *(position for position, _ in self._unsynced)]
        relayed = min((position - 1 for position in open_ if position <= self.cursor), default=self.cursor)
        if self._doubts:
            relayed = min(relayed, self._doubts[0].after)
        since = min((sequence for position, sequence in self._first.items() if position > relayed), default=0)
        return Mark(relayed, since - 1 if since else self._highest)

    def marked(self, fence: int, mark: Mark) -> None:
        """This mark is stored, in place of the one before."""
        self.fence = self._highest = fence
        self._first = {position: sequence for position, sequence in self._first.items() if position > mark.relayed}

    def _add(self, position: int, sends: Sequence[Send]) -> None:
        done = self._done
        left = [send for send in sends if Place(position, send.number) not in done] if done else list(sends)
        if left:
            self._left[position] = len(left)
            self._queue.extend(left)
            for send in left:
                self.waiting_bytes += size_of(send)
                if isinstance(send, SetSchedule | CancelSchedule):
                    self._last_set[send.source, send.name] = Place(position, send.number)


def _line(send: Send) -> tuple[str, str] | None:
    """Of what has the same, the order in the inbox is the order in which it was sent; None for what is not stored."""
    if isinstance(send, Tell):
        return send.source, f"{send.kind}/{send.key}"
    return (send.source, send.task) if isinstance(send, StartTask) else None
