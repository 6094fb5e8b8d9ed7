"""`aether run`: its options are those that `aether.supervisor.options` declares, each once for both command lines."""

from inspect import Parameter, Signature
from typing import Annotated, Any

import typer

from aether.cli.command_context import cli_context
from aether.supervisor.options import RunOption, RunOptions, run_options


def run_command(context: typer.Context, **given: Any) -> int:
    """Start the supervisor; its exit code."""
    return cli_context(context).run(RunOptions(**{name: value for name, value in given.items() if value is not None}))


def _parameter(option: RunOption) -> Parameter:
    declared = typer.Option(*option.flags, metavar=option.metavar or None, help=option.help, show_default=False)
    kind: Any = bool if option.is_switch else option.type | None
    default = False if option.is_switch else None
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared])


# Typer reads a command's options from the signature of its function.
run_command.__signature__ = Signature(  # type: ignore[attr-defined]  # inspect's own protocol
    [
        Parameter("context", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        Parameter(
            "model",
            Parameter.KEYWORD_ONLY,
            annotation=Annotated[str, typer.Argument(metavar="MODEL", help="The model, as module:name.")],
        ),
        *(_parameter(option) for option in run_options() if not option.is_internal),
    ],
    return_annotation=int,
)
