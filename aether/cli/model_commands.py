"""The commands about a model: show and schema. They read the named model, or ask the running pool for its own."""

from typing import Annotated

import typer

from aether.cli import options, pool, render
from aether.cli.board import Board
from aether.cli.command_context import cli_context, find_pool
from aether.cli.target import Asked

_Reference = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="module:name; without it the running pool is asked.", show_default=False),
]


def show_command(
    context: typer.Context,
    model: _Reference = None,
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """Show a model."""
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    render.write_board(_board(context, model, asked))


def schema_command(
    context: typer.Context,
    model: _Reference = None,
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """Print a model's schema."""
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    render.write_value(_board(context, model, asked).document)


def _board(context: typer.Context, reference: str | None, asked: Asked) -> Board:
    if reference is not None:
        return Board(cli_context(context).load_model(reference).schema())
    target, loaded = find_pool(context, asked, None)
    return pool.in_pool(cli_context(context), target, loaded, pool.schema)
