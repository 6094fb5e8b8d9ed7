"""`aether gateway`: a gateway as a process of its own, over a pool that runs already."""

from pathlib import Path
from typing import Annotated

import typer

from aether.cli import options
from aether.cli.command_context import cli_context
from aether.gateway.options import GatewayOptions

Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model, as module:name.")]
Http = Annotated[
    str,
    typer.Option("--http", metavar="HOST:PORT", help="Where to listen; what others can reach needs authentication."),
]
Tokens = Annotated[
    Path | None,
    typer.Option(
        "--http-tokens",
        metavar="FILE",
        help="Bearer tokens, a line each: role (read, call or admin), name, token.",
        show_default=False,
    ),
]
Authorize = Annotated[
    str | None,
    typer.Option(
        "--http-authorize",
        metavar="MODULE:NAME",
        help="A function (request, kind, key, command) that decides on each request.",
        show_default=False,
    ),
]
Hosts = Annotated[
    str | None,
    typer.Option(
        "--http-hosts",
        metavar="NAMES",
        help="Further names by which it may be called, with commas between. Without authentication those of the "
        "loopback are taken, with authentication all by default.",
        show_default=False,
    ),
]
Origins = Annotated[
    str | None,
    typer.Option(
        "--http-origins",
        metavar="ORIGINS",
        help="Origins whose pages may use it (CORS), with commas between. Default: none.",
        show_default=False,
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        help="debug, info, warning, error or critical. Default: AETHER_LOG_LEVEL, else info.",
        show_default=False,
    ),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        "--log-format",
        metavar="FORMAT",
        help="text, or json: one object per line. Default: AETHER_LOG_FORMAT, else text.",
        show_default=False,
    ),
]


def gateway_command(
    context: typer.Context,
    model: Model,
    http: Http = "127.0.0.1:8080",
    tokens: Tokens = None,
    authorize: Authorize = None,
    hosts: Hosts = None,
    origins: Origins = None,
    log_level: LogLevel = None,
    log_format: LogFormat = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> int:
    """Serve over HTTP; the exit code."""
    return cli_context(context).run_gateway(
        GatewayOptions(
            model=model,
            http=http,
            tokens=tokens,
            authorize=authorize,
            hosts=hosts,
            origins=origins,
            nats=nats,
            namespace=namespace,
            data_dir=data_dir,
            log_level=log_level,
            log_format=log_format,
        )
    )
