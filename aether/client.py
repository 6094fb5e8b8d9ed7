"""The client: typed proxies, states and histories over one connection.

`connect` knows the model and gives typed values; `open_session` knows only names and gives JSON, for tools. Both read
the number of shards from the stream, so a client needs no routing table and no configuration beside a URL. A client
belongs to one event loop.
"""

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_urlsafe
from typing import Any, TypeAlias

import orjson

from aether.calls import Caller
from aether.config import CallConfig, ConnectionConfig, from_environment
from aether.core.overview import Overview, overview
from aether.errors import ConfigError, DeadlineExceeded, Unavailable, nothing_stored
from aether.history import EventStream, History
from aether.ids import ActorId, Position
from aether.jetstream.bundle import JetStreamConnection, client_bundle
from aether.jetstream.connection import NatsConnection
from aether.jetstream.connection import connect as connect_nats
from aether.jetstream.layout import namespaces
from aether.model.decider import Decider
from aether.model.definition import ActorState
from aether.model.model import Model
from aether.model.proxy import proxy_of
from aether.ports import START, EventBus
from aether.runtime.state_query import decode_state_reply
from aether.system.clock import SystemClock
from aether.system.environment import environment, nats_url
from aether.wire import STATE_COMMAND, Answer, Event, answer_error, decode_answer, decode_commit

LOOK_AGAIN_S = 0.1
LAYOUT_WAIT_S = 10.0
"""How long a client waits for a namespace whose pool is only just starting."""

ActorRef: TypeAlias = str | type[Any] | Decider
"""An actor kind: its name, its `Actor` class, or its `Decider`."""


class Session:
    """A connection to one namespace, without a model: JSON in, JSON out."""

    def __init__(self, node: JetStreamConnection, calls: CallConfig) -> None:
        self._node = node
        self.caller = Caller(node.transport, node.clock, calls, new_id=_new_ids(), jitter=random.random)

    @property
    def namespace(self) -> str:
        """The namespace it talks to."""
        return self._node.namespace

    @property
    def bus(self) -> EventBus:
        """What is stored in the namespace, as it is stored."""
        return self._node.bus

    def call(
        self,
        actor_id: ActorId,
        command: str,
        args: bytes = b"{}",
        *,
        deadline_s: float | None = None,
        command_id: str | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """The answer to a command whose arguments are a JSON object by name. Raises what `Caller.call` raises."""
        return self.caller.call(actor_id, command, args, deadline_s=deadline_s, command_id=command_id)

    async def state(self, actor_id: ActorId, version: int | None = None, *, deadline_s: float | None = None) -> bytes:
        """`{"id", "version", "state"}` as JSON, now or at an earlier version."""
        args = orjson.dumps({} if version is None else {"version": version})
        try:
            return bytes((await self.call(actor_id, STATE_COMMAND, args, deadline_s=deadline_s)).value)
        except DeadlineExceeded as late:
            raise nothing_stored(late) from None

    async def history(self, actor_id: ActorId, after_version: int = 0) -> AsyncIterator[tuple[Event, Position]]:
        """Every stored event after a version, with the position of its commit."""
        async for commit in self._node.event_store.read(actor_id, after=START):
            for event in decode_commit(commit.payload, actor_id, commit.position):
                if event.version > after_version:
                    yield event, commit.position

    async def drop_snapshots(self, kind: str, key: str | None = None) -> int:
        """Remove the snapshot of one actor, or those of all actors of a kind; how many there were.

        An actor that a worker has in memory keeps its state. Raises `Unavailable`.
        """
        snapshots = self._node.snapshots
        if key is None:
            return await snapshots.delete_kind(kind)
        actor_id = ActorId(kind, key)
        known = await snapshots.load(actor_id) is not None
        await snapshots.delete(actor_id)
        return int(known)

    async def schema(self) -> dict[str, Any]:
        """The running pool's `model.schema()`. Raises `Unavailable` when no worker answers."""
        raw = await self._node.transport.ask_info()
        found = orjson.loads(raw)
        if isinstance(found, dict) and "actors" in found:
            return found
        refusal = decode_answer(raw).error
        raise answer_error(refusal) if refusal is not None else Unavailable("the pool's answer is no schema")

    async def overview(self) -> Overview:
        """Members and shards as the table has them now: who is there, who holds what, what is on its way."""
        return overview(await self._node.table.rows(), self._node.shards)


def _new_ids() -> Callable[[], str]:
    """Ids that nobody else makes: a random name for this session, and a count. Short: an event holds three of them."""
    prefix, count = token_urlsafe(12), itertools.count(1)
    return lambda: f"{prefix}-{next(count)}"


class Client:
    """A typed client of one model; made by `connect`."""

    def __init__(self, session: Session, model: Model) -> None:
        self._session = session
        self._model = model
        self._send = session.caller.call

    @property
    def namespace(self) -> str:
        """The namespace it talks to."""
        return self._session.namespace

    def actor(self, kind: ActorRef, key: str, deadline_s: float | None = None, command_id: str | None = None) -> Any:
        """A proxy: its commands and queries are coroutines, `await client.actor(Account, "alice").deposit(10)`.

        Every error is raised when the call is awaited: `Rejected`, `InvalidCommand`, `UnknownActor`, `UnknownCommand`,
        `ActorFailed`, `Overloaded`, `Unavailable`, `DeadlineExceeded`. A `command_id` is for one call.
        """
        if deadline_s is None and command_id is None:
            return proxy_of(self._model, kind, key, self._send)
        return proxy_of(self._model, kind, key, partial(self._send, deadline_s=deadline_s, command_id=command_id))

    async def state(
        self, kind: ActorRef, key: str, version: int | None = None, deadline_s: float | None = None
    ) -> ActorState:
        """The actor's state as typed values, now or at an earlier version; version 0 and defaults when never used."""
        actor_type = self._model.actor_type(kind)
        raw = await self._session.state(ActorId(actor_type.kind, key), version, deadline_s=deadline_s)
        return decode_state_reply(raw, actor_type)

    def history(self, kind: ActorRef, key: str, after_version: int = 0) -> History:
        """The actor's events: `await` it for a list, or iterate with `async for`."""
        actor_type = self._model.actor_type(kind)
        actor_id = ActorId(actor_type.kind, key)
        return History(lambda: self._session.history(actor_id, after_version), actor_id, actor_type)

    def subscribe(self, *event_types: type[Any]) -> EventStream:
        """Events of these classes (none: of all) of every actor, as they are stored from now on.

        `async with client.subscribe(Deposited) as events: async for event in events: ...`. Nothing that is stored after
        it was entered is missed, in each actor's order, over lost
        connections too; it raises `Overloaded` when its reader falls too far behind.
        """
        return EventStream(self._session.bus, self._model, frozenset(event_types))


@asynccontextmanager
async def connect(
    url: str | None = None,
    *,
    model: Model,
    namespace: str | None = None,
    calls: CallConfig | None = None,
    connection: ConnectionConfig | None = None,
) -> AsyncIterator[Client]:
    """A client of `model`'s pool; the namespace defaults to the model's name.

    Without a `url`: `AETHER_NATS_URL`, else the embedded server of this directory, else the usual port. Raises
    `Unavailable` when the server cannot be reached or the namespace does not appear, `ConfigError` for bad settings.
    """
    async with open_session(url, namespace=namespace or model.name, calls=calls, connection=connection) as session:
        yield Client(session, model)


@asynccontextmanager
async def open_session(
    url: str | None = None,
    *,
    namespace: str | None = None,
    calls: CallConfig | None = None,
    connection: ConnectionConfig | None = None,
    wait_s: float = LAYOUT_WAIT_S,
) -> AsyncIterator[Session]:
    """A session without a model; the namespace defaults to the only one that the server has.

    Waits `wait_s` for a pool that is just starting. Raises `ConfigError` when there are several namespaces,
    `Unavailable` when there is none, and what `connect` raises.
    """
    variables = environment()
    where = url or (None if connection else nats_url(variables))
    config = connection or from_environment(ConnectionConfig, variables, url=where)
    settings = calls or from_environment(CallConfig, variables)
    async with connect_nats(config) as nats:
        chosen = namespace or variables.get("AETHER_NAMESPACE") or await _only_namespace(nats, wait_s)
        async with client_bundle(nats, chosen, SystemClock(), timeout_s=wait_s) as node:
            await node.transport.follow_owners()
            yield Session(node, settings)


async def _only_namespace(nats: NatsConnection, wait_s: float) -> str:
    ends_s = time.monotonic() + wait_s
    while not (found := await namespaces(nats)):
        if time.monotonic() > ends_s:
            raise Unavailable("the server has no namespace: no pool has started on it")
        await asyncio.sleep(LOOK_AGAIN_S)
    if len(found) > 1:
        raise ConfigError(f"name the namespace, the server has several: {', '.join(found)}", setting="namespace")
    return found[0]
