"""The commands about actors: call, state, history, ls and tail. Each reads its options, asks the pool, and prints."""

import sys
from typing import Annotated

import typer

from aether.cli import completion, options, pool, render
from aether.cli.arguments import read_arguments
from aether.cli.command_context import cli_context, find_pool
from aether.cli.exits import EXIT_DONE
from aether.cli.pool_options import with_pool_options
from aether.cli.target import PoolChoice
from aether.errors import InvalidCommand
from aether.ids import ActorId, check_kind, checked_command_id
from aether.wire import Event


@with_pool_options
def call_command(
    context: typer.Context,
    asked: PoolChoice,
    kind: options.Kind,
    key: options.Key,
    command: Annotated[
        str, typer.Argument(metavar="COMMAND", help="The command or query.", autocompletion=completion.commands)
    ],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE", help="Its arguments.", show_default=False, autocompletion=completion.arguments
        ),
    ] = None,
    json_text: Annotated[
        str | None,
        typer.Option(
            "--json", metavar="OBJECT", help="Arguments as a JSON object; - reads it from stdin.", show_default=False
        ),
    ] = None,
    model: options.ModelReference = None,
    command_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="The command's id: repeating it while it is remembered gives the first answer again.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Send one command."""
    given = read_arguments(arguments or (), _stdin() if json_text == "-" else json_text)
    actor_id = ActorId(kind, key)
    if command_id is not None:
        checked_command_id(command_id, "--command-id")
    target, loaded = find_pool(context, asked, model)
    render.write_json(
        pool.in_pool(
            cli_context(context), target, loaded, lambda at: pool.call(at, actor_id, command, given, command_id)
        )
    )


@with_pool_options
def state_command(
    context: typer.Context,
    asked: PoolChoice,
    kind: options.Kind,
    key: options.Key,
    version: Annotated[
        int | None,
        typer.Option(
            "--version",
            metavar="N",
            min=0,
            help="The state after its first N events. Default: now.",
            show_default=False,
        ),
    ] = None,
    model: options.ModelReference = None,
) -> None:
    """Read one state."""
    actor_id = ActorId(kind, key)
    target, loaded = find_pool(context, asked, model)
    render.write_json(pool.in_pool(cli_context(context), target, loaded, lambda at: pool.state(at, actor_id, version)))


@with_pool_options
def history_command(
    context: typer.Context,
    asked: PoolChoice,
    kind: options.Kind,
    key: options.Key,
    after: Annotated[int, typer.Option("--after", metavar="N", min=0, help="Only events after version N.")] = 0,
    json_lines: options.JsonLines = False,
    model: options.ModelReference = None,
) -> None:
    """Read one history."""
    cli, actor_id = cli_context(context), ActorId(kind, key)
    target, loaded = find_pool(context, asked, model)
    shown: list[Event] = []
    table = cli.terminal and not json_lines

    def receive(event: Event) -> None:
        if table:
            shown.append(event)
        else:
            render.write_json(render.event_json(event))

    pool.in_pool(cli, target, loaded, lambda at: pool.history(at, actor_id, after, receive))
    if table:
        render.write_history(str(actor_id), shown)


@with_pool_options
def ls_command(
    context: typer.Context,
    asked: PoolChoice,
    kind: options.Kind,
    json_lines: options.JsonLines = False,
) -> None:
    """List the keys of a kind."""
    check_kind(kind)
    target, loaded = find_pool(context, asked, None)

    def receive(key: str) -> None:
        if json_lines:
            render.write_value({"kind": kind, "key": key})
        else:
            render.write_line(key)

    pool.in_pool(cli_context(context), target, loaded, lambda at: pool.keys(at, kind, receive))


def tail_command(
    context: typer.Context,
    kind: options.OnlyKind = None,
    key: options.OnlyKey = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            metavar="EVENT",
            help="Only events of this type; may be repeated.",
            show_default=False,
            autocompletion=completion.event_types,
        ),
    ] = None,
    json_lines: options.JsonLines = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout", metavar="SECONDS", help="How long it may take to begin, at most 60.", show_default=False
        ),
    ] = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> int:
    """Print events as they are stored, until it is interrupted."""
    cli = cli_context(context)
    if kind is not None:
        check_kind(kind)
    if kind is not None and key is not None:
        ActorId(kind, key)
    asked = PoolChoice(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    target, loaded = find_pool(context, asked, None)

    def receive(actor_id: ActorId, event: Event) -> None:
        if cli.terminal and not json_lines:
            render.write_event(actor_id, event)
        else:
            render.write_json(render.event_json(event))

    try:
        pool.in_pool(cli, target, loaded, lambda at: pool.tail(at, kind, key, types or (), receive))
    except KeyboardInterrupt:
        return EXIT_DONE  # the usual end of it
    raise AssertionError("events end only with an error")


def _stdin() -> str:
    if sys.stdin is None:
        raise InvalidCommand("stdin is closed", path="--json")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise InvalidCommand("what stdin holds is not UTF-8", path="--json") from None
