"""The commands about a pool: ps, top, repair, snapshots. Each reads its options, asks the pool, and prints."""

from contextlib import suppress
from typing import Annotated

import typer

from aether.cli import completion, options, pool, render, top
from aether.cli.command_context import cli_context, find_pool
from aether.cli.exits import EXIT_DONE, EXIT_REFUSED
from aether.cli.pool_options import with_pool_options
from aether.cli.target import PoolChoice
from aether.errors import InvalidCommand
from aether.ids import ActorId, check_kind
from aether.system.running_supervisor import running_supervisors


@with_pool_options
def ps_command(
    context: typer.Context,
    asked: PoolChoice,
    shards: Annotated[bool, typer.Option("--shards", help="List the shards instead of the workers.")] = False,
    json_lines: options.JsonLines = False,
) -> None:
    """List the workers, or the shards."""
    cli = cli_context(context)
    target, loaded = find_pool(context, asked, None)
    namespace_found, found = pool.in_pool(cli, target, loaded, pool.overview)
    supervisors = [one.pid for one in running_supervisors(asked.data_dir, namespace_found)]
    render.write_overview(
        namespace_found, found, shards=shards, table=cli.terminal and not json_lines, supervisors=supervisors
    )


def top_command(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print one reading and end.")] = False,
    json_lines: Annotated[bool, typer.Option("--json", help="Print one reading as JSON, also on a terminal.")] = False,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", help="Between two readings, 0.1 to 60.")
    ] = 1.0,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", metavar="SECONDS", help="How long a reading may take, at most 60.", show_default=False
        ),
    ] = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> int:
    """Show what the pool does, until it is interrupted."""
    if not 0.1 <= interval <= 60:
        raise InvalidCommand(f"seconds are 0.1 to 60, not {interval:g}", path="--interval")
    cli = cli_context(context)
    asked = PoolChoice(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    target, loaded = find_pool(context, asked, None)
    as_json = json_lines or not cli.terminal

    async def show(at: pool.Reached) -> None:
        await top.show(at.client, interval, at.left_s(), once=once or json_lines, as_json=as_json)

    with suppress(KeyboardInterrupt):  # the usual end of it
        pool.in_pool(cli, target, loaded, show)
    return EXIT_DONE


@with_pool_options
def repair_command(
    context: typer.Context,
    asked: PoolChoice,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be changed.")] = False,
) -> int:
    """Change what a namespace's streams and buckets need; 1 when something is left that cannot be changed."""
    target, loaded = find_pool(context, asked, None)
    found = pool.in_pool(cli_context(context), target, loaded, lambda at: pool.repair(at, not dry_run))
    render.write_differences(found, changed=not dry_run)
    return EXIT_DONE if all(one.can_be_changed for one in found) else EXIT_REFUSED


@with_pool_options
def show_snapshot_command(
    context: typer.Context,
    asked: PoolChoice,
    kind: options.Kind,
    key: options.Key,
    model: options.ModelReference = None,
) -> int:
    """Show what an actor's snapshot is; 1 when it has none."""
    actor_id = ActorId(kind, key)
    target, loaded = find_pool(context, asked, model)
    found = pool.in_pool(cli_context(context), target, loaded, lambda at: pool.snapshot(at, actor_id))
    render.write_value({"kind": kind, "key": key, "snapshot": found or None})
    return EXIT_DONE if found else EXIT_REFUSED


@with_pool_options
def drop_snapshots_command(
    context: typer.Context,
    asked: PoolChoice,
    kind: options.Kind,
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="Only this actor's.", show_default=False, autocompletion=completion.keys),
    ] = None,
) -> None:
    """Remove snapshots."""
    check_kind(kind)
    if key is not None:
        ActorId(kind, key)
    target, loaded = find_pool(context, asked, None)
    dropped = pool.in_pool(cli_context(context), target, loaded, lambda at: pool.drop_snapshots(at, kind, key))
    render.write_value({"kind": kind, **({} if key is None else {"key": key}), "dropped": dropped})
