"""A gateway as a process: from options to an exit code, for `aether gateway` and for a supervisor.

Called once, from the main thread of a process that then exits.
"""

import asyncio
import logging
import os
import resource
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import uvloop

from aether.config import (
    EXIT_CANNOT_BOOT,
    EXIT_CONFIGURATION,
    EXIT_DRAINED,
    CallConfig,
    ConnectionConfig,
    LogConfig,
    from_environment,
)
from aether.connecting import connect
from aether.errors import AetherError, ConfigError, ModelError
from aether.gateway import check_installed
from aether.gateway.config import GatewayConfig, ServerConfig, from_variables
from aether.gateway.options import GatewayOptions
from aether.model.address import load_model
from aether.model.model import Model
from aether.system.environment import environment, import_from_here, namespace_of, nats_url
from aether.system.process import ignore_terminal, set_process_name
from aether.tracing.export import exported_traces
from aether.worker_log import configure_logging

if TYPE_CHECKING:
    from aether.gateway.access import Access
    from aether.gateway.server import Address

DESCRIPTORS_BESIDE = 128
"""Descriptors that a gateway needs beside those of its connections."""

log = logging.getLogger("aether.gateway")


def run_gateway(options: GatewayOptions) -> int:
    """Serve until SIGTERM or SIGINT: 0 drained, 3 the pool cannot be reached at the start, 4 configuration."""
    variables = environment()
    try:
        log_config = from_environment(LogConfig, variables, level=options.log_level, format=options.log_format)
        configure_logging("gateway", log_config)
        plan = _plan(options, variables)
    except (ConfigError, ModelError) as error:
        log.error("the configuration cannot work: %s", error)
        return EXIT_CONFIGURATION
    _allow_descriptors(plan.server.connections_max + DESCRIPTORS_BESIDE)
    set_process_name("aether-gateway", f"aether: gateway {plan.namespace}")
    if options.fd is not None:  # a supervisor's: the terminal's signals are its business
        ignore_terminal()
    traces = exported_traces(variables, plan.model.name, f"gateway-{os.getpid()}")
    try:
        with traces, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(plan, signals_of_terminal=options.fd is None))
    except ConfigError as error:
        log.error("the configuration cannot work: %s", error)
        return EXIT_CONFIGURATION
    except AetherError as error:
        log.error("the gateway cannot serve: %s", error)
        return EXIT_CANNOT_BOOT
    log.info("drained")
    return EXIT_DRAINED


def check_options(options: GatewayOptions) -> None:
    """Raise `ConfigError` for options that cannot work, as far as that can be known without the model and the port."""
    check_installed()
    _access_of(options, _address_of(options.http))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a process serves."""

    model: Model
    access: "Access"
    config: GatewayConfig
    server: ServerConfig
    listening: socket.socket
    namespace: str
    connection: ConnectionConfig
    calls: CallConfig


def _plan(options: GatewayOptions, variables: Mapping[str, str]) -> _Plan:
    """Check all that was asked for, and listen. Raises `ConfigError`, `ModelError`."""
    check_installed()
    from aether.gateway.server import LOOPBACK_NAMES, listen  # noqa: PLC0415 - needs the extra

    address = _address_of(options.http)
    import_from_here()
    access = _access_of(options, address)
    model = load_model(options.model)
    hosts = _words(options.hosts)
    if address.loopback and not access.checks:
        # Every browser on this machine reaches the loopback: pages must not come here under names of their own.
        hosts = (*hosts, *LOOPBACK_NAMES)
    url = options.nats or nats_url(variables, options.data_dir)
    return _Plan(
        model=model,
        access=access,
        config=from_variables(GatewayConfig, variables, hosts=hosts, cors_origins=_words(options.origins)),
        server=from_variables(ServerConfig, variables),
        listening=listen(address) if options.fd is None else socket.socket(fileno=options.fd),
        namespace=options.namespace or namespace_of(variables, model.name) or model.name,
        connection=from_environment(ConnectionConfig, variables, url=url),
        calls=from_environment(CallConfig, variables),
    )


async def _serve(plan: _Plan, *, signals_of_terminal: bool) -> None:
    from aether.gateway.application import Gateway  # noqa: PLC0415 - needs the extra
    from aether.gateway.server import Server, url_of  # noqa: PLC0415 - likewise

    signals = (signal.SIGTERM, signal.SIGINT) if signals_of_terminal else (signal.SIGTERM,)
    connecting = connect(model=plan.model, namespace=plan.namespace, connection=plan.connection, calls=plan.calls)
    async with connecting as client, Gateway(plan.model, plan.access, plan.config, client=client) as gateway:
        url = url_of(plan.listening)
        log.info("serving at %s", url, extra={"namespace": plan.namespace, "pid": os.getpid()})
        await Server(gateway, plan.server, signals).serve([plan.listening])


def _allow_descriptors(wanted: int) -> None:
    """Let this process have so many descriptors, or as many as the system allows: shells often allow 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted:
        log.warning("fewer connections than asked for can be open", extra={"descriptors": hard, "wanted": wanted})


def _address_of(text: str) -> "Address":
    from aether.gateway.server import address_of  # noqa: PLC0415 - needs the extra

    return address_of(text)


def _access_of(options: GatewayOptions, address: "Address") -> "Access":
    from aether.gateway.access import WithoutAuthentication, access_by, read_tokens  # noqa: PLC0415 - needs the extra

    if options.tokens is not None and options.authorize is not None:
        raise ConfigError("tokens and a function that decides exclude each other", setting="http_authorize")
    if options.tokens is not None:
        return read_tokens(options.tokens)
    if options.authorize is not None:
        return access_by(_function(options.authorize))
    if not address.loopback:
        text = (
            f"others than this machine can reach {address}, so it needs authentication: a file of tokens or a function "
            "that decides"
        )
        raise ConfigError(text, setting="http")
    return WithoutAuthentication()


def _function(reference: str) -> Any:
    module, _, name = reference.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{reference} cannot be imported: {error}", setting="http_authorize") from None
    if not callable(found):
        raise ConfigError(f"{reference} is no function", setting="http_authorize")
    return found


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word.strip().lower() for word in (text or "").split(",") if word.strip())
