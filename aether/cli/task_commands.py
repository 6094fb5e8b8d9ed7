"""The commands about tasks: what waits, what has failed, try again, cancel. Each asks the pool, and prints."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from aether.cli import options, pool, render
from aether.cli.command_context import cli_context, find_pool
from aether.cli.pool_options import with_pool_options
from aether.cli.target import PoolChoice
from aether.task_view import FailedTask
from aether.wire import instant

Id = Annotated[str, typer.Argument(metavar="ID", help="The task's id, as aether tasks ls shows it.")]


@with_pool_options
def tasks_ls_command(
    context: typer.Context,
    asked: PoolChoice,
    failed: Annotated[bool, typer.Option("--failed", help="Those that have failed, instead of the counts.")] = False,
    json_lines: options.JsonLines = False,
) -> None:
    """Count the tasks of each name, or list those that have failed."""
    cli = cli_context(context)
    target, loaded = find_pool(context, asked, None)
    rows: list[Mapping[str, Any]]
    if failed:
        rows = [_row(one) for one in pool.in_pool(cli, target, loaded, lambda at: at.client.tasks.failed(at.left_s()))]
    else:
        backlog = pool.in_pool(cli, target, loaded, lambda at: at.client.tasks.backlog(at.left_s()))
        rows = [one._asdict() for one in backlog]
    render.write_tasks(rows, failed=failed, table=cli.terminal and not json_lines)


@with_pool_options
def tasks_show_command(
    context: typer.Context,
    asked: PoolChoice,
    id: Id,
) -> None:
    """Show a task that has failed."""
    target, loaded = find_pool(context, asked, None)
    found = pool.in_pool(cli_context(context), target, loaded, lambda at: at.client.tasks.one(id, at.left_s()))
    note = found.note
    more = {"given_back": note.given_back, "command_id": note.causationid, "correlation_id": note.correlationid}
    render.write_value({**_row(found), **more})


@with_pool_options
def tasks_retry_command(
    context: typer.Context,
    asked: PoolChoice,
    id: Id,
) -> None:
    """Try a task that has failed and waits again now."""
    target, loaded = find_pool(context, asked, None)
    found = pool.in_pool(cli_context(context), target, loaded, lambda at: at.client.tasks.retry(id, at.left_s()))
    render.write_line(f"{found.note.task} of {found.note.actor} is tried again now")


@with_pool_options
def tasks_cancel_command(
    context: typer.Context,
    asked: PoolChoice,
    id: Id,
) -> None:
    """Stop a task: its actor is told that it has failed."""
    target, loaded = find_pool(context, asked, None)
    pool.in_pool(cli_context(context), target, loaded, lambda at: at.client.tasks.cancel(id, at.left_s()))
    render.write_line(f"{id} is cancelled, if it is not done: its actor hears of it from a worker that has the task")


def _row(found: FailedTask) -> dict[str, Any]:
    note = found.note
    return {
        "id": found.id,
        "task": note.task,
        "actor": note.actor,
        "state": note.state,
        "attempt": note.attempt,
        "attempts": note.attempts,
        "error": f"{note.error_type}: {note.error}" if note.error_type else note.error,
        "failed_at": instant(note.at_s) if note.at_s else "",
        "next_at": instant(note.next_s) if note.next_s else "",
    }
