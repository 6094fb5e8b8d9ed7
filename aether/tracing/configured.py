"""Whether this program has configured tracing."""

import sys

from aether.tracing.spans import Tracing


def configured_tracing() -> Tracing | None:
    """What begins spans, if this program has set an OpenTelemetry tracer provider by now; else None.

    A program that has not even imported OpenTelemetry has none, so it is not imported to find out.
    """
    if "opentelemetry.trace" not in sys.modules:
        return None
    from aether.tracing.otel import tracing_of_provider  # noqa: PLC0415 - imports OpenTelemetry, which is there

    return tracing_of_provider()
