"""Every command of `aether`, in the order of its help. A new command is a function in one of the modules named here.

Typer calls one function for each command line, in the one thread. The world comes in as `context.obj`.
"""

import sys
from collections.abc import Callable
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer

from aether.cli import help_texts, render
from aether.cli.actor_commands import call_command, history_command, ls_command, state_command, tail_command
from aether.cli.gateway_command import gateway_command
from aether.cli.inbox_commands import (
    inbox_drop_command,
    inbox_give_up_command,
    inbox_ls_command,
    inbox_purge_command,
    inbox_retry_command,
    inbox_show_command,
)
from aether.cli.model_commands import check_command, draw_command, schema_command, show_command
from aether.cli.pool_commands import (
    drop_snapshots_command,
    ps_command,
    repair_command,
    show_snapshot_command,
    top_command,
)
from aether.cli.project import create_project, next_steps
from aether.cli.run_command import dev_command, run_command
from aether.cli.schedule_commands import schedules_cancel_command, schedules_ls_command
from aether.cli.supervisor_commands import reload_command, stop_command
from aether.cli.task_commands import tasks_cancel_command, tasks_ls_command, tasks_retry_command, tasks_show_command
from aether.cli.trace_command import trace_command
from aether.system.environment import current_directory, is_compiled

# Plain help: examples keep their line breaks, and a pipe gets text.
app = typer.Typer(name="aether", rich_markup_mode=None, pretty_exceptions_enable=False)
model_app = typer.Typer(rich_markup_mode=None)
inbox_app = typer.Typer(rich_markup_mode=None)
schedules_app = typer.Typer(rich_markup_mode=None)
tasks_app = typer.Typer(rich_markup_mode=None)
snapshots_app = typer.Typer(rich_markup_mode=None)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"aether {installed_version('aether-actors')} ({'compiled' if is_compiled() else 'plain Python'})")
        raise typer.Exit


@app.callback(invoke_without_command=True, help=help_texts.ROOT)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Print the help when no command was given."""
    if context.invoked_subcommand is None:
        print(context.get_help())


def init_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the directory, the package and the namespace.")],
) -> None:
    """Make a project."""
    for file in create_project(name, current_directory()):
        render.write_line(str(file.relative_to(current_directory())))
    print(next_steps(name), file=sys.stderr)


_COMMANDS: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("run", help_texts.RUN, run_command),
    ("dev", help_texts.DEV, dev_command),
    ("gateway", help_texts.GATEWAY, gateway_command),
    ("init", help_texts.INIT, init_command),
    ("call", help_texts.CALL, call_command),
    ("state", help_texts.STATE, state_command),
    ("history", help_texts.HISTORY, history_command),
    ("ls", help_texts.LS, ls_command),
    ("tail", help_texts.TAIL, tail_command),
    ("trace", help_texts.TRACE, trace_command),
    ("ps", help_texts.PS, ps_command),
    ("top", help_texts.TOP, top_command),
    ("reload", help_texts.RELOAD, reload_command),
    ("stop", help_texts.STOP, stop_command),
    ("repair", help_texts.REPAIR, repair_command),
)
for _name, _help, _command in _COMMANDS:
    app.command(_name, help=_help)(_command)
app.add_typer(
    model_app,
    name="model",
    help="Look at a model: its actors, commands, events and JSON Schema, and whether it reads what is stored.",
)
model_app.command("show", help=help_texts.SHOW)(show_command)
model_app.command("schema", help=help_texts.SCHEMA)(schema_command)
model_app.command("draw", help=help_texts.DRAW)(draw_command)
model_app.command("check", help=help_texts.CHECK)(check_command)
app.add_typer(inbox_app, name="inbox", help="What is told and not done: what waits, and what was given up.")
inbox_app.command("ls", help=help_texts.INBOX_LS)(inbox_ls_command)
inbox_app.command("show", help=help_texts.INBOX_SHOW)(inbox_show_command)
inbox_app.command("retry", help=help_texts.INBOX_RETRY)(inbox_retry_command)
inbox_app.command("drop", help=help_texts.INBOX_DROP)(inbox_drop_command)
inbox_app.command("give-up", help=help_texts.INBOX_GIVE_UP)(inbox_give_up_command)
inbox_app.command("purge", help=help_texts.INBOX_PURGE)(inbox_purge_command)
app.add_typer(schedules_app, name="schedules", help="Commands that actors have set for a time.")
schedules_app.command("ls", help=help_texts.SCHEDULES_LS)(schedules_ls_command)
schedules_app.command("cancel", help=help_texts.SCHEDULES_CANCEL)(schedules_cancel_command)
app.add_typer(tasks_app, name="tasks", help="Calls to the outside world: what waits, and what has failed.")
tasks_app.command("ls", help=help_texts.TASKS_LS)(tasks_ls_command)
tasks_app.command("show", help=help_texts.TASKS_SHOW)(tasks_show_command)
tasks_app.command("retry", help=help_texts.TASKS_RETRY)(tasks_retry_command)
tasks_app.command("cancel", help=help_texts.TASKS_CANCEL)(tasks_cancel_command)
app.add_typer(snapshots_app, name="snapshots", help="Snapshots, which spare a worker the reading of histories.")
snapshots_app.command("show", help=help_texts.SHOW_SNAPSHOT)(show_snapshot_command)
snapshots_app.command("drop", help=help_texts.DROP_SNAPSHOTS)(drop_snapshots_command)
