"""Snapshots in memory: `SnapshotStore`. Keeps the one before the last, for a stale replica to give."""

from aether.errors import InvalidCommand
from aether.ids import ActorId
from aether.memory.faults import FaultPoint
from aether.memory.link import Link
from aether.memory.server import Snapshots
from aether.ports import NotStored


class InMemorySnapshotStore:
    """One value an actor, the last writer wins; never authoritative."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._held = link.space.snapshots

    @property
    def snapshot_bytes_max(self) -> int:
        """Largest snapshot, in bytes."""
        return self._link.payload_bytes_max

    async def load(self, actor_id: ActorId) -> bytes | None:
        """The last saved snapshot, or with `Stale` the one before. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.SNAPSHOT_READ, lambda stale: self._of(actor_id, stale))

    async def save(self, actor_id: ActorId, value: bytes) -> None:
        """Replace the snapshot. Raises `InvalidCommand` when it is too large, `NotStored`, `Unavailable`."""
        if len(value) > self.snapshot_bytes_max:
            text = f"a snapshot is at most {self.snapshot_bytes_max} bytes, this is {len(value)}"
            raise InvalidCommand(text, path="value")
        await self._link.call(FaultPoint.SNAPSHOT_WRITE, lambda _: self._put(actor_id, value))

    async def delete(self, actor_id: ActorId) -> None:
        """Remove the snapshot, if there is one. Raises `Unavailable` when unknown."""
        await self._link.call(FaultPoint.SNAPSHOT_WRITE, lambda _: self._put(actor_id, None))

    async def delete_kind(self, kind: str) -> int:
        """Remove the snapshots of a kind; how many there were. Raises `Unavailable` when unknown."""
        return await self._link.call(FaultPoint.SNAPSHOT_WRITE, lambda _: self._delete_kind(kind))

    def _delete_kind(self, kind: str) -> int:
        found = [actor_id for actor_id, held in self._held.items() if actor_id.kind == kind and held.now is not None]
        for actor_id in found:
            self._put(actor_id, None)
        return len(found)

    def _of(self, actor_id: ActorId, stale: bool) -> bytes | None:
        held = self._held.get(actor_id, Snapshots())
        return held.before if stale else held.now

    def _put(self, actor_id: ActorId, value: bytes | None) -> None:
        if value is not None and self._link.space.refusal:
            raise NotStored(self._link.space.refusal)
        self._held[actor_id] = Snapshots(now=value, before=self._of(actor_id, stale=False))
