"""OpenTelemetry's SDK in processes of our own: workers and gateways that are told by `OTEL_*` to export traces.

A process does it after it was forked: the SDK exports from a thread, which a fork would lose.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from aether.errors import ConfigError
from aether.tracing.configured import configured_tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

EXPORTER = "OTEL_TRACES_EXPORTER"
LAST_EXPORT_S = 3.0
"""How long a process that has drained waits for its last spans to leave."""


@contextmanager
def exported_traces(variables: Mapping[str, str], service: str, instance: str) -> Iterator[None]:
    """Export spans while this is entered, if `OTEL_TRACES_EXPORTER` names an exporter: `otlp` or `console`.

    The rest of the SDK is configured by its own `OTEL_*` variables. `service` is the service's name where those give
    none; `instance` names this process. A provider that the program has set itself is left alone. Raises `ConfigError`
    for an exporter that is not there, and without the extra `otel`.
    """
    names = [name.strip() for name in variables.get(EXPORTER, "").split(",") if name.strip() not in ("", "none")]
    disabled = variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if not names or disabled or configured_tracing() is not None:
        yield
        return
    provider = _provider(names, variables, service, instance)
    try:
        yield
    finally:
        # In a thread: an exporter whose collector is away goes on trying for longer than a drain may take.
        last = threading.Thread(target=provider.shutdown, name="aether last traces", daemon=True)
        last.start()
        last.join(LAST_EXPORT_S)


def _provider(names: list[str], variables: Mapping[str, str], service: str, instance: str) -> "TracerProvider":
    """Set the tracer provider of this process."""
    try:
        from opentelemetry import trace  # noqa: PLC0415 - needs the extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - likewise
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - likewise
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - likewise
    except ImportError as error:
        text = f"traces need the extra 'otel': pip install 'aether-actors[otel]' ({error})"
        raise ConfigError(text, setting=EXPORTER) from None
    attributes: dict[str, Any] = {"service.instance.id": instance}
    if "OTEL_SERVICE_NAME" not in variables and "service.name=" not in variables.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes["service.name"] = service
    exporters = [_exporter(name, variables) for name in names]
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


def _exporter(name: str, variables: Mapping[str, str]) -> Any:
    """The exporter that is registered by this name, as OpenTelemetry's own tools find it."""
    registered = name
    if name == "otlp":
        protocol = variables.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or variables.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        registered = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=registered)), None)
    if found is None:
        raise ConfigError(f"{EXPORTER} names {name!r}, and no installed package has it", setting=EXPORTER)
    try:
        return found.load()()
    except Exception as error:
        raise ConfigError(f"the exporter {name!r} cannot be made: {error}", setting=EXPORTER) from None
