"""An event store whose acknowledgements wait for the test: to look at what happens while a commit is in flight."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from aether.ids import ActorId, Position, Version
from aether.ports import START, Append, AppendOutcome, EventStore, StoredCommit
from aether.wire import Event


class GatedStore:
    """Passes everything on; outcomes of `publish` are held back until `release` while `hold` is set.

    Positions are not read while `reads` is clear.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self.hold = False
        self.held: list[Callable[[], None]] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.published: list[bytes] = []

    @property
    def commit_bytes_max(self) -> int:
        """As the store's."""
        return self._store.commit_bytes_max

    def publish(
        self, actor_id: ActorId, payload: bytes, expected: Position, done: Callable[[AppendOutcome], None]
    ) -> None:
        """Append; the outcome may be held back."""
        self.published.append(payload)

        def settled(outcome: AppendOutcome) -> None:
            if self.hold:
                self.held.append(lambda: done(outcome))
            else:
                done(outcome)

        self._store.publish(actor_id, payload, expected, settled)

    @property
    def together_max(self) -> int:
        """As the store's."""
        return self._store.together_max

    def publish_together(self, appends: Sequence[Append]) -> None:
        """`publish` for each."""
        for append in appends:
            self.publish(append.actor_id, append.payload, append.expected, append.done)

    def release(self) -> None:
        """Hand out every outcome that is held back, and hold no more."""
        self.hold = False
        held, self.held = self.held, []
        for tell in held:
            tell()

    async def appends_refused(self) -> str:
        """As the store's."""
        return await self._store.appends_refused()

    async def append(self, actor_id: ActorId, events: Sequence[Event], expected: Position) -> AppendOutcome:
        """As the store's."""
        return await self._store.append(actor_id, events, expected)

    async def read(
        self, actor_id: ActorId, after: Position = START, until: Position | None = None
    ) -> AsyncIterator[StoredCommit]:
        """As the store's."""
        async for commit in self._store.read(actor_id, after, until):
            yield commit

    async def last(self, actor_id: ActorId) -> StoredCommit | None:
        """As the store's, when the reads are not held back."""
        await self.reads.wait()
        return await self._store.last(actor_id)

    async def latest_version(self, actor_id: ActorId) -> Version:
        """As the store's."""
        return await self._store.latest_version(actor_id)
