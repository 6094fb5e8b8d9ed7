"""One runtime over a server in memory, with tells and schedules, and with no other worker beside it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aether import Model, Runtime, RuntimeConfig
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer


@asynccontextmanager
async def runtime_alone(server: InMemoryServer, model: Model, config: RuntimeConfig) -> AsyncIterator[Runtime]:
    """Started; stopped at the end, however that comes."""
    connection = InMemoryConnection(server, "alone")
    runtime = Runtime(connection, connection.event_store, config, inbox=connection.inbox, timers=connection.timers)
    runtime.load_model(model)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.stop()
