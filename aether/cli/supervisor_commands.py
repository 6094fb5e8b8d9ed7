"""The commands to the supervisor of this data directory, reload and stop. They signal its process and ask no server."""

import signal
from typing import Annotated

import typer

from aether.cli import options, render
from aether.cli.command_context import cli_context
from aether.cli.exits import EXIT_DONE, EXIT_NO_ANSWER
from aether.errors import InvalidCommand
from aether.system.environment import namespace_of
from aether.system.running_supervisor import RunningSupervisor, signal_supervisor, the_supervisor

STOP_WAIT_S = 60.0


def reload_command(
    context: typer.Context,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """Restart the workers with fresh code."""
    found = the_supervisor(data_dir, namespace or namespace_of(cli_context(context).variables))
    signal_supervisor(found, signal.SIGHUP)
    _say(found, "reload asked")


def stop_command(
    context: typer.Context,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", help="How long to wait for its end; 0 does not wait.")
    ] = STOP_WAIT_S,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> int:
    """Drain the pool and end it; 3 when it has not ended in time."""
    if not 0 <= timeout <= 3600:
        raise InvalidCommand(f"seconds are 0 to 3600, not {timeout:g}", path="--timeout")
    found = the_supervisor(data_dir, namespace or namespace_of(cli_context(context).variables))
    ended = signal_supervisor(found, signal.SIGTERM, timeout)
    _say(found, "ended" if ended else "drains")
    return EXIT_DONE if ended or timeout == 0 else EXIT_NO_ANSWER


def _say(found: RunningSupervisor, outcome: str) -> None:
    render.write_value({"namespace": found.namespace, "supervisor": found.pid, "outcome": outcome})
