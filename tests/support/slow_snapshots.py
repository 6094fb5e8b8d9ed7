"""A snapshot store whose answers wait for the test: to look at what happens while an actor is being activated."""

import asyncio

from aether.ids import ActorId
from aether.ports import SnapshotStore


class SlowSnapshots:
    """Passes everything on; `load` waits for `gate`, and is counted and sets `asked` before."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.loads = 0

    @property
    def snapshot_bytes_max(self) -> int:
        """As the store's."""
        return self._store.snapshot_bytes_max

    async def load(self, actor_id: ActorId) -> bytes | None:
        """What is there when the test lets it."""
        self.loads += 1
        self.asked.set()
        await self.gate.wait()
        return await self._store.load(actor_id)

    async def save(self, actor_id: ActorId, value: bytes) -> None:
        """As the store's."""
        await self._store.save(actor_id, value)

    async def delete_kind(self, kind: str) -> int:
        return await self._store.delete_kind(kind)

    async def delete(self, actor_id: ActorId) -> None:
        """As the store's."""
        await self._store.delete(actor_id)
