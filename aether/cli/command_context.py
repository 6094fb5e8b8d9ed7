"""What the functions of commands share: the world they run in, and the pool that their options name."""

import typer

from aether.cli.context import CliContext, LoadedModel
from aether.cli.target import PoolChoice, Target, find_target


def cli_context(context: typer.Context) -> CliContext:
    """What `execute` gave the command line: the environment, the terminal, and how to open a client."""
    given = context.obj
    assert isinstance(given, CliContext)
    return given


def find_pool(context: typer.Context, asked: PoolChoice, reference: str | None) -> tuple[Target, LoadedModel | None]:
    """Which pool is meant, and the model where `reference` names one. Raises `ConfigError` and `ModelError`."""
    cli = cli_context(context)
    loaded = None if reference is None else cli.load_model(reference)
    return find_target(asked, cli.variables, None if loaded is None else loaded.name), loaded
