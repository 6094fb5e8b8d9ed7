"""Opening a client's connection, and closing it, also where its user forgets to.

`connect` knows the model and gives typed values; `connect_untyped` knows only names and gives JSON, for tools. Both
read the number of shards from the stream, so a client needs no routing table and no configuration beside a URL. This is
where a client gets its adapters. (`aether.connect` is the function, so no module can have that name.)
"""

import asyncio
import logging
import time
import warnings
import weakref
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import TracebackType
from typing import NoReturn

from aether.calls import SAY_AFTER_S
from aether.client import Client
from aether.config import CallConfig, ConnectionConfig, from_environment
from aether.errors import ClientUnusable, ConfigError, Unavailable
from aether.jetstream.adapters import client_bundle
from aether.jetstream.connection.nats_connection import NatsConnection
from aether.jetstream.provisioning import namespaces
from aether.model.model import Model, checked_model
from aether.system.clock import SystemClock
from aether.system.environment import environment, namespace_of, nats_url
from aether.untyped_client import UntypedClient

LOOK_AGAIN_S = 0.1
LAYOUT_WAIT_S = 10.0
"""Seconds that a client waits for a namespace whose pool is starting."""

log = logging.getLogger("aether.client")


class Connecting(AbstractAsyncContextManager[Client]):
    """What `connect` gives: `async with` it to have the client, once.

    The connection lasts until it is left. Entered by hand and never left, it is closed when its client is garbage.
    """

    def __init__(self, opening: AbstractAsyncContextManager[UntypedClient], model: Model) -> None:
        self._opening = opening
        self._model = model
        self._entered = False
        self._client: Client | None = None  # an `async with` without `as` has it open, too
        self._when_dropped: weakref.finalize[
            [AbstractAsyncContextManager[UntypedClient], asyncio.AbstractEventLoop], Client
        ]

    async def __aenter__(self) -> Client:
        if self._entered:
            raise ClientUnusable("a connection is entered once; call aether.connect again for another client")
        self._entered = True
        client = self._client = Client(await self._opening.__aenter__(), self._model)
        self._when_dropped = weakref.finalize(client, _dropped, self._opening, asyncio.get_running_loop())
        self._when_dropped.atexit = False
        return client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._when_dropped.detach()
        self._client = None
        await self._opening.__aexit__(kind, error, trace)

    def __getattr__(self, name: str) -> NoReturn:
        text = f"this is no client yet, so it has no {name}: `async with aether.connect(...) as client` gives one"
        raise AttributeError(text)


def _dropped(opening: AbstractAsyncContextManager[UntypedClient], loop: asyncio.AbstractEventLoop) -> None:
    warnings.warn("a client was dropped while it was open: leave its `async with`", ResourceWarning, stacklevel=2)
    with suppress(RuntimeError):  # the event loop is closed, and the connection with it
        loop.call_soon_threadsafe(lambda: loop.create_task(_leave(opening)))


async def _leave(opening: AbstractAsyncContextManager[UntypedClient]) -> None:
    await opening.__aexit__(None, None, None)


def connect(
    url: str | None = None,
    *,
    model: Model,
    namespace: str | None = None,
    calls: CallConfig | None = None,
    connection: ConnectionConfig | None = None,
) -> AbstractAsyncContextManager[Client]:
    """A client of `model`'s pool: `async with aether.connect(model=model) as client`.

    Without a `url`: `AETHER_NATS_URL`, else the embedded server of this directory, else the usual port. Without a
    `namespace`: `AETHER_NAMESPACE`, else the model's name. A worker sets both for its handlers and their child
    processes, so that they find the worker's own pool; a client of another model than the worker's takes that model's
    name for the namespace. Entering raises `Unavailable` when the server cannot be reached or the namespace does not
    appear within `LAYOUT_WAIT_S`, `ConfigError` for bad settings.
    """
    chosen = namespace or namespace_of(environment(), checked_model(model).name)
    return Connecting(connect_untyped(url, namespace=chosen, calls=calls, connection=connection), model)


@asynccontextmanager
async def connect_untyped(
    url: str | None = None,
    *,
    namespace: str | None = None,
    calls: CallConfig | None = None,
    connection: ConnectionConfig | None = None,
    wait_s: float = LAYOUT_WAIT_S,
) -> AsyncIterator[UntypedClient]:
    """A client without a model; the namespace defaults to the only one that the server has.

    Waits `wait_s` for a pool that is just starting. Raises `ConfigError` when there are several namespaces,
    `Unavailable` when there is none, and what `connect` raises.
    """
    variables = environment()
    where = url or (None if connection else nats_url(variables))
    config = connection or from_environment(ConnectionConfig, variables, url=where)
    settings = calls or from_environment(CallConfig, variables)
    nats = NatsConnection(config)
    await nats.open()
    # One generator: of several, an event loop that ends with a client left open closes each, and the inner one twice.
    try:
        chosen = namespace or namespace_of(variables) or await _only_namespace(nats, wait_s)
        node = await client_bundle(nats, chosen, SystemClock(), timeout_s=wait_s)
        try:
            await node.transport.follow_owners()
            untyped = UntypedClient(node, settings)
            try:
                yield untyped
            finally:
                untyped.close()
        finally:
            await node.bus.close()
    finally:
        await nats.close()


async def _only_namespace(nats: NatsConnection, wait_s: float) -> str:
    begun_s, said = time.monotonic(), False
    while not (found := await namespaces(nats)):
        waited_s = time.monotonic() - begun_s
        if waited_s > wait_s:
            text = f"the server at {nats.shown} has no namespace: no pool has started on it"
            raise Unavailable(text, server=nats.shown)
        if waited_s > SAY_AFTER_S and not said:
            said = True
            log.warning("the server at %s has no namespace yet: waiting for a pool to start on it", nats.shown)
        await asyncio.sleep(LOOK_AGAIN_S)
    if len(found) > 1:
        text = f"which namespace? The server has {', '.join(found)}: say --namespace, namespace= or AETHER_NAMESPACE"
        raise ConfigError(text, setting="namespace")
    return found[0]
