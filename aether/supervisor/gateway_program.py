"""The gateway as a supervisor starts it: checked and listening before the first fork, then a program with its socket.

The socket outlives every gateway process, over reloads too: who connects meanwhile waits in its queue.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aether.errors import ConfigError
from aether.gateway.options import GatewayOptions
from aether.supervisor.options import RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayProgram:
    """The HTTP gateway: its command line and environment, and the socket that it is given, which listens already."""

    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    listening_fd: int


@dataclass(frozen=True, slots=True)
class Listening:
    """The gateway's socket: its descriptor, the URL that leads there, and the address asked for if it was taken."""

    fd: int
    url: str
    instead_of: str = ""


def listen_for_gateway(options: RunOptions, directory: Path) -> Listening | None:
    """The gateway's socket; None when no gateway was asked for. Raises `ConfigError`."""
    if options.http is None:
        for name in ("http_tokens", "http_authorize", "http_hosts", "http_origins"):
            if getattr(options, name) is not None:
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{flag} is for the gateway that --http starts", setting=name)
        return None
    from aether.gateway.process import check_options  # noqa: PLC0415 - asks for the extra
    from aether.gateway.server import address_of, listen, url_of  # noqa: PLC0415 - needs it

    check_options(_options(options, directory))
    address = address_of(options.http)
    listening = listen(address, or_any_port=options.dev)
    url, taken = url_of(listening), address.port not in (0, listening.getsockname()[1])
    return Listening(listening.detach(), url, options.http if taken else "")


def gateway_program(
    options: RunOptions, directory: Path, variables: Mapping[str, str], namespace: str, url: str, listening_fd: int
) -> GatewayProgram:
    """What a supervisor starts, for a pool at `url`."""
    given = _options(options, directory, listening_fd)
    return GatewayProgram(
        arguments=(sys.executable, "-P", "-m", "aether.gateway", *given.to_arguments()),
        # By the environment: a URL may hold a password, and command lines are seen by all.
        variables={**variables, "AETHER_NATS_URL": url, "AETHER_NAMESPACE": namespace},
        listening_fd=listening_fd,
    )


def _options(options: RunOptions, directory: Path, listening_fd: int | None = None) -> GatewayOptions:
    tokens = options.http_tokens
    return GatewayOptions(
        model=options.model,
        http=options.http or "",
        fd=listening_fd,
        tokens=None if tokens is None else directory / tokens,
        authorize=options.http_authorize,
        hosts=options.http_hosts,
        origins=options.http_origins,
        data_dir=options.data_dir,
        log_level=options.log_level,
        log_format=options.log_format,
    )
