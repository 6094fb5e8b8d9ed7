"""What the contract suite needs of a side: fresh namespaces, nodes in them, and time.

Each side builds the same `World`; the suites know nothing else of it. Waiting is always for something to be received,
under a guard that fails the test; no test waits for a duration.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from aether.client_node import ClientTransport
from aether.ids import ActorId, Position
from aether.memory.clock import ManualClock
from aether.memory.connection import InMemoryConnection
from aether.memory.server import InMemoryServer
from aether.ports import (
    AppendOutcome,
    Committed,
    EventBus,
    EventStore,
    Inbox,
    Listing,
    SnapshotStore,
    StoredCommit,
    StreamReading,
    Subscription,
    Table,
    Tasks,
    Timers,
)
from aether.wire import Event, encode_commit, instant, new_event
from aether.worker.node import InformingTransport

T = TypeVar("T")

GUARD_S = 10.0
"""A wait as long as this has failed."""

SHARDS = 8

EXAMPLES_USUAL = 100
"""The examples of the profile that a side's own numbers are meant for."""


# ------------------------------------------------------------------------------------------------ the sides


class WholeTransport(ClientTransport, InformingTransport, Protocol):
    """A transport as clients and as workers need it."""


@dataclass(frozen=True, slots=True)
class Node:
    """One connection's adapters; `follow` makes its store keep the version cache by the bus."""

    store: EventStore
    snapshots: SnapshotStore
    bus: EventBus
    table: Table
    transport: WholeTransport
    follow: Callable[[], Coroutine[Any, Any, Subscription]]
    listing: Listing
    stream: StreamReading
    inbox: Inbox
    timers: Timers
    tasks: Tasks
    restart: Callable[[], Coroutine[Any, Any, None]]


class World(Protocol):
    """One server with room for many namespaces."""

    async def node(self, namespace: str = "one") -> Node:
        """A new connection to a namespace of this world."""
        ...

    def pass_time(self, seconds: float) -> None:
        """Where time is ours, move it; else it passes by itself."""
        ...


class Side(Protocol):
    """One set of adapters. `examples` and `steps` are what a state machine can afford on it."""

    name: str
    manual_time: bool
    examples: int
    steps: int

    def world(self) -> AbstractAsyncContextManager[World]:
        """A world with unused namespaces."""
        ...


class MemoryWorld:
    """The adapters in memory, with a clock that the test moves."""

    def __init__(self) -> None:
        self._clock = ManualClock()
        self._server = InMemoryServer(clock=self._clock)

    async def node(self, namespace: str = "one") -> Node:
        connection = InMemoryConnection(self._server, namespace, shards=SHARDS)
        store = connection.event_store
        return Node(
            store,
            connection.snapshots,
            connection.bus,
            connection.table,
            connection.transport,
            lambda: store.follow(connection.bus),
            store,
            store,
            connection.inbox,
            connection.timers,
            connection.tasks,
            lambda: _again(connection),
        )

    def pass_time(self, seconds: float) -> None:
        self._clock.advance(seconds)


async def _again(connection: InMemoryConnection) -> None:
    connection.disconnect()
    connection.reconnect()


class MemorySide:
    """In memory, as every side is named and sized here."""

    name = "memory"
    manual_time = True
    examples = 60
    steps = 40

    @asynccontextmanager
    async def world(self) -> AsyncIterator[World]:
        yield MemoryWorld()


class Stage:
    """A world and the event loop it lives in, for tests that Hypothesis drives from outside a loop."""

    def __init__(self, side: Side) -> None:
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self.world = self.run(self._stack.enter_async_context(side.world()))

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        """Run one step, guarded."""
        return self._runner.run(guarded(step))

    def close(self) -> None:
        """Leave the world and its loop."""
        with self._runner:
            self.run(self._stack.aclose())

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class SideMachine(RuleBasedStateMachine):
    """A state machine over one side; `prepare` runs before its first rule, in its loop."""

    side: ClassVar[Side]

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(self.side)
        self.prepare()

    def prepare(self) -> None:
        """Make the nodes."""

    def finish(self) -> None:
        """The last check."""

    def teardown(self) -> None:
        """Check, and leave the world whatever came of it."""
        try:
            self.finish()
        finally:
            self.stage.close()


def run_machine(machine: type[SideMachine], side: Side) -> None:
    """Run the machine on a side, within the side's budget."""
    run_state_machine_as_test(type(machine.__name__, (machine,), {"side": side}), settings=budget(side))


async def guarded(step: Coroutine[Any, Any, T]) -> T:
    """The step's result, or a failure when it takes as long as the guard."""
    async with asyncio.timeout(GUARD_S):
        return await step


def budget(side: Side) -> settings:
    """How many examples and steps a machine or property gets on this side; a longer profile gives more."""
    return settings(
        max_examples=max(1, side.examples * settings().max_examples // EXAMPLES_USUAL),
        stateful_step_count=side.steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


class Received(Generic[T]):
    """What a subscription has handed over so far."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self._changed = asyncio.Event()

    def receive(self, item: T) -> None:
        """The callback to give to a port."""
        self.items.append(item)
        self._changed.set()

    async def count(self, count: int) -> list[T]:
        """All received, once they are `count` or more."""
        return await self.until(lambda items: len(items) >= count)

    async def until(self, reached: Callable[[list[T]], bool]) -> list[T]:
        """All received, once `reached` is true of it."""
        async with asyncio.timeout(GUARD_S):
            while not reached(self.items):
                self._changed.clear()
                await self._changed.wait()
        return self.items


# ------------------------------------------------------------------------------------------------ what is stored

LOOKALIKES = ("a", "A", "a.b", "a=2Eb", "*", ">", " ", "=", "\x00", "\u00e9", "e\u0301", "a" * 200, "\U0001f600" * 50)
"""Keys that a careless encoding confuses or cannot carry."""

keys = st.one_of(
    st.sampled_from(LOOKALIKES),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=50),
)
actor_ids = st.builds(ActorId, st.sampled_from(["account", "order", "order2"]), keys)


def events_of(actor_id: ActorId, first_version: int, count: int = 1, data: bytes = b"{}") -> list[Event]:
    """`count` events of one commit, from a version on."""
    return [
        new_event(
            version=first_version + i,
            source=f"/one/{actor_id.kind}/x",
            type="Happened",
            time=instant(1_700_000_000),
            data=data,
            commandid=f"command-{first_version}",
        )
        for i in range(count)
    ]


def payload_of(actor_id: ActorId, first_version: int, count: int = 1, data: bytes = b"{}") -> bytes:
    """The same events as a commit's bytes."""
    return encode_commit(events_of(actor_id, first_version, count, data))


async def publish(store: EventStore, actor_id: ActorId, payload: bytes, expected: Position) -> AppendOutcome:
    """`EventStore.publish`, awaited; a second word on the same commit is an error."""
    outcome: asyncio.Future[AppendOutcome] = asyncio.get_running_loop().create_future()
    store.publish(actor_id, payload, expected, outcome.set_result)
    return await outcome


async def commit(store: EventStore, actor_id: ActorId, first_version: int, expected: Position) -> StoredCommit:
    """Append one event that must be stored."""
    payload = payload_of(actor_id, first_version)
    outcome = await publish(store, actor_id, payload, expected)
    assert isinstance(outcome, Committed), outcome
    return StoredCommit(actor_id, outcome.position, payload)
