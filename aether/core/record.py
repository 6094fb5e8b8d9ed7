"""The command-id record: which commands of an actor have committed, and how they were answered.

An id is kept until its command's deadline plus a margin, because a client may retry that long. Ids are kept in
buckets of one second of expiry, so that forgetting costs nothing a command. Each bucket knows the position before its
first commit: a snapshot stores the least of them instead of the record, and history gives the record back.
"""

from typing import NamedTuple

from aether.ids import Position, Version


class Remembered(NamedTuple):
    """The answer of a committed command: the reply as JSON, and where it left the actor."""

    reply: bytes
    version: Version
    position: Position


class _Bucket:
    __slots__ = ("after", "ids")

    def __init__(self, after: Position) -> None:
        self.after = after
        self.ids: list[str] = []


class CommandRecord:
    """The record of one actor. One writer: its virtual machine."""

    __slots__ = ("_answers", "_buckets", "_next_expiry_s")

    def __init__(self) -> None:
        self._answers: dict[str, Remembered] = {}
        self._buckets: dict[int, _Bucket] = {}
        self._next_expiry_s = 0

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, command_id: str) -> Remembered | None:
        """The answer of a remembered command."""
        return self._answers.get(command_id)

    def add(self, command_id: str, answer: Remembered, expires_s: float, after: Position) -> None:
        """Remember a command until `expires_s` (Unix seconds); `after` is the actor's position before its commit."""
        if command_id in self._answers:
            return
        self._answers[command_id] = answer
        second = int(expires_s) + 1
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = _Bucket(after)
            self._next_expiry_s = min(self._buckets)
        bucket.ids.append(command_id)

    def forget_expired(self, now_s: float) -> None:
        """Drop every command whose time has passed. Cheap when there is none."""
        while self._buckets and self._next_expiry_s <= now_s:
            for command_id in self._buckets.pop(self._next_expiry_s).ids:
                del self._answers[command_id]
            self._next_expiry_s = min(self._buckets, default=0)

    def rebuild_from(self, otherwise: Position) -> tuple[Position, float]:
        """From where and until when (Unix seconds) history must be read to have this record again.

        Reading the commits after that position gives it; after that time there is nothing to rebuild.
        """
        if not self._buckets:
            return otherwise, 0.0
        return min(bucket.after for bucket in self._buckets.values()), float(max(self._buckets))
