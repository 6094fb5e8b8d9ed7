"""The commands about the inbox: what waits, and dead letters. Each reads its options, asks the pool, and prints."""

import getpass
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aether.cli import completion, options, pool, pool_inbox, render
from aether.cli.command_context import cli_context, find_pool
from aether.cli.exits import EXIT_DONE, EXIT_REFUSED
from aether.cli.pool_options import with_pool_options
from aether.cli.target import PoolChoice
from aether.dead_letters import DeadLetter
from aether.errors import InvalidCommand
from aether.ids import ActorId, check_kind
from aether.waiting_tells import WaitingTells

if TYPE_CHECKING:
    from aether.core.inbox_floor import InboxNeed
    from aether.inbox_needs import InboxContent

LIMIT_DEFAULT = 100
RETRY_LIMIT_DEFAULT = 1_000

Id = Annotated[int, typer.Argument(metavar="ID", min=1, help="The id that aether inbox ls shows.")]


@with_pool_options
def inbox_ls_command(
    context: typer.Context,
    asked: PoolChoice,
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="Only to this kind.", show_default=False, autocompletion=completion.kinds),
    ] = None,
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="Only to this actor.", show_default=False, autocompletion=completion.keys),
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="Only dead letters, not what waits.")] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Print at most so many.")] = LIMIT_DEFAULT,
    json_lines: options.JsonLines = False,
) -> None:
    """List what waits in the inbox, and dead letters."""
    if kind is not None:
        check_kind(kind)
    if kind is not None and key is not None:
        ActorId(kind, key)
    cli = cli_context(context)
    target, loaded = find_pool(context, asked, None)
    found = pool.in_pool(cli, target, loaded, lambda at: pool_inbox.inbox(at, kind, key, dead=dead, limit=limit))
    rows = [*map(_waiting_row, found.waiting), *map(_dead_row, found.dead)]
    render.write_inbox(rows, table=cli.terminal and not json_lines, left_out=found.left_out)


@with_pool_options
def inbox_show_command(
    context: typer.Context,
    asked: PoolChoice,
    id: Id,
) -> None:
    """Show one dead letter, or what waits first at an actor."""
    target, loaded = find_pool(context, asked, None)
    found = pool.in_pool(cli_context(context), target, loaded, lambda at: pool_inbox.in_inbox(at, id))
    render.write_value(_whole(found) if isinstance(found, DeadLetter) else _waiting_row(found))


@with_pool_options
def inbox_retry_command(
    context: typer.Context,
    asked: PoolChoice,
    id: Annotated[
        int | None,
        typer.Argument(metavar="ID", min=1, help="The id that aether inbox ls shows.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Send all dead letters again, the oldest first.")] = False,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="With --all: only those to this kind.",
            show_default=False,
            autocompletion=completion.kinds,
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="With --all: at most so many.")
    ] = RETRY_LIMIT_DEFAULT,
) -> int:
    """Send a dead letter again, or all of them."""
    if (id is None) != every:
        raise InvalidCommand("name one dead letter by its id, or say --all", path="ID")
    if kind is not None:
        if not every:
            raise InvalidCommand("it goes with --all", path="--kind")
        check_kind(kind)
    target, loaded = find_pool(context, asked, None)
    cli, by = cli_context(context), _operator()
    if id is not None:
        one = id
        render.write_line(pool.in_pool(cli, target, loaded, lambda at: pool_inbox.retry_dead_letter(at, one, by)))
        return EXIT_DONE
    done = pool.in_pool(
        cli, target, loaded, lambda at: pool_inbox.retry_dead_letters(at, kind, by, limit, render.write_line)
    )
    failed = f", {done.failed} not sent again" if done.failed else ""
    left = f", {done.left} more are left: --limit {limit} was reached" if done.left else ""
    render.write_line(f"{done.sent} sent again{failed}{left}")
    return EXIT_REFUSED if done.failed else EXIT_DONE


@with_pool_options
def inbox_drop_command(
    context: typer.Context,
    asked: PoolChoice,
    id: Id,
) -> None:
    """Forget a dead letter."""
    target, loaded = find_pool(context, asked, None)
    letter = pool.in_pool(
        cli_context(context), target, loaded, lambda at: pool_inbox.drop_dead_letter(at, id, _operator())
    )
    render.write_line(f"dropped {letter.command} of {letter.actor_id}")


@with_pool_options
def inbox_give_up_command(
    context: typer.Context,
    asked: PoolChoice,
    kind: options.Kind,
    key: options.Key,
    until: Annotated[
        int | None,
        typer.Option("--until", metavar="ID", min=1, help="Only what has this id or a lower one.", show_default=False),
    ] = None,
) -> None:
    """Make dead letters of what waits for an actor."""
    actor_id = ActorId(kind, key)
    target, loaded = find_pool(context, asked, None)
    count = pool.in_pool(cli_context(context), target, loaded, lambda at: pool_inbox.give_up(at, actor_id, until))
    render.write_line(f"{count} to {actor_id} given up; aether inbox ls {kind} shows what becomes a dead letter")


@with_pool_options
def inbox_purge_command(
    context: typer.Context,
    asked: PoolChoice,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing. It has to be said.")] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Print at most so many.")] = LIMIT_DEFAULT,
    json_lines: options.JsonLines = False,
) -> None:
    """Say what of the inbox may be removed, and what keeps the rest."""
    if not dry_run:
        raise InvalidCommand("workers remove by themselves what is not needed; --dry-run says what", path="--dry-run")
    cli = cli_context(context)
    target, loaded = find_pool(context, asked, None)
    found = pool.in_pool(cli, target, loaded, pool_inbox.inbox_kept)
    needs = _alike_together(found.needs)
    rows = [_need_row(need, found.size.first) for need in needs[:limit]]
    table = cli.terminal and not json_lines
    render.write_inbox_kept(_size_row(found), rows, table=table, left_out=max(0, len(needs) - limit))


def _size_row(found: "InboxContent") -> Mapping[str, Any]:
    size = found.size
    removable = max(0, found.needs[0].sequence - size.first) if size.messages else 0
    return {**size._asdict(), "removable": removable}


def _alike_together(needs: Sequence["InboxNeed"]) -> list["InboxNeed"]:
    """Needs from one sequence on that differ in their last number only, as one: those of the marks of many shards."""
    together = []
    for _, alike in groupby(needs, lambda need: (need.sequence, need.what.rstrip("0123456789"))):
        first, *others = alike
        together.append(first._replace(what=f"{first.what} and {len(others)} more") if others else first)
    return together


def _need_row(need: "InboxNeed", first: int) -> Mapping[str, Any]:
    return {"needed": need.sequence, "before": max(0, need.sequence - first), "for": need.what}


def _operator() -> str:
    """Who types this, for the log."""
    try:
        return f"{getpass.getuser()}@{platform.node()}"
    except (OSError, KeyError, ImportError):  # a process whose user has no name
        return f"@{platform.node()}"


def _waiting_row(line: WaitingTells) -> Mapping[str, Any]:
    return {
        "state": "waiting",
        "id": line.first,
        "actor": line.actor,
        "command": line.command,
        "count": line.count,
        "failures": line.failures,
        "error": "" if line.error is None else f"{line.error.code}: {line.error.message}",
        "waits_s": round(line.waits_s, 1),
        "shard": line.shard,
        "worker": line.member,
    }


def _dead_row(letter: DeadLetter) -> Mapping[str, Any]:
    return {
        "state": "retrying" if letter.retrying else "dead",
        "id": letter.id,
        "actor": str(letter.actor_id),
        "command": letter.command,
        "count": 1,
        "failures": letter.failures,
        "error": f"{letter.error.code}: {letter.error}",
        "at": f"{letter.at:%Y-%m-%dT%H:%M:%SZ}",
    }


def _whole(letter: DeadLetter) -> Mapping[str, Any]:
    due = letter.scheduled_for
    return {
        **_dead_row(letter),
        "args": letter.args,
        "details": {name: str(value) for name, value in letter.error.details.items()},
        "source": None if letter.source is None else str(letter.source),
        "command_id": letter.command_id,
        "correlation_id": letter.correlation_id,
        "scheduled_for": None if due is None else f"{due.astimezone(UTC).replace(tzinfo=None).isoformat()}Z",
    }
