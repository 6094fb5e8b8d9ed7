"""The client for code without asyncio: the same calls, each of which returns when its answer is there.

A `BlockingClient` passes each call to an ordinary `Client`, which lives in a thread of its own (`loop_thread`). Any
thread may use it. It must not be used where an event loop runs, which it would block.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, NoReturn, ParamSpec, Protocol, Self, TypeVar, overload

from aether.client import Client
from aether.config import CallConfig, ConnectionConfig
from aether.connecting import connect
from aether.core.metrics.failures import FailureGroup
from aether.core.metrics.pool_metrics import PoolMetrics
from aether.correlation import Trace
from aether.correlation_search import TRACE_COMMITS_MAX, TRACE_SINCE
from aether.dead_letters import DeadLetter
from aether.errors import ClientUnusable
from aether.history import HistoryEvent
from aether.loop_thread import LoopThread, check_no_loop
from aether.model.actor import Actor
from aether.model.decider import Decider
from aether.model.definition import ActorState
from aether.model.methods import Command
from aether.model.model import Model
from aether.model.proxy import ActorRef
from aether.untyped_client import Receipt

READ_AT_ONCE = 64
"""Items of a history that are fetched from the thread together."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A", bound=Actor)
P = ParamSpec("P")
S = TypeVar("S")
E = TypeVar("E")
E2 = TypeVar("E2")


class BlockingActor:
    """One actor: `client.actor(Account, "alice").deposit(10)` gives the reply."""

    __slots__ = ("_proxy", "_thread")

    def __init__(self, thread: LoopThread, proxy: Any) -> None:
        self._thread = thread
        self._proxy = proxy

    def __getattr__(self, name: str) -> Callable[..., Any]:
        try:
            command, thread = getattr(self._proxy, name), self._thread
        except AttributeError as error:  # it advises to await
            raise AttributeError(str(error).replace("`await ", "`"), name=name, obj=self) from None

        def call(*args: Any, **kwargs: Any) -> Any:
            return thread.run(lambda: command(*args, **kwargs))

        call.__name__ = call.__qualname__ = name
        return call

    def __repr__(self) -> str:
        return f"<blocking {self._proxy!r}>"


class _Stream(Protocol[T_co]):
    async def __aenter__(self) -> object: ...
    async def __anext__(self) -> T_co: ...
    async def stop(self) -> None: ...


class BlockingStream(Iterator[T]):
    """Events or states as they are stored: `with client.subscribe(Deposited) as events: for event in events: ...`.

    `next` waits for the next one. It raises what iterating an `EventStream` or `StateStream` raises; an interrupt, or
    `close` of the client in another thread, ends the wait. One thread reads.
    """

    def __init__(self, thread: LoopThread, stream: _Stream[T]) -> None:
        self._thread = thread
        self._stream = stream

    def __enter__(self) -> Self:
        self._thread.run(self._stream.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._thread.run(self._stream.stop)
        except ClientUnusable:  # and with the client, its subscriptions have ended
            return

    def __next__(self) -> T:
        try:
            return self._thread.run(self._stream.__anext__)
        except StopAsyncIteration:
            raise StopIteration from None


class BlockingClient:
    """A typed client of one model for code without asyncio; made by `connect_blocking`, used in a `with`.

    Every method raises what `Client`'s raises, and `ClientUnusable` where an event loop runs, after a fork, and when it
    is closed.
    """

    def __init__(self, opening: AbstractAsyncContextManager[Client]) -> None:
        self._opening = opening
        self._opened: LoopThread | None = None
        self._entered = False
        self._chosen: Client | None = None

    def __enter__(self) -> "BlockingClient":
        check_no_loop()
        if self._entered:
            raise ClientUnusable("a connection is entered once; call aether.connect_blocking again for another client")
        self._entered = True
        self._opened = LoopThread(self._opening)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close it; calls and iterations of other threads that are open end with `ClientUnusable`. Idempotent."""
        if self._opened is not None:
            self._opened.close()

    @property
    def namespace(self) -> str:
        """The namespace it talks to."""
        return self._client.namespace

    def using(
        self,
        *,
        command_id: str | None = None,
        deadline_s: float | None = None,
        caller: str | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
    ) -> "BlockingClient":
        """The same client with other options, over the same connection: see `Client.using`. Closing one closes both."""
        other = BlockingClient(self._opening)
        other._opened, other._entered = self._thread, True
        other._chosen = self._client.using(
            command_id=command_id,
            deadline_s=deadline_s,
            caller=caller,
            correlation_id=correlation_id,
            traceparent=traceparent,
        )
        return other

    def actor(self, kind: ActorRef, key: str, deadline_s: float | None = None, command_id: str | None = None) -> Any:
        """The actor: its commands and queries are methods that return when the reply is there. Any to type checkers."""
        thread = self._thread
        return BlockingActor(thread, self._client.actor(kind, key, deadline_s=deadline_s, command_id=command_id))

    def tell(self, command: Command[Any, P, Any], key: str, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Have the actor `key` run a command once it can; returns when that is on the disk."""
        return self._thread.run(lambda: self._client.tell(command, key, *args, **kwargs))

    def dead_letters(self, kind: ActorRef | None = None, deadline_s: float | None = None) -> Iterator[DeadLetter]:
        """The tells that failed too often, the oldest first, read while they are iterated."""
        return self._iterate(lambda: self._client.dead_letters(kind, deadline_s))

    def retry_dead_letter(self, id: int, *, by: str = "", deadline_s: float | None = None) -> Receipt:
        """Tell the same actor the same again: see `Client.retry_dead_letter`."""
        return self._thread.run(lambda: self._client.retry_dead_letter(id, by=by, deadline_s=deadline_s))

    def drop_dead_letter(self, id: int, *, by: str = "", deadline_s: float | None = None) -> None:
        """Take a dead letter out of the list for good; its actor's history keeps it."""
        self._thread.run(lambda: self._client.drop_dead_letter(id, by=by, deadline_s=deadline_s))

    @overload
    def state(
        self, kind: type[A], key: str, version: int | None = None, deadline_s: float | None = None
    ) -> ActorState[A]: ...
    @overload
    def state(
        self, kind: Decider[S, Any, Any], key: str, version: int | None = None, deadline_s: float | None = None
    ) -> ActorState[S]: ...
    @overload
    def state(
        self, kind: str, key: str, version: int | None = None, deadline_s: float | None = None
    ) -> ActorState[Any]: ...
    def state(
        self, kind: Any, key: str, version: int | None = None, deadline_s: float | None = None
    ) -> ActorState[Any]:
        """The actor's state as typed values, now or at an earlier version."""
        return self._thread.run(lambda: self._client.state(kind, key, version, deadline_s))

    @overload
    def follow(self, kind: type[A], key: str, *, deadline_s: float | None = None) -> BlockingStream[ActorState[A]]: ...
    @overload
    def follow(
        self, kind: Decider[S, Any, Any], key: str, *, deadline_s: float | None = None
    ) -> BlockingStream[ActorState[S]]: ...
    @overload
    def follow(self, kind: str, key: str, *, deadline_s: float | None = None) -> BlockingStream[ActorState[Any]]: ...
    def follow(self, kind: Any, key: str, *, deadline_s: float | None = None) -> BlockingStream[ActorState[Any]]:
        """The actor's state now and after each commit: `with client.follow(Account, "alice") as states: ...`."""
        return self._stream(lambda: self._client.follow(kind, key, deadline_s=deadline_s))

    @overload
    def history(
        self, kind: type[Actor], key: str, after_version: int = 0, deadline_s: float | None = None
    ) -> Iterator[HistoryEvent[object]]: ...
    @overload
    def history(
        self, kind: Decider[Any, Any, E], key: str, after_version: int = 0, deadline_s: float | None = None
    ) -> Iterator[HistoryEvent[E]]: ...
    @overload
    def history(
        self, kind: str, key: str, after_version: int = 0, deadline_s: float | None = None
    ) -> Iterator[HistoryEvent[Any]]: ...
    def history(
        self, kind: Any, key: str, after_version: int = 0, deadline_s: float | None = None
    ) -> Iterator[HistoryEvent[Any]]:
        """The actor's events, read while they are iterated."""
        return self._iterate(lambda: self._client.history(kind, key, after_version, deadline_s))

    def keys(self, kind: ActorRef, deadline_s: float | None = None) -> Iterator[str]:
        """The keys of all actors of a kind that have a history, read while they are iterated."""
        return self._iterate(lambda: self._client.keys(kind, deadline_s))

    def trace(
        self,
        correlation_id: str,
        since: datetime | timedelta = TRACE_SINCE,
        *,
        limit: int = TRACE_COMMITS_MAX,
        deadline_s: float | None = None,
    ) -> Trace:
        """What the commands of a correlation id did, across actors: see `Client.trace`."""
        return self._thread.run(lambda: self._client.trace(correlation_id, since, limit=limit, deadline_s=deadline_s))

    def metrics(self, deadline_s: float | None = None) -> PoolMetrics:
        """What the workers have measured, and which did not answer within a second."""
        return self._thread.run(lambda: self._client.metrics(deadline_s))

    def failures(self, deadline_s: float | None = None) -> list[FailureGroup]:
        """Which actors failed lately, and why, by command and kind of error, the latest first."""
        return self._thread.run(lambda: self._client.failures(deadline_s))

    @overload
    def subscribe(self, *, deadline_s: float | None = None) -> BlockingStream[HistoryEvent[object]]: ...
    @overload
    def subscribe(
        self, event_type: type[E], /, *, deadline_s: float | None = None
    ) -> BlockingStream[HistoryEvent[E]]: ...
    @overload
    def subscribe(
        self, first: type[E], second: type[E2], /, *, deadline_s: float | None = None
    ) -> BlockingStream[HistoryEvent[E | E2]]: ...
    @overload
    def subscribe(self, *event_types: type[E], deadline_s: float | None = None) -> BlockingStream[HistoryEvent[E]]: ...
    def subscribe(self, *event_types: type[Any], deadline_s: float | None = None) -> BlockingStream[HistoryEvent[Any]]:
        """Events of these classes (none: of all) of every actor, as they are stored from when it is entered."""
        return self._stream(lambda: self._client.subscribe(*event_types, deadline_s=deadline_s))

    def _stream(self, make: Callable[[], _Stream[T]]) -> BlockingStream[T]:
        thread = self._thread

        async def made() -> _Stream[T]:
            return make()

        return BlockingStream(thread, thread.run(made))

    def _iterate(self, read: Callable[[], AsyncIterable[T]]) -> Iterator[T]:
        thread = self._thread

        async def begin() -> AsyncIterator[T]:
            return aiter(read())

        items = thread.run(begin)
        while True:
            found, error = thread.run(lambda: _some(items))
            yield from found
            if error is not None:
                raise error
            if len(found) < READ_AT_ONCE:
                return

    @property
    def _client(self) -> Client:
        return self._chosen or self._thread.client

    @property
    def _thread(self) -> LoopThread:
        if self._opened is None:
            raise ClientUnusable("this is no client yet: `with aether.connect_blocking(...) as client` gives one")
        return self._opened

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a blocking client has no {name}")


async def _some(items: AsyncIterator[T]) -> tuple[list[T], Exception | None]:
    """The next items, and the error that came instead of more."""
    found: list[T] = []
    try:
        async for item in items:
            found.append(item)
            if len(found) == READ_AT_ONCE:
                break
    except Exception as error:
        return found, error
    return found, None


def connect_blocking(
    url: str | None = None,
    *,
    model: Model,
    namespace: str | None = None,
    calls: CallConfig | None = None,
    connection: ConnectionConfig | None = None,
) -> BlockingClient:
    """A client of `model`'s pool for code without asyncio: `with aether.connect_blocking(model=model) as client`.

    It finds the pool as `connect` does, and entering it raises what entering that raises.
    """
    return BlockingClient(connect(url, model=model, namespace=namespace, calls=calls, connection=connection))
