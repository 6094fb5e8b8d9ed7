"""The options and arguments that several commands share, declared once, with the words that explain them."""

from pathlib import Path
from typing import Annotated

import typer

from aether.cli import completion
from aether.system.environment import DATA_DIRECTORY_DEFAULT

Nats = Annotated[
    str | None,
    typer.Option(
        "--nats",
        metavar="URL",
        help="Where NATS is. Default: AETHER_NATS_URL, else the embedded server of this directory's pool, "
        "else nats://127.0.0.1:4222.",
        show_default=False,
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        metavar="NAME",
        help="Which pool. Default: AETHER_NAMESPACE, else the name of --model, else the only one the server has.",
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        help="How long the command may take, at most 60. Default: AETHER_DEADLINE_S, else 10.",
        show_default=False,
    ),
]
DataDirectory = Annotated[
    Path,
    typer.Option(
        "--data-dir", metavar="PATH", help="The data directory of a pool with an embedded server: finds its address."
    ),
]
ModelReference = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODULE:NAME",
        help="Take commands and types from this model instead of asking the running pool.",
        show_default=False,
    ),
]
Kind = Annotated[
    str,
    typer.Argument(metavar="KIND", help="The actor's kind, such as account.", autocompletion=completion.kinds),
]
JsonLines = Annotated[bool, typer.Option("--json", help="One JSON object a line, also on a terminal.")]
Key = Annotated[
    str,
    typer.Argument(metavar="KEY", help="The actor's key: any text of 1-200 bytes.", autocompletion=completion.keys),
]

Workers = Annotated[
    int | None,
    typer.Option("--workers", help="Worker processes. Default: one a processor, at most 4.", show_default=False),
]
RunNats = Annotated[
    str | None,
    typer.Option(
        "--nats",
        metavar="URL",
        help="'embedded' or a URL. Default: AETHER_NATS_URL, else embedded.",
        show_default=False,
    ),
]
RunNamespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        metavar="NAME",
        help="Default: AETHER_NAMESPACE, else the model's name.",
        show_default=False,
    ),
]
Node = Annotated[
    str | None,
    typer.Option(
        "--node",
        metavar="NAME",
        help="This supervisor's name, which no other of the namespace may have. Default: AETHER_NODE, else the host's "
        "name and an id kept in --data-dir.",
        show_default=False,
    ),
]
RunDataDirectory = Annotated[Path, typer.Option("--data-dir", metavar="PATH", help="Data and locks.")]
Port = Annotated[
    int | None,
    typer.Option(
        "--port", help="Of the embedded server. Default: its last one, 4222, or a free one.", show_default=False
    ),
]
Replicas = Annotated[
    int | None,
    typer.Option(
        "--replicas", help="Copies of a new namespace's data. Default: AETHER_REPLICAS, else 1.", show_default=False
    ),
]
Shards = Annotated[
    int | None,
    typer.Option("--shards", help="Shards of a new namespace. Default: AETHER_SHARDS, else 256.", show_default=False),
]
Sync = Annotated[
    str | None,
    typer.Option(
        "--sync",
        metavar="WHO",
        help="Who makes commits durable: 'barrier' the workers, 'server' the server as it is set, 'auto' the workers "
        "where that can be proved. Default: AETHER_SYNC, else auto.",
        show_default=False,
    ),
]
DrainTimeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", help="How long draining may take before it is forced.", show_default=False
    ),
]
LoopSilentKill = Annotated[
    float | None,
    typer.Option(
        "--loop-silent-kill",
        metavar="SECONDS",
        help="How long an event loop may be silent before its worker is killed. Default: less than a lease lasts.",
        show_default=False,
    ),
]
CheckTimeout = Annotated[
    float | None,
    typer.Option(
        "--check-timeout",
        metavar="SECONDS",
        help="How long the code of a reload may take to be imported.",
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
        help="text, or json: one object a line. Default: AETHER_LOG_FORMAT, else text.",
        show_default=False,
    ),
]
Reload = Annotated[
    bool, typer.Option("--reload", help="Restart the workers when a source file is saved: for development.")
]

DATA_DIRECTORY = DATA_DIRECTORY_DEFAULT
