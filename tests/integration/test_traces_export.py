"""A pool that is told by `OTEL_*` to export traces sends those of gateway and workers to the collector."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.test_gateway_pool import MODEL, gateway_of
from tests.support.nats_server import NatsServer
from tests.support.pool import READY, Pool


class Collector:
    """What a collector has received: `spans` by name, each with its service, its trace and the process it is from."""

    def __init__(self) -> None:
        self.spans: dict[str, dict[str, str]] = {}

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            of = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found = {"service": of["service.name"], "instance": of["service.instance.id"]}
                    self.spans[span.name] = {**found, "trace": span.trace_id.hex(), "scope": scope.scope.name}


@contextmanager
def collector() -> Iterator[tuple[str, Collector]]:
    received = Collector()

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()
        thread.join()


def test_workers_and_gateway_export_one_trace(own_server: NatsServer, namespace: str) -> None:
    with collector() as (url, received):
        variables = {**os.environ, "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": url}
        options = ("--workers", "1", "--nats", own_server.url, "--namespace", namespace, "--http", "127.0.0.1:0")
        with Pool(MODEL, *options, variables=variables) as pool:
            gateway, _ = gateway_of(pool)
            command = ["curl", "-sS", "-X", "POST", f"{gateway}/actors/account/alice/deposit"]
            sent = ["-H", "Content-Type: application/json", "-d", '{"amount": 10}']
            subprocess.run([*command, *sent], capture_output=True, check=True, timeout=30)
            assert pool.drain() == 0
    names = {"POST /actors/{kind}/{key}/{command}", "call account.deposit", "turn account.deposit", "commit account"}
    assert names <= set(received.spans), "what was not exported by then is when a process ends"
    assert len({received.spans[name]["trace"] for name in names}) == 1
    assert {received.spans[name]["scope"] for name in names} == {"aether"}
    assert {one["service"] for one in received.spans.values()} == {"tests"}
    assert received.spans["call account.deposit"]["instance"].startswith("gateway-")
    assert received.spans["turn account.deposit"]["instance"].endswith("-0")


def test_an_exporter_that_is_not_there_is_a_configuration_error(own_server: NatsServer, namespace: str) -> None:
    variables = {**os.environ, "OTEL_TRACES_EXPORTER": "pigeons"}
    pool = Pool(MODEL, "--workers", "1", "--nats", own_server.url, "--namespace", namespace, variables=variables)
    try:
        assert pool.process.wait(timeout=60) == 4
    finally:
        pool.close()
    assert any("OTEL_TRACES_EXPORTER names 'pigeons', and no installed package has it" in line for line in pool.lines)
    assert not [line for line in pool.lines if READY.search(line)]


def test_a_collector_that_is_away_holds_up_nothing(own_server: NatsServer, namespace: str) -> None:
    variables = {
        **os.environ,
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1",
        "AETHER_NATS_URL": own_server.url,
        "AETHER_NAMESPACE": namespace,
    }
    with Pool(MODEL, "--workers", "1", variables=variables) as pool:
        call = [sys.executable, "-P", "-m", "aether.cli", "call", "account", "alice", "deposit", "amount=1"]

        done = subprocess.run(call, env=variables, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.returncode) == ("1\n", 0)
        assert pool.drain() == 0
