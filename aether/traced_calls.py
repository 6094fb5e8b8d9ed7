"""Calls with a span for each, where this program has configured tracing."""

from collections.abc import Callable

from aether.calls import Caller, Cause
from aether.config import CallConfig
from aether.ids import ActorId
from aether.ports import Clock, Transport
from aether.tracing.configured import configured_tracing
from aether.tracing.spans import SpanKind, Tracing, attributes_of, ended
from aether.wire import Answer


class TracedCaller(Caller):
    """A `Caller` whose calls are spans, with all that their commands lead to below them."""

    tracing: Tracing

    async def call(
        self,
        actor_id: ActorId,
        command: str,
        args: bytes,
        *,
        deadline_s: float | None = None,
        command_id: str | None = None,
        correlation_id: str = "",
        caller: str = "",
        traceparent: str = "",
        cause: Cause | None = None,
    ) -> Answer:
        """As `Caller.call`; below `traceparent` or the cause, else below the span that is current here."""
        parent = traceparent if cause is None else cause.traceparent
        attributes = attributes_of(str(actor_id), command, command_id or "")
        span = self.tracing.span(f"call {actor_id.kind}.{command}", SpanKind.CLIENT, attributes, parent=parent)
        if cause is not None:
            cause = cause._replace(traceparent=span.traceparent)
        with ended(span):
            return await super().call(
                actor_id,
                command,
                args,
                deadline_s=deadline_s,
                command_id=command_id,
                correlation_id=correlation_id,
                caller=caller,
                traceparent=span.traceparent,
                cause=cause,
            )


def make_caller(
    transport: Transport, clock: Clock, config: CallConfig, *, new_id: Callable[[], str], jitter: Callable[[], float],
    namespace: str, server: str,
) -> Caller:  # fmt: skip
    """A caller; one whose calls are spans where tracing is configured by now."""
    tracing = configured_tracing()
    make = Caller if tracing is None else TracedCaller
    made = make(transport, clock, config, new_id=new_id, jitter=jitter, namespace=namespace, server=server)
    if tracing is not None and isinstance(made, TracedCaller):
        made.tracing = tracing
    return made
