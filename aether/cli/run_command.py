"""`aether run` and `aether dev`: their options are those that `aether.supervisor.options` declares, each once.

`dev` is `run` with reload on save and the dashboard.
"""

from collections.abc import Iterable, Mapping
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer

from aether.cli.command_context import cli_context
from aether.supervisor.options import RunOption, RunOptions, run_options

DEV_WORKERS = 2
"""One of them serves while the other takes up new code."""

DEV_HTTP = "127.0.0.1:8080"


def run_command(context: typer.Context, **given: Any) -> int:
    """Start the supervisor; its exit code."""
    return cli_context(context).run(RunOptions(**{name: value for name, value in given.items() if value is not None}))


def dev_command(context: typer.Context, **given: Any) -> int:
    """Start the supervisor with reload and dashboard; its exit code."""
    options: dict[str, Any] = {"workers": DEV_WORKERS, "http": DEV_HTTP} | {
        name: value for name, value in given.items() if value is not None
    }
    return cli_context(context).run(RunOptions(**options, reload=True, dev=True))


def _signature(options: Iterable[RunOption], helps: Mapping[str, str]) -> Signature:
    """What Typer reads: the model, and each option; `helps` has other words than an option's own."""
    model = Annotated[str, typer.Argument(metavar="MODEL", help="The model, as module:name.")]
    return Signature(
        [
            Parameter("context", Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
            Parameter("model", Parameter.KEYWORD_ONLY, annotation=model),
            *(_parameter(option, helps.get(option.name, option.help)) for option in options),
        ],
        return_annotation=int,
    )


def _parameter(option: RunOption, text: str) -> Parameter:
    declared = typer.Option(*option.flags, metavar=option.metavar or None, help=text, show_default=False)
    kind: Any = bool if option.is_switch else option.type | None
    default = False if option.is_switch else None
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declared])


_RUN_OPTIONS = [option for option in run_options() if not option.is_internal]
_DEV_HELPS = {
    "workers": f"Worker processes. Default: {DEV_WORKERS}.",
    "http": f"Where HTTP and the dashboard are. Default: {DEV_HTTP}. Where the port is taken, a free one is.",
}
# Typer reads a command's options from the signature of its function, which is inspect's own protocol.
run_command.__signature__ = _signature(_RUN_OPTIONS, {})  # type: ignore[attr-defined]
dev_command.__signature__ = _signature(  # type: ignore[attr-defined]
    [option for option in _RUN_OPTIONS if option.name != "reload"], _DEV_HELPS
)
