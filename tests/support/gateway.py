"""A gateway over a pool in memory, on a port of its own, in the test's event loop; and an HTTP client for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx2

from aether import Model
from aether.config import CallConfig
from aether.gateway.access import Access, WithoutAuthentication
from aether.gateway.application import Gateway
from aether.gateway.config import GatewayConfig, ServerConfig
from aether.gateway.server import Address, Server, listen, url_of
from aether.testing import LocalPool, local_pool
from tests.support.actors import model as actors_model


@dataclass
class Served:
    """What a test has: the pool, the gateway, the server, and `http` to talk to it."""

    pool: LocalPool
    gateway: Gateway
    server: Server
    url: str
    http: httpx2.AsyncClient
    running: asyncio.Task[None]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def raw(self, sent: bytes, *, most: int = 1 << 20) -> bytes:
        """All that the server answers to these bytes, until it closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        with suppress(ConnectionError):
            await writer.drain()
        try:
            return await reader.read(most)
        finally:
            writer.close()


@asynccontextmanager
async def served(
    model: Model = actors_model,
    *,
    config: GatewayConfig | None = None,
    server: ServerConfig | None = None,
    access: Access | None = None,
    calls: CallConfig | None = None,
) -> AsyncIterator[Served]:
    """A pool of two workers in memory, and a gateway over its client."""
    async with local_pool(model, calls=calls) as pool, running(pool, model, config, server, access) as one:
        yield one


@asynccontextmanager
async def running(
    pool: LocalPool,
    model: Model = actors_model,
    config: GatewayConfig | None = None,
    server: ServerConfig | None = None,
    access: Access | None = None,
) -> AsyncIterator[Served]:
    """A gateway over a pool that is there already."""
    gateway = Gateway(model, access or WithoutAuthentication(), config or GatewayConfig(), client=pool.client)
    async with gateway:
        listening = listen(Address("127.0.0.1", 0))
        url = url_of(listening)
        one = Server(gateway, server or ServerConfig())
        task = asyncio.create_task(one.serve([listening]))
        async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
            yield Served(pool, gateway, one, url, http, task)
        one.stop()
        await task
