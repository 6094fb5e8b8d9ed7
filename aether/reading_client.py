"""What a client of one namespace reads: histories, keys, and the stream of what is stored. It sends no command.

Whatever is read is read again while it is unavailable, until a deadline; streams that are open end when the client is
closed. A client belongs to the event loop that it was made in.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from secrets import token_urlsafe
from typing import Any, TypeVar
from weakref import WeakSet

from aether.client_node import ClientNode
from aether.config import CallConfig
from aether.correlation import Trace
from aether.correlation_search import TRACE_COMMITS_MAX, TRACE_SINCE, begin_of, find_trace, search_commits
from aether.errors import (
    ClientUnusable,
    InvalidCommand,
    Overloaded,
)
from aether.history import STREAM_EVENTS_MAX, EventStream
from aether.ids import ActorId, Position, check_id, check_kind
from aether.model.model import Model
from aether.ports import START, StoredCommit, Subscription
from aether.retried_request import RetriedRequest
from aether.state_stream import StateStream
from aether.traced_calls import make_caller
from aether.wire import (
    DEADLINE_AHEAD_MAX_S,
    Event,
    decode_commit,
)

T = TypeVar("T")

SHARDS_LISTED_AT_ONCE = 16
"""Lists of keys that are asked for at once."""


class ReadingClient:
    """A connection to one namespace that reads. `server` is the server's name for people."""

    def __init__(self, node: ClientNode, calls: CallConfig) -> None:
        self.namespace = node.namespace
        self.server = node.server
        self._node = node
        self._deadline_s = calls.deadline_s
        self._streams: WeakSet[EventStream[Any] | StateStream[Any]] = WeakSet()
        self._closing = asyncio.Event()
        self._new_id = _new_ids()
        self.caller = make_caller(
            node.transport,
            node.clock,
            calls,
            new_id=self._new_id,
            jitter=random.random,
            namespace=self.namespace,
            server=self.server,
        )

    @property
    def trouble(self) -> str:
        """Why there is no connection to the server now; "" when there is one."""
        return self._node.trouble

    @property
    def now(self) -> datetime:
        """The time by the client's clock, in UTC."""
        return datetime.fromtimestamp(self._node.clock.wall_s(), UTC)

    @property
    def shards(self) -> int:
        """The number of shards of the namespace."""
        return self._node.shards

    def check(self) -> None:
        """Raise `ClientUnusable` when the client is closed or this is another event loop."""
        self.caller.check()

    def close(self) -> None:
        """Send and read nothing more; what is open ends with `ClientUnusable`. Idempotent."""
        self.caller.close()
        self._closing.set()
        self._node.transport.hang_up()
        for stream in list(self._streams):
            stream.end(ClientUnusable("this client is closed: it receives no more events"))

    async def history(
        self,
        actor_id: ActorId,
        after_version: int = 0,
        *,
        after_position: Position = START,
        deadline_s: float | None = None,
    ) -> AsyncIterator[tuple[Event, Position]]:
        """Every stored event after a version, with the position of its commit.

        Commits up to `after_position` are not read: it spares a late part of a long history the reading of the rest.
        Reads on from where it was when the connection is lost. Raises `Unavailable` or
        `DeadlineExceeded(outcome_known=True)` when no event could be read for `deadline_s`, `ClientUnusable`.
        """
        async for commits in self._commits(actor_id, after_position, deadline_s):
            for commit in commits:
                for event in decode_commit(commit.payload, actor_id, commit.position):
                    if event.version > after_version:
                        yield event, commit.position

    def _commits(
        self, actor_id: ActorId, after: Position, deadline_s: float | None
    ) -> AsyncIterator[list[StoredCommit]]:
        patience = self._patience(f"the history of {actor_id}", deadline_s)
        return patience.read_on(partial(self._node.event_store.read_batches, actor_id), after)

    async def keys(self, kind: str, *, deadline_s: float | None = None) -> AsyncIterator[str]:
        """The keys of a kind's actors that have a history, each once, shard by shard.

        An actor that is new meanwhile may or may not be among them. Raises what `history` raises, and `InvalidCommand`
        for what is no kind.
        """
        check_kind(kind)
        ask = partial(self._node.event_store.keys, kind)
        async for key in self._of_each_shard(f"the keys of {kind}", ask, deadline_s):
            yield key

    async def keys_of_shard(self, kind: str, shard: int, *, deadline_s: float | None = None) -> list[str]:
        """The keys of a kind's actors of one shard that have a history, sorted. Raises what `history` raises."""
        check_kind(kind)
        patience = self._patience(f"the keys of {kind}", deadline_s)
        return sorted(await patience.ask(lambda: self._node.event_store.keys(kind, shard)))

    async def actors(self, *, deadline_s: float | None = None) -> AsyncIterator[ActorId]:
        """The actors of all kinds that have a history, each once, shard by shard, also of kinds that no model has.

        An actor that is new meanwhile may or may not be among them. Raises what `history` raises.
        """
        async for actor_id in self._of_each_shard("the list of actors", self._node.event_store.actors, deadline_s):
            yield actor_id

    async def _of_each_shard(
        self, what: str, ask: Callable[[int], Awaitable[list[T]]], deadline_s: float | None
    ) -> AsyncIterator[T]:
        """What `ask` gives for each shard, some shards at a time."""
        patience, shards = self._patience(what, deadline_s), range(self._node.shards)
        for first in range(0, len(shards), SHARDS_LISTED_AT_ONCE):
            asked = shards[first : first + SHARDS_LISTED_AT_ONCE]
            listed = await patience.ask(lambda asked=asked: asyncio.gather(*map(ask, asked)))  # type: ignore[misc]
            for item in itertools.chain.from_iterable(listed):
                yield item
            patience.start_again()

    async def listen(self, receive: Callable[[StoredCommit], None]) -> tuple[Subscription, Position]:
        """Receive every commit after the position that comes back, in order, from now on; maybe some before it too.

        `receive` is synchronous and must not raise. Raises what `tail` raises when it cannot begin.
        """
        subscription = await self._subscribe(receive, None)
        try:
            return subscription, await self.last_position()
        except BaseException:
            await subscription.stop()
            raise

    async def last_position(self, *, deadline_s: float | None = None) -> Position:
        """The position of the last commit of all actors, once it is on the disk. Raises what `history` raises."""
        return await self._patience("the end of the stream", deadline_s).ask(self._node.event_store.last_position)

    async def stored(
        self,
        after: Position,
        until: Position,
        kind: str | None = None,
        key: str | None = None,
        *,
        deadline_s: float | None = None,
    ) -> AsyncIterator[list[StoredCommit]]:
        """The commits of all actors, of one kind, or of one actor between two positions, in order, some at a time.

        Reads on from where it was when the connection is lost. Raises what `history` raises.
        """
        store, patience = self._node.event_store, self._patience("the stream of events", deadline_s)

        def read_after(position: Position) -> AsyncIterator[list[StoredCommit]]:
            return store.read_stream(position, until, kind=kind, key=key)

        async for commits in patience.read_on(read_after, after):
            yield commits

    async def trace(
        self,
        correlation_id: str,
        since: datetime | timedelta = TRACE_SINCE,
        *,
        limit: int = TRACE_COMMITS_MAX,
        deadline_s: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Trace:
        """What the commands of a correlation id did, found by reading the commits of all actors that are so new.

        `since` is a time with a time zone, or how long ago. At most `limit` commits are read, the oldest of them first;
        `progress` hears how many were read, and of how many. Reads on when the connection is lost. A commit that cannot
        be read is a step of its own. Raises `InvalidCommand`, and what `history` raises.
        """
        begins = begin_of(since, self._node.clock.wall_s())
        check_id(correlation_id, "a correlation id", "correlation_id")
        patience = self._patience(f"the trace of {correlation_id}", deadline_s)
        return await find_trace(self._node.event_store, patience, correlation_id, begins, limit, progress)

    async def positions_since(
        self, since: datetime | timedelta, *, deadline_s: float | None = None
    ) -> tuple[Position, Position]:
        """The position before the first commit that is so new, and that of the last one. `since` as of `trace`.

        Raises `InvalidCommand`, and what `history` raises.
        """
        begins = begin_of(since, self._node.clock.wall_s())
        patience = self._patience("the positions in the stream", deadline_s)
        return await patience.ask(lambda: self._node.event_store.positions_since(begins))

    def search_commits(
        self, correlation_id: str, after: Position, until: Position, *, deadline_s: float | None = None
    ) -> AsyncGenerator[tuple[Position, list[StoredCommit]]]:
        """The commits between two positions that may belong to a correlation id, in order.

        Each step says up to where all are found. A reader that leaves early closes it. Raises what `history` raises.
        """
        patience = self._patience(f"the trace of {correlation_id}", deadline_s)
        return search_commits(self._node.event_store, patience, correlation_id, after, until)

    async def tail(
        self, kind: str | None = None, key: str | None = None, *, deadline_s: float | None = None
    ) -> AsyncIterator[tuple[ActorId, Event, Position]]:
        """Every event of all actors, of one kind, or of one actor, as it is stored from now on, without end.

        Nothing that is stored after the first step is missed, over lost connections too. Raises `Unavailable` or
        `DeadlineExceeded(outcome_known=True)` when it cannot begin within `deadline_s`, `Overloaded` when its reader
        falls too far behind.
        """
        waiting: asyncio.Queue[StoredCommit] = asyncio.Queue()

        def receive(commit: StoredCommit) -> None:
            if waiting.qsize() <= STREAM_EVENTS_MAX:
                waiting.put_nowait(commit)

        subscription = await self._subscribe(receive, deadline_s, kind, key)
        try:
            while True:
                commit = await waiting.get()
                if waiting.qsize() >= STREAM_EVENTS_MAX:
                    text = f"the reader is {STREAM_EVENTS_MAX} commits behind"
                    raise Overloaded(text, limit="STREAM_EVENTS_MAX")
                for event in decode_commit(commit.payload, commit.actor_id, commit.position):
                    yield commit.actor_id, event, commit.position
        finally:
            await subscription.stop()

    def subscribe(
        self, model: Model, event_types: frozenset[type[Any]], *, deadline_s: float | None = None
    ) -> EventStream[Any]:
        """Events of these classes, of all when there are none, as they are stored from when it is entered."""

        stream: EventStream[Any] = EventStream(
            lambda receive: self._subscribe(receive, deadline_s), self.check, model, event_types
        )
        self._streams.add(stream)
        return stream

    async def _subscribe(
        self,
        receive: Callable[[StoredCommit], None],
        deadline_s: float | None,
        kind: str | None = None,
        key: str | None = None,
    ) -> Subscription:
        patience = self._patience("the place to subscribe from", deadline_s)
        return await patience.ask(lambda: self._node.bus.subscribe(receive, kind=kind, key=key))

    def _patience(self, what: str, deadline_s: float | None, done: str = "read") -> RetriedRequest:
        for_s = self._deadline_s if deadline_s is None else deadline_s
        if not isinstance(for_s, int | float) or not 0 < for_s <= DEADLINE_AHEAD_MAX_S:
            message = f"deadline_s is more than 0 and at most {DEADLINE_AHEAD_MAX_S:.0f}, not {for_s}"
            raise InvalidCommand(message, path="deadline_s")
        return RetriedRequest(self, self._closing, what, done, for_s)


def _new_ids() -> Callable[[], str]:
    """Unique ids: a random name for this client, and a count. They are short, because an event holds three of them."""
    prefix, count = token_urlsafe(12), itertools.count(1)
    return lambda: f"{prefix}-{next(count)}"
