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
        help="Which pool. Default: AETHER_NAMESPACE, else the name of --model, else that of the pool "
        "that runs in --data-dir, else the only one the server has.",
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
JsonLines = Annotated[bool, typer.Option("--json", help="One JSON object per line, also on a terminal.")]
Key = Annotated[
    str,
    typer.Argument(metavar="KEY", help="The actor's key: any text of 1-200 bytes.", autocompletion=completion.keys),
]
OnlyKind = Annotated[
    str | None,
    typer.Argument(metavar="KIND", help="Only of this kind.", show_default=False, autocompletion=completion.kinds),
]
OnlyKey = Annotated[
    str | None,
    typer.Argument(metavar="KEY", help="Only of this actor.", show_default=False, autocompletion=completion.keys),
]

DATA_DIRECTORY = DATA_DIRECTORY_DEFAULT
