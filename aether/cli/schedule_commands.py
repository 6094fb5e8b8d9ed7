"""The commands about schedules: which wait for their next tick, and to cancel one. Each asks the pool, and prints."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from aether.cli import options, pool, render
from aether.cli.command_context import cli_context, find_pool
from aether.cli.pool_options import with_pool_options
from aether.cli.target import PoolChoice
from aether.ids import ActorId, check_kind
from aether.sends import SetSchedule


@with_pool_options
def schedules_ls_command(
    context: typer.Context,
    asked: PoolChoice,
    kind: options.OnlyKind = None,
    key: options.OnlyKey = None,
    json_lines: options.JsonLines = False,
) -> None:
    """List the schedules whose next tick is waited for."""
    if kind is not None:
        check_kind(kind)
    if kind is not None and key is not None:
        ActorId(kind, key)
    cli = cli_context(context)
    target, loaded = find_pool(context, asked, None)
    found = pool.in_pool(cli, target, loaded, lambda at: pool.schedules(at, kind, key))
    render.write_schedules([_row(one) for one in found], table=cli.terminal and not json_lines)


@with_pool_options
def schedules_cancel_command(
    context: typer.Context,
    asked: PoolChoice,
    kind: options.Kind,
    key: options.Key,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name, as aether schedules ls shows it.")],
) -> None:
    """Cancel a schedule of an actor."""
    actor_id = ActorId(kind, key)
    target, loaded = find_pool(context, asked, None)
    was = pool.in_pool(cli_context(context), target, loaded, lambda at: pool.cancel_schedule(at, actor_id, name))
    due = f"{was.command} of {was.kind}/{was.key} was due at {_utc(was.at)}"
    render.write_line(f"cancelled {name} of {actor_id}: {due}")


def _row(setting: SetSchedule) -> Mapping[str, Any]:
    return {
        "next": _utc(setting.at),
        "actor": setting.source,
        "name": setting.name,
        "rule": setting.rule or "once",
        "zone": setting.zone,
        "catch_up": setting.catch_up,
        "target": f"{setting.kind}/{setting.key}",
        "command": setting.command,
        "args": setting.args,
    }


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
