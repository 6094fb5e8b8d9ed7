"""Spans of a worker: its turns, its commits, and the tells that it applies.

Put around the runtime's parts when it starts, and only where tracing is configured. A handler's span becomes the trace
that its command belongs to: its events, tells and asks name it as theirs.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from aether.core.metrics.histogram import Exemplar
from aether.errors import AetherError
from aether.ids import ActorId, Position, Version
from aether.model.definition import CommandType, Scope, State
from aether.ports import Append, AppendOutcome, Committed, Delivery, EventStore, StoredCommit, Unknown
from aether.ports.history import START
from aether.ports.worker import Clock
from aether.runtime.pending_command import PendingCommand
from aether.runtime.pipeline import OutgoingAnswer
from aether.runtime.running import running
from aether.runtime.untaken_command import UntakenCommand
from aether.sends import FIRING
from aether.tracing.spans import Span, SpanKind, Tracing, attributes_of, ended, note_outcome, sampled_trace
from aether.wire import Event, answer_error, decode_answer, decode_commit


def traced_arrivals(
    work: Callable[[list[PendingCommand]], None], tracing: Tracing
) -> Callable[[list[PendingCommand]], None]:
    """The work of the stage `arrivals`, after each command's handler was given a span."""
    traced: dict[CommandType, TracedCommand] = {}

    def arrive(arrivals: list[PendingCommand]) -> None:
        for pending in arrivals:
            if isinstance(pending.type, UntakenCommand):  # it has no handler
                continue
            own = traced.get(pending.type)
            if own is None:
                own = TracedCommand(pending.type, tracing)
                traced[pending.type] = own
            pending.type = own
        work(arrivals)

    return arrive


def traced_answers(
    work: Callable[[list[OutgoingAnswer]], None], clock: Clock
) -> Callable[[list[OutgoingAnswer]], None]:
    """The work of the stage `answers`, after how long each took was noted with its trace, if sampled."""

    def send(answers: list[OutgoingAnswer]) -> None:
        now_s, time_s = clock.boot_s(), clock.wall_s()
        for one in answers:
            pending = one.measured
            if pending is not None and (trace_id := sampled_trace(pending.command.traceparent)):
                pending.counts.seconds.note(Exemplar(trace_id, now_s - pending.arrived_s, time_s))
        work(answers)

    return send


class TracedCommand:
    """A `CommandType` whose handler runs in a span."""

    def __init__(self, inner: CommandType, tracing: Tracing) -> None:
        self.name = inner.name
        self.query = inner.query
        self.blocking = inner.blocking
        self.encode_reply = inner.encode_reply
        self._inner = inner
        self._tracing = tracing

    def invoke(self, state: State, scope: Scope, args: Any) -> Any:
        """Run the handler. An awaitable has the span for as long as it is awaited."""
        pending = running.get()
        assert pending is not None, "a handler runs for a command"
        command, actor_id = pending.command, pending.deliveries[0].actor_id
        attributes = attributes_of(str(actor_id), self.name, command.id)
        name = f"turn {actor_id.kind}.{self.name}"
        span = self._tracing.span(name, SpanKind.SERVER, attributes, parent=command.traceparent)
        pending.command = replace(command, traceparent=span.traceparent)
        try:
            with span.current():
                result = self._inner.invoke(state, scope, args)
                awaitable = hasattr(result, "__await__")
        except BaseException as error:
            note_outcome(span, error)
            span.end()
            raise
        if awaitable:
            return _awaited(result, span)
        span.end()
        return result


async def _awaited(result: Awaitable[Any], span: Span) -> Any:
    with ended(span):
        return await result


class TracedStore:
    """An `EventStore` whose appends are spans, below the first command of the commit and linked to the others."""

    def __init__(self, store: EventStore, tracing: Tracing) -> None:
        self._store = store
        self._tracing = tracing

    @property
    def commit_bytes_max(self) -> int:
        """Of the store."""
        return self._store.commit_bytes_max

    @property
    def together_max(self) -> int:
        """Of the store."""
        return self._store.together_max

    def publish(
        self, actor_id: ActorId, payload: bytes, expected: Position, done: Callable[[AppendOutcome], None]
    ) -> None:
        """Append, with a span until the outcome."""
        self._store.publish(actor_id, payload, expected, self._traced(actor_id, payload, expected, done))

    def publish_together(self, appends: Sequence[Append]) -> None:
        """Append, with a span for each."""
        self._store.publish_together(
            [
                Append(
                    one.actor_id,
                    one.payload,
                    one.expected,
                    self._traced(one.actor_id, one.payload, one.expected, one.done),
                    one.may_send,
                )
                for one in appends
            ]
        )

    def _traced(
        self, actor_id: ActorId, payload: bytes, expected: Position, done: Callable[[AppendOutcome], None]
    ) -> Callable[[AppendOutcome], None]:
        events = decode_commit(payload, actor_id, expected)
        parents = list(dict.fromkeys(event.traceparent for event in events if event.traceparent))
        if not parents:
            return done
        attributes: dict[str, str | int] = {
            "aether.kind": actor_id.kind,
            "aether.key": actor_id.key,
            "aether.events": len(events),
            "aether.bytes": len(payload),
        }
        name = f"commit {actor_id.kind}"
        span = self._tracing.span(name, SpanKind.CLIENT, attributes, parent=parents[0], links=parents[1:])
        return partial(_stored, span, done)

    async def appends_refused(self) -> str:
        """Of the store."""
        return await self._store.appends_refused()

    async def append(self, actor_id: ActorId, events: Sequence[Event], expected: Position) -> AppendOutcome:
        """Of the store: no command's commit."""
        return await self._store.append(actor_id, events, expected)

    def read(
        self, actor_id: ActorId, after: Position = START, until: Position | None = None
    ) -> AsyncIterator[StoredCommit]:
        """Of the store."""
        return self._store.read(actor_id, after, until)

    async def last(self, actor_id: ActorId) -> StoredCommit | None:
        """Of the store."""
        return await self._store.last(actor_id)

    async def latest_version(self, actor_id: ActorId) -> Version:
        """Of the store."""
        return await self._store.latest_version(actor_id)


def _stored(span: Span, done: Callable[[AppendOutcome], None], outcome: AppendOutcome) -> None:
    span.set("aether.outcome", type(outcome).__name__.lower())
    if isinstance(outcome, Committed):
        span.set("aether.position", outcome.position)
    elif isinstance(outcome, Unknown):
        span.failed(outcome.reason)
    span.end()
    done(outcome)


def traced_tells(receive: Callable[[Delivery], None], tracing: Tracing) -> Callable[[Delivery], None]:
    """What takes a tell from the inbox, with a span until it is applied or has failed; below the command that sent it.

    What comes between the two in the trace is the time that the tell waited. A tick begins a trace, with a link to the
    command that has set its schedule: that may go on for years.
    """

    def traced(delivery: Delivery) -> None:
        told, actor_id = delivery.told, delivery.actor_id
        assert told is not None
        command = told.command
        attributes = attributes_of(str(actor_id), command.command, command.id)
        attributes["aether.sequence"] = told.sequence
        name = f"tell {actor_id.kind}.{command.command or '(a result without a command)'}"
        before = command.traceparent
        if command.id.startswith(FIRING):
            span = tracing.span(name, SpanKind.CONSUMER, attributes, links=[before] if before else (), apart=True)
        else:
            span = tracing.span(name, SpanKind.CONSUMER, attributes, parent=before)
        place = told._replace(command=replace(command, traceparent=span.traceparent))
        respond = partial(_applied, span, delivery.respond)
        receive(Delivery(delivery.shard, actor_id, b"", respond, place))

    return traced


def _applied(span: Span, respond: Callable[[bytes], None], answer: bytes) -> None:
    try:
        decoded = decode_answer(answer)
        if decoded.error is not None:
            note_outcome(span, answer_error(decoded.error))
    except AetherError as error:
        span.failed(str(error))
    span.end()
    respond(answer)
