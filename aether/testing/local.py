"""A pool of one, in this process and in memory: for unit tests, notebooks and a first try.

Everything a pool does happens here too (turns, commits, snapshots, passivation, repeated commands), over the memory
adapters, which pass the same contract tests as the ones over NATS. Nothing outlives the context.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from aether.config import RuntimeConfig
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.model.model import Model, checked_model
from aether.runtime.runtime import Runtime

DRAIN_TIMEOUT_S = 2.0
"""How long the end of a test waits for handlers that do not end."""


def checked_config(config: RuntimeConfig | None) -> RuntimeConfig:
    """The same settings with every state compared with its events, unless they say that none is.

    Without any, a handler that hangs holds up the end of a test for `DRAIN_TIMEOUT_S` only.
    """
    given = config or RuntimeConfig(drain_timeout_s=DRAIN_TIMEOUT_S)
    return given if given.state_checks == "off" else replace(given, state_checks="always")


@asynccontextmanager
async def local_runtime(
    model: Model, config: RuntimeConfig | None = None, *, server: InMemoryServer | None = None
) -> AsyncIterator[Runtime]:
    """A started runtime of `model`; give the same `server` again to find what an earlier one stored.

    Every command's state is compared with its events (`state_checks` "always"), unless `config` says "off".

    async with local_runtime(model) as runtime:
        assert await runtime.actor(Account, "alice").deposit(10) == 10
    """
    async with InMemoryConnection(server, checked_model(model).name) as connection:
        runtime = Runtime(connection, connection.event_store, checked_config(config))
        runtime.load_model(model)
        async with runtime:
            yield runtime
