"""Runtimes over memory, for tests: one server, any number of nodes."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from msgspec import Raw
from msgspec.json import encode

from aether import Model, Runtime
from aether.config import RuntimeConfig
from aether.ids import ActorId, Position
from aether.memory.connection import InMemoryConnection
from aether.memory.faults import Faults
from aether.memory.server import InMemoryServer
from aether.model.definition import ActorType
from aether.names import event_source, shard_of
from aether.ports import EventStore, Lease
from aether.runtime.local import local_delivery
from aether.wire import (
    Answer,
    Command,
    Event,
    answer_error,
    decode_answer,
    decode_commit,
    encode_command,
    instant,
    new_event,
)
from tests.support.actors import model as tests_model

QUIET = RuntimeConfig(idle_passivation_s=0, snapshot_every_events=0, snapshot_after_replay_s=0)


@asynccontextmanager
async def node(
    server: InMemoryServer | None = None,
    *,
    config: RuntimeConfig = QUIET,
    model: Model = tests_model,
    lease: Lease | None = None,
    faults: Faults | None = None,
    wrap: Callable[[EventStore], EventStore] = lambda store: store,
    shards: Iterable[int] | None = None,
    tells: bool = False,
) -> AsyncIterator[Runtime]:
    """A started runtime; stopped, and with it drained, at the end."""
    connection = InMemoryConnection(server, "tests", faults=faults)
    inbox = connection.inbox if tells else None
    runtime = Runtime(connection, wrap(connection.event_store), config, lease=lease, shards=shards, inbox=inbox)
    runtime.load_model(model)
    async with connection, runtime:
        yield runtime


def command(
    name: str,
    id: str | None = None,
    for_s: float = 10.0,
    now_s: float | None = None,
    attempt: int | None = None,
    **args: Any,
) -> Command:
    """A command as a client makes it: its first send, unless an id or an attempt is given."""
    ends_s = (time.time() if now_s is None else now_s) + for_s
    number = attempt if attempt is not None else 0 if id else 1
    return Command(id=id or uuid4().hex, command=name, args=Raw(encode(args)), deadline=instant(ends_s), attempt=number)


async def send(runtime: Runtime, actor_id: ActorId, message: Command) -> Answer:
    """Send a command straight to a runtime; the answer, or the typed error it carries."""
    delivery, answered = local_delivery(actor_id, shard_of(actor_id, 256), encode_command(message))
    runtime.receive(delivery)
    answer = decode_answer(await answered)
    if answer.error is not None:
        raise answer_error(answer.error)
    return answer


async def history(runtime: Runtime, actor_id: ActorId) -> list[Event]:
    """Every stored event of an actor, read raw."""
    return [
        event
        async for commit in runtime.event_store.read(actor_id)
        for event in decode_commit(commit.payload, actor_id, commit.position)
    ]


async def append_from_outside(runtime: Runtime, actor_id: ActorId, actor_type: ActorType, *events: object) -> Position:
    """Append events as another program would, after whatever is there."""
    stored = await history(runtime, actor_id)
    last = await runtime.event_store.last(actor_id)
    first = len(stored) + 1
    await runtime.event_store.append(
        actor_id,
        [
            new_event(
                version=first + n,
                source=event_source("tests", actor_id),
                type=type(event).__name__,
                time=instant(0),
                data=actor_type.event_type_of(event).encode_checked(event)[0],
            )
            for n, event in enumerate(events)
        ],
        last.position if last else Position(0),
    )
    after = await runtime.event_store.last(actor_id)
    assert after is not None
    return after.position


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else run until the condition holds; the test's own time-out bounds it."""
    while not condition():  # noqa: ASYNC110 - the condition has no event of its own
        await asyncio.sleep(0)
