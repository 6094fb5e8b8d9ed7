"""The client: typed proxies, states and histories over one connection, which `aether.connecting` opens.

It puts the model's types to what an `UntypedClient` reads and sends. A client belongs to one event loop.
"""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ParamSpec, TypedDict, TypeVar, overload

from aether.core.metrics.failures import FailureGroup
from aether.core.metrics.pool_metrics import PoolMetrics
from aether.correlation import Trace
from aether.correlation_search import TRACE_COMMITS_MAX, TRACE_SINCE
from aether.dead_letters import DeadLetter
from aether.errors import UnknownCommand
from aether.history import EventStream, History, wanted_events
from aether.ids import ActorId, check_id, check_origin, check_traceparent, checked_command_id
from aether.model.actor import Actor
from aether.model.decider import Decider
from aether.model.definition import ActorState
from aether.model.methods import Command, checked_command
from aether.model.model import Model
from aether.model.proxy import ActorRef, AnyDecider, Send, proxy_of
from aether.state_stream import StateStream, typed_state
from aether.untyped_client import Receipt, UntypedClient

A = TypeVar("A", bound=Actor)
P = ParamSpec("P")
S = TypeVar("S")
E = TypeVar("E")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
E4 = TypeVar("E4")


class CallOptions(TypedDict, total=False):
    """What `Client.using` gives to calls and tells."""

    command_id: str
    deadline_s: float
    caller: str
    correlation_id: str
    traceparent: str


class Client:
    """A typed client of one model; made by `connect`. It belongs to the event loop that it was made in.

    Elsewhere, and when it is closed, every use raises `ClientUnusable` at once; calls that are open then end with it.
    """

    def __init__(
        self, untyped: UntypedClient, model: Model, options: CallOptions | None = None, origin: "Client | None" = None
    ) -> None:
        self._untyped = untyped
        self._model = model
        self._options = options or CallOptions()
        self._origin = origin  # whose end would close the connection
        self._send: Send = partial(untyped.caller.call, **self._options) if options else untyped.caller.call

    @property
    def namespace(self) -> str:
        """The namespace it talks to."""
        return self._untyped.namespace

    @property
    def untyped(self) -> UntypedClient:
        """The same connection for tools, which know names and JSON and no types."""
        return self._untyped

    def using(
        self,
        *,
        command_id: str | None = None,
        deadline_s: float | None = None,
        caller: str | None = None,
        correlation_id: str | None = None,
        traceparent: str | None = None,
    ) -> "Client":
        """The same client with other options, over the same connection: `client.using(deadline_s=2)`.

        - `deadline_s`: of calls, tells and reads, at most 60.
        - `correlation_id`: of the process that the commands belong to. It is in their events and in those of whatever
          they lead to, and `trace` finds them by it. Without one it is the id of the first command.
        - `caller`: who sends them, which handlers find in `self.context`.
        - `traceparent`: the trace that they belong to (W3C Trace Context), passed on as the correlation id is.
        - `command_id`: for one command: the next call or tell has this id, so use such a client once.

        What is not given stays as it is. Raises `InvalidCommand` for an id that is not 1-128 characters of UTF-8, for a
        caller that is no UTF-8 or has more than 512 characters, and for a `traceparent` of another form; "" takes it
        away.
        """
        given = CallOptions(**self._options)
        if correlation_id is not None:
            check_id(correlation_id, "an id", "correlation_id")
        if command_id is not None:
            given["command_id"] = checked_command_id(command_id, "command_id")
        if deadline_s is not None:
            given["deadline_s"] = deadline_s
        if caller is not None:
            check_origin(caller, "a caller", "caller")
            given["caller"] = caller
        if correlation_id is not None:
            given["correlation_id"] = correlation_id
        if traceparent is not None:
            check_traceparent(traceparent, "traceparent")
            given["traceparent"] = traceparent
        return Client(self._untyped, self._model, given, self)

    @overload
    def actor(self, kind: type[A], key: str, deadline_s: float | None = None, command_id: str | None = None) -> A: ...
    @overload
    def actor(
        self, kind: str | AnyDecider, key: str, deadline_s: float | None = None, command_id: str | None = None
    ) -> Any: ...
    def actor(self, kind: ActorRef, key: str, deadline_s: float | None = None, command_id: str | None = None) -> Any:
        """A proxy: its commands and queries are coroutines, `await client.actor(Account, "alice").deposit(10)`.

        For type checkers the proxy of an `Actor` class is one of its instances, and that of a name or a `Decider` is
        Any. Reading what is no command of it (a field, `emit`) is an AttributeError: see `state`.
        Every error is raised when the call is awaited: `Rejected`, `InvalidCommand`, `UnknownActor`, `UnknownCommand`,
        `ActorFailed`, `Overloaded`, `Unavailable`, `DeadlineExceeded`, `ReplyNotDelivered`, `ClientUnusable`. A
        `command_id` is for one call.
        """
        if deadline_s is None and command_id is None:
            return proxy_of(self._model, kind, key, self._send)
        own = CallOptions(**self._options)
        if deadline_s is not None:
            own["deadline_s"] = deadline_s
        if command_id is not None:
            own["command_id"] = command_id
        return proxy_of(self._model, kind, key, partial(self._untyped.caller.call, **own))

    async def tell(self, command: Command[Any, P, Any], key: str, /, *args: P.args, **kwargs: P.kwargs) -> Receipt:
        """Have the actor `key` run a command once it can: `await client.tell(Account.deposit, "alice", 10)`.

        Returns when the command is on the disk. It is run once, after those told before to that actor, though no worker
        is there now; one that fails is tried again (docs/guarantees.md). Its options are those of `using`.
        Raises `InvalidCommand` for arguments that the command does not take, `UnknownActor`, `UnknownCommand`;
        `Overloaded` when this client has told too much at once to send it in time;
        `Unavailable` when it is not stored, `DeadlineExceeded(outcome_known=False)` when that is not known, with the
        `command_id` in its details; `ClientUnusable`.
        """
        told = checked_command(command, "tell")
        declared = self._model.actor_type(told.kind).commands.get(told.name)
        if declared is None:
            text = f"{told.kind} has no command {told.name!r}"
            raise UnknownCommand(text, kind=told.kind, command=told.name)
        actor_id, encoded = ActorId(told.kind, key), declared.encode_args(args, kwargs)
        return await self._untyped.tell(actor_id, told.name, encoded, **self._options)

    def dead_letters(self, kind: ActorRef | None = None, deadline_s: float | None = None) -> AsyncIterator[DeadLetter]:
        """The tells that failed too often, the oldest first: `async for letter in client.dead_letters(Account)`.

        Of all kinds when none is given. Raises what `history` raises.
        """
        name = None if kind is None else self._model.actor_type(kind).kind
        return self._untyped.dead_letters(name, deadline_s=deadline_s)

    async def retry_dead_letter(self, id: int, *, by: str = "", deadline_s: float | None = None) -> Receipt:
        """Tell the same actor the same again, once however many ask for it at a time; the dead letter is over then.

        `by` says in the log who has done it. Raises `InvalidCommand` with the path `id` for what is no dead letter any
        more, `Unavailable`, `DeadlineExceeded`, `ClientUnusable`; to ask again is safe.
        """
        return await self._untyped.retry_dead_letter(id, by=by, deadline_s=deadline_s)

    async def drop_dead_letter(self, id: int, *, by: str = "", deadline_s: float | None = None) -> None:
        """Take a dead letter out of the list for good; its actor's history keeps it.

        Raises what `retry_dead_letter` raises.
        """
        await self._untyped.drop_dead_letter(id, by=by, deadline_s=deadline_s)

    @overload
    async def state(
        self, kind: type[A], key: str, version: int | None = None, deadline_s: float | None = None
    ) -> ActorState[A]: ...
    @overload
    async def state(
        self, kind: Decider[S, Any, Any], key: str, version: int | None = None, deadline_s: float | None = None
    ) -> ActorState[S]: ...
    @overload
    async def state(
        self, kind: str, key: str, version: int | None = None, deadline_s: float | None = None
    ) -> ActorState[Any]: ...
    async def state(
        self, kind: ActorRef, key: str, version: int | None = None, deadline_s: float | None = None
    ) -> ActorState[Any]:
        """The actor's state as typed values, now or at an earlier version; version 0 and defaults when never used.

        Raises `InvalidCommand` with the path `version` for a version that is not there yet.
        """
        actor_type = self._model.actor_type(kind)
        actor_id = ActorId(actor_type.kind, key)
        answer = await self._untyped.state_answer(actor_id, version, deadline_s=self._deadline_s(deadline_s))
        return typed_state(answer, actor_id, actor_type)

    @overload
    def follow(self, kind: type[A], key: str, *, deadline_s: float | None = None) -> StateStream[A]: ...
    @overload
    def follow(self, kind: Decider[S, Any, Any], key: str, *, deadline_s: float | None = None) -> StateStream[S]: ...
    @overload
    def follow(self, kind: str, key: str, *, deadline_s: float | None = None) -> StateStream[Any]: ...
    def follow(self, kind: ActorRef, key: str, *, deadline_s: float | None = None) -> StateStream[Any]:
        """The actor's state as it changes: the state now, then one after each commit, each an `ActorState`.

        `async with client.follow(Account, "alice") as states: async for state in states: ...`. No commit is left out,
        over lost connections too; a reader that is more than 1,024 commits behind goes on with the latest state. The
        first state comes from the actor's worker, later ones are folded here. Raises what iterating a `StateStream`
        raises; `deadline_s` (default: that of calls) is for reading a state, not for the wait for the next one.
        """
        actor_type = self._model.actor_type(kind)
        return self._untyped.follow(ActorId(actor_type.kind, key), actor_type, deadline_s=deadline_s)

    @overload
    def history(
        self, kind: type[Actor], key: str, after_version: int = 0, deadline_s: float | None = None
    ) -> History[object]: ...
    @overload
    def history(
        self, kind: Decider[Any, Any, E], key: str, after_version: int = 0, deadline_s: float | None = None
    ) -> History[E]: ...
    @overload
    def history(self, kind: str, key: str, after_version: int = 0, deadline_s: float | None = None) -> History[Any]: ...
    def history(
        self, kind: ActorRef, key: str, after_version: int = 0, deadline_s: float | None = None
    ) -> History[Any]:
        """The actor's events: `await` it for a list, or iterate with `async for`.

        Type checkers know the events of an `Actor` class as objects: `match` on them, or ask `isinstance`.
        It reads on over a lost connection. Raises `Unavailable` or `DeadlineExceeded(outcome_known=True)` when no
        event could be read for `deadline_s` (default: that of calls), `UnreadableEvent`, `ClientUnusable`.
        """
        actor_type = self._model.actor_type(kind)
        actor_id = ActorId(actor_type.kind, key)
        return History(
            lambda: self._untyped.history(actor_id, after_version, deadline_s=self._deadline_s(deadline_s)),
            actor_id,
            actor_type,
        )

    def keys(self, kind: ActorRef, deadline_s: float | None = None) -> AsyncIterator[str]:
        """The keys of all actors of a kind that have a history: `async for key in client.keys(Account)`.

        Each comes once, in no order that means anything; an actor that is new meanwhile may be missing. Raises what
        `history` raises.
        """
        return self._untyped.keys(self._model.actor_type(kind).kind, deadline_s=self._deadline_s(deadline_s))

    async def trace(
        self,
        correlation_id: str,
        since: datetime | timedelta = TRACE_SINCE,
        *,
        limit: int = TRACE_COMMITS_MAX,
        deadline_s: float | None = None,
    ) -> Trace:
        """What the commands of a correlation id did, across actors: events, tells, tasks and schedules, as a tree.

        There is no index: the commits of all actors since then are read, at most `limit` of them from the oldest on, so
        say when it was (`since`: a time with a time zone, or how long ago). `Trace.complete` says whether that was
        enough. A commit that cannot be read is a step of its own, with the outcome `unreadable`. Raises
        `InvalidCommand`, and what `history` raises.
        """
        return await self._untyped.trace(correlation_id, since, limit=limit, deadline_s=self._deadline_s(deadline_s))

    async def metrics(self, deadline_s: float | None = None) -> PoolMetrics:
        """What the workers have measured: counters and histograms since each has started, and what is so now.

        `metrics.sum()` adds the workers; `metrics.missing` are those that did not answer within a second. Raises
        `Unavailable` or `DeadlineExceeded(outcome_known=True)` when no worker can be asked within `deadline_s`.
        """
        return await self._untyped.metrics(deadline_s=self._deadline_s(deadline_s))

    async def failures(self, deadline_s: float | None = None) -> list[FailureGroup]:
        """Which actors failed lately, and why: by command and kind of error, the latest first.

        Each group counts its failures since the workers have started, and names the actors that failed last, each with
        its key, the error's text, the line of code and the command's id. Workers remember a bounded number, and a
        worker that is gone takes along what it remembered. Raises what `metrics` raises.
        """
        return (await self.metrics(deadline_s)).failures()

    @overload
    def subscribe(self, *, deadline_s: float | None = None) -> EventStream[object]: ...
    @overload
    def subscribe(self, event_type: type[E], /, *, deadline_s: float | None = None) -> EventStream[E]: ...
    @overload
    def subscribe(
        self, first: type[E], second: type[E2], /, *, deadline_s: float | None = None
    ) -> EventStream[E | E2]: ...
    @overload
    def subscribe(
        self, first: type[E], second: type[E2], third: type[E3], /, *, deadline_s: float | None = None
    ) -> EventStream[E | E2 | E3]: ...
    @overload
    def subscribe(
        self, first: type[E], second: type[E2], third: type[E3], fourth: type[E4], /, *, deadline_s: float | None = None
    ) -> EventStream[E | E2 | E3 | E4]: ...
    @overload
    def subscribe(self, *event_types: type[E], deadline_s: float | None = None) -> EventStream[E]: ...
    def subscribe(self, *event_types: type[Any], deadline_s: float | None = None) -> EventStream[Any]:
        """Events of these classes (none: of all) of every actor, as they are stored from now on.

        `async with client.subscribe(Deposited) as events: async for event in events: ...`. Nothing that is stored after
        it was entered is missed, in each actor's order, over lost connections too. Entering raises `Unavailable` or
        `DeadlineExceeded(outcome_known=True)` when it cannot begin within `deadline_s` (default: that of calls).
        Iterating raises `Overloaded` when its reader falls too far behind, and `ClientUnusable` when the client is
        closed. Raises `InvalidCommand` for a class that no actor of the model has as an event.
        """
        wanted = wanted_events(self._model, event_types)
        return self._untyped.subscribe(self._model, wanted, deadline_s=self._deadline_s(deadline_s))

    def _deadline_s(self, deadline_s: float | None) -> float | None:
        return self._options.get("deadline_s") if deadline_s is None else deadline_s
