"""OpenTelemetry as a program that has configured it, with its spans kept in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.util._once import Once


@contextmanager
def tracer_provider(sampler: Sampler = ALWAYS_ON) -> Iterator[InMemorySpanExporter]:
    """A provider is set meanwhile. A program sets one for good, and tests share their process: so it is taken back."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "_TRACER_PROVIDER", provider)
        patch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
        yield exporter
    provider.shutdown()


def tree(spans: tuple[ReadableSpan, ...]) -> list[str]:
    """Each span's name below that of its parent, as `parent > name`, sorted; a span of another program is `remote`."""
    names = {span.context.span_id: span.name for span in spans if span.context is not None}
    return sorted(f"{_parent(span, names)} > {span.name}" for span in spans)


def _parent(span: ReadableSpan, names: dict[int, str]) -> str:
    return "" if span.parent is None else names.get(span.parent.span_id, "remote")
