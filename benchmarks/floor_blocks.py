"""The files that a server writes a stream to, synced by the floor: one sync for all that came together."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path


class Blocks:
    """The block files of one stream, in the server's store."""

    def __init__(self, store: Path, stream: str) -> None:
        self.folder = store / "jetstream" / "$G" / "streams" / stream / "msgs"
        self.gathered: list[Callable[[], Awaitable[None]]] = []
        self.block, self.fd = 0, -1
        self.tasks: set[asyncio.Task[None]] = set()

    def when_synced(self, go_on: Callable[[], Awaitable[None]]) -> None:
        """Gather it, with all that is received in this turn of the event loop."""
        self.gathered.append(go_on)
        if len(self.gathered) == 1:
            task = asyncio.create_task(self.sync())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def sync(self) -> None:
        """Sync the newest block, the ones before it that are not synced yet, and go on with what that made durable."""
        gathered, self.gathered = self.gathered, []
        if self.fd >= 0:
            os.fdatasync(self.fd)
        while (following := self.folder / f"{self.block + 1}.blk").exists():
            self.block += 1
            if self.fd >= 0:
                os.close(self.fd)
            self.fd = os.open(following, os.O_RDONLY)
            os.fdatasync(self.fd)
            directory = os.open(self.folder, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        for go_on in gathered:
            await go_on()
