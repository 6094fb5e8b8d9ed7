"""Spans by OpenTelemetry. The only module that imports its API, and imported only where that is there already."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from aether.tracing.spans import SpanKind

_propagator = TraceContextTextMapPropagator()


class OtelSpan:
    """A `Span`."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """Its context as a header."""
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, trace.set_span_in_context(self._span, otel_context.Context()))
        return carrier.get("traceparent", "")

    def current(self) -> AbstractContextManager[object]:
        """Have it current; it is neither ended nor marked by that."""
        return trace.use_span(self._span, end_on_exit=False, record_exception=False, set_status_on_exception=False)

    def set(self, name: str, value: str | int) -> None:
        """Add an attribute."""
        self._span.set_attribute(name, value)

    def raised(self, error: BaseException) -> None:
        """Record the error with its traceback."""
        try:
            self._span.record_exception(error)
            self.failed(f"{type(error).__name__}: {error}")
        except Exception:  # users' code, which says what the error is
            self.failed(f"{type(error).__name__}, which cannot be described")

    def failed(self, why: str) -> None:
        """Mark it."""
        self._span.set_status(trace.StatusCode.ERROR, why)

    def end(self) -> None:
        """End it."""
        self._span.end()


class OtelTracing:
    """`Tracing` by a tracer provider."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = provider.get_tracer("aether", version("aether-actors"))

    def span(
        self,
        name: str,
        kind: SpanKind,
        attributes: dict[str, str | int],
        *,
        parent: str = "",
        links: Sequence[str] = (),
        apart: bool = False,
    ) -> OtelSpan:
        """Begin a span. A parent or link that is no traceparent is as none."""
        within = otel_context.Context() if apart else _extracted(parent) if parent else None
        linked = [trace.Link(trace.get_current_span(_extracted(link)).get_span_context()) for link in links]
        return OtelSpan(
            self._tracer.start_span(name, within, trace.SpanKind[kind.value], attributes=attributes, links=linked)
        )

    def nearest(self, parent: str) -> str:
        """`parent`, or "" for the current span where that is of the same trace."""
        given = trace.get_current_span(_extracted(parent)).get_span_context()
        current = trace.get_current_span().get_span_context()
        return "" if current.is_valid and current.trace_id == given.trace_id else parent


def tracing_of_provider() -> OtelTracing | None:
    """Of the provider that this program has set; None when it has set none."""
    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider) else OtelTracing(provider)


def _extracted(traceparent: str) -> otel_context.Context:
    return _propagator.extract({"traceparent": traceparent}, otel_context.Context())
