"""A model whose lifespan fails if the environment variable LASTING says "fail", or later when a handler breaks it."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aether import Actor, Model, command, query

log = logging.getLogger("lasting")


class Pool:
    """What the lifespan makes: it knows its process, and whether it is open."""

    def __init__(self) -> None:
        self.open = True
        self.broken = asyncio.Event()

    async def watch(self) -> None:
        """Fail when it breaks."""
        await self.broken.wait()
        raise ConnectionError("the pool broke")


class Asker(Actor):
    """Asks for the pool."""

    @query
    def process(self) -> int:
        """The process that has the pool."""
        pool: Pool = self.resources
        assert pool.open
        return os.getpid()

    @command
    def break_pool(self) -> None:
        """Break it."""
        self.resources.broken.set()


@asynccontextmanager
async def lifespan() -> AsyncIterator[Pool]:
    """A pool, and a task that watches it."""
    if os.environ.get("LASTING") == "fail":
        raise ConnectionRefusedError("no database is there")
    pool = Pool()
    log.info("the pool is open")
    try:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(pool.watch())
            yield pool
            watching.cancel()
    finally:
        pool.open = False
        log.info("the pool is closed")


model = Model("lasting", actors=[Asker], lifespan=lifespan)
