"""The commands about a model: show, schema and draw read the named model, or ask the running pool for its own; check
reads what is stored with the named one.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from aether.cli import completion, options, pool, render
from aether.cli.board import Board
from aether.cli.command_context import cli_context, find_pool
from aether.cli.exits import EXIT_DONE, EXIT_REFUSED
from aether.cli.pool_options import with_pool_options
from aether.cli.target import PoolChoice
from aether.errors import InvalidCommand
from aether.history_check import SAMPLE_DEFAULT
from aether.model.drawing import draw

_Reference = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="module:name; without it the running pool is asked.", show_default=False),
]


@with_pool_options
def show_command(
    context: typer.Context,
    asked: PoolChoice,
    model: _Reference = None,
) -> None:
    """Show a model."""
    render.write_board(_board(context, model, asked))


@with_pool_options
def schema_command(
    context: typer.Context,
    asked: PoolChoice,
    model: _Reference = None,
) -> None:
    """Print a model's schema."""
    render.write_value(_board(context, model, asked).document)


@with_pool_options
def check_command(
    context: typer.Context,
    asked: PoolChoice,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="module:name of the model that is to read them.")],
    all_actors: Annotated[bool, typer.Option("--all", help="Read the histories of all actors.")] = False,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=1, help="Read the histories of N actors of each kind.")
    ] = SAMPLE_DEFAULT,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="KIND",
            help="Leave out a kind that the model has given up; may be repeated.",
            show_default=False,
            autocompletion=completion.kinds,
        ),
    ] = None,
    json_lines: options.JsonLines = False,
) -> int:
    """Read stored histories with a model; 1 when it cannot read them all."""
    cli = cli_context(context)
    target, loaded = find_pool(context, asked, model)
    number, given_up = None if all_actors else sample, frozenset(without or ())
    checked = pool.in_pool(cli, target, loaded, lambda at: pool.check(at, number, given_up))
    render.write_checked(checked, table=cli.terminal and not json_lines)
    print(render.checked_in_words(checked, target.namespace or ""), file=sys.stderr)
    return EXIT_DONE if checked.good else EXIT_REFUSED


@with_pool_options
def draw_command(
    context: typer.Context,
    asked: PoolChoice,
    model: _Reference = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write it to this file and not to stdout."),
    ] = None,
) -> None:
    """Draw a model's board as SVG."""
    drawn = draw(_board(context, model, asked).document)
    if output is None:
        render.write_text(drawn)
        return
    try:
        output.write_text(drawn, encoding="utf-8")
    except OSError as error:
        text = f"{output} cannot be written: {error.strerror or error}"
        raise InvalidCommand(text, path="--output") from None


def _board(context: typer.Context, reference: str | None, asked: PoolChoice) -> Board:
    if reference is not None:
        return Board(cli_context(context).load_model(reference).schema())
    target, loaded = find_pool(context, asked, None)
    return pool.in_pool(cli_context(context), target, loaded, pool.schema)
