"""The commands as they are typed: each reads its options, asks the pool, prints.

Typer calls one function for each command line, in the one thread. The world comes in as `context.obj`.
"""

import sys
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer

from aether.cli import completion, help_texts, options, pool, render
from aether.cli.arguments import read_arguments
from aether.cli.board import Board
from aether.cli.context import CliContext, LoadedModel
from aether.cli.exits import EXIT_DONE, EXIT_REFUSED
from aether.cli.project import create_project, next_steps
from aether.cli.target import Asked, Target, find_target
from aether.errors import InvalidCommand
from aether.ids import COMMAND_ID_CHARS_MAX, ActorId, check_kind
from aether.supervisor.run import RunOptions
from aether.system.environment import current_directory, is_compiled
from aether.wire import Event

# Plain help: examples keep their line breaks, and a pipe gets text.
app = typer.Typer(name="aether", rich_markup_mode=None, pretty_exceptions_enable=False)
model_app = typer.Typer(rich_markup_mode=None)
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


@app.command("run", help=help_texts.RUN)
def run_command(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model, as module:name.")],
    workers: options.Workers = None,
    nats: options.RunNats = None,
    namespace: options.RunNamespace = None,
    node: options.Node = None,
    data_dir: options.RunDataDirectory = options.DATA_DIRECTORY,
    port: options.Port = None,
    replicas: options.Replicas = None,
    shards: options.Shards = None,
    sync: options.Sync = None,
    timeout: options.DrainTimeout = None,
    loop_silent_kill: options.LoopSilentKill = None,
    check_timeout: options.CheckTimeout = None,
    log_level: options.LogLevel = None,
    log_format: options.LogFormat = None,
    reload: options.Reload = False,
) -> int:
    """Start the supervisor; its exit code."""
    asked: dict[str, Any] = {
        "workers": workers,
        "nats": nats,
        "namespace": namespace,
        "node": node,
        "port": port,
        "replicas": replicas,
        "shards": shards,
        "sync": sync,
        "drain_timeout_s": timeout,
        "loop_silent_kill_s": loop_silent_kill,
        "check_timeout_s": check_timeout,
        "log_level": log_level,
        "log_format": log_format,
    }
    given = {name: value for name, value in asked.items() if value is not None}
    return _outside(context).run(RunOptions(model=model, data_dir=data_dir, reload=reload, **given))


@app.command("init", help=help_texts.INIT)
def init_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the directory, the package and the namespace.")],
) -> None:
    """Make a project."""
    for file in create_project(name, current_directory()):
        render.write_line(str(file.relative_to(current_directory())))
    print(next_steps(name), file=sys.stderr)


@app.command("call", help=help_texts.CALL)
def call_command(
    context: typer.Context,
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
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """Send one command."""
    given = read_arguments(arguments or (), _stdin() if json_text == "-" else json_text)
    actor_id = ActorId(kind, key)
    if command_id is not None and not 0 < len(command_id) <= COMMAND_ID_CHARS_MAX:
        raise InvalidCommand(f"a command id is 1-{COMMAND_ID_CHARS_MAX} characters", path="--command-id")
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    target, loaded = _find(context, asked, model)
    render.write_json(
        pool.in_pool(_outside(context), target, loaded, lambda at: pool.call(at, actor_id, command, given, command_id))
    )


@app.command("state", help=help_texts.STATE)
def state_command(
    context: typer.Context,
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
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """Read one state."""
    actor_id = ActorId(kind, key)
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    target, loaded = _find(context, asked, model)
    render.write_json(pool.in_pool(_outside(context), target, loaded, lambda at: pool.state(at, actor_id, version)))


@app.command("history", help=help_texts.HISTORY)
def history_command(
    context: typer.Context,
    kind: options.Kind,
    key: options.Key,
    after: Annotated[int, typer.Option("--after", metavar="N", min=0, help="Only events after version N.")] = 0,
    model: options.ModelReference = None,
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """Read one history."""
    outside, actor_id = _outside(context), ActorId(kind, key)
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    target, loaded = _find(context, asked, model)
    shown: list[Event] = []

    def receive(event: Event) -> None:
        if outside.terminal:
            shown.append(event)
        else:
            render.write_json(render.event_json(event))

    pool.in_pool(outside, target, loaded, lambda at: pool.history(at, actor_id, after, receive))
    if outside.terminal:
        render.write_history(str(actor_id), shown)


@app.command("ls", help=help_texts.LS)
def ls_command(
    context: typer.Context,
    kind: options.Kind,
    json_lines: options.JsonLines = False,
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """List the keys of a kind."""
    check_kind(kind)
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    target, loaded = _find(context, asked, None)

    def receive(key: str) -> None:
        if json_lines:
            render.write_value({"kind": kind, "key": key})
        else:
            render.write_line(key)

    pool.in_pool(_outside(context), target, loaded, lambda at: pool.keys(at, kind, receive))


@app.command("tail", help=help_texts.TAIL)
def tail_command(
    context: typer.Context,
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="Only of this kind.", show_default=False, autocompletion=completion.kinds),
    ] = None,
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="Only of this actor.", show_default=False, autocompletion=completion.keys),
    ] = None,
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
    outside = _outside(context)
    if kind is not None:
        check_kind(kind)
    if kind is not None and key is not None:
        ActorId(kind, key)
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    target, loaded = _find(context, asked, None)

    def receive(actor_id: ActorId, event: Event) -> None:
        if outside.terminal and not json_lines:
            render.write_event(actor_id, event)
        else:
            render.write_json(render.event_json(event))

    try:
        pool.in_pool(outside, target, loaded, lambda at: pool.tail(at, kind, key, types or (), receive))
    except KeyboardInterrupt:
        return EXIT_DONE  # the usual end of it
    raise AssertionError("events end only with an error")


@app.command("ps", help=help_texts.PS)
def ps_command(
    context: typer.Context,
    shards: Annotated[bool, typer.Option("--shards", help="List the shards instead of the workers.")] = False,
    json_lines: options.JsonLines = False,
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """List the workers, or the shards."""
    outside = _outside(context)
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    target, loaded = _find(context, asked, None)
    namespace_found, found = pool.in_pool(outside, target, loaded, pool.overview)
    render.write_overview(namespace_found, found, shards=shards, table=outside.terminal and not json_lines)


@app.command("repair", help=help_texts.REPAIR)
def repair_command(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be changed.")] = False,
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> int:
    """Change what a namespace's streams and buckets need; 1 when something is left that cannot be changed."""
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    target, loaded = _find(context, asked, None)
    found = pool.in_pool(_outside(context), target, loaded, lambda at: pool.repair(at, not dry_run))
    render.write_differences(found, changed=not dry_run)
    return EXIT_DONE if all(one.can_be_changed for one in found) else EXIT_REFUSED


app.add_typer(model_app, name="model", help="Look at a model: its actors, commands, events and JSON Schema.")

_Reference = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="module:name; without it the running pool is asked.", show_default=False),
]


@model_app.command("show", help=help_texts.SHOW)
def show_command(
    context: typer.Context,
    model: _Reference = None,
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """Show a model."""
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    render.write_board(_board(context, model, asked))


@model_app.command("schema", help=help_texts.SCHEMA)
def schema_command(
    context: typer.Context,
    model: _Reference = None,
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """Print a model's schema."""
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    render.write_value(_board(context, model, asked).document)


app.add_typer(snapshots_app, name="snapshots", help="Snapshots, which spare a worker the reading of histories.")


@snapshots_app.command("drop", help=help_texts.DROP_SNAPSHOTS)
def drop_snapshots_command(
    context: typer.Context,
    kind: options.Kind,
    key: Annotated[
        str | None,
        typer.Argument(metavar="KEY", help="Only this actor's.", show_default=False, autocompletion=completion.keys),
    ] = None,
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """Remove snapshots."""
    check_kind(kind)
    if key is not None:
        ActorId(kind, key)
    asked = Asked(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
    target, loaded = _find(context, asked, None)
    dropped = pool.in_pool(_outside(context), target, loaded, lambda at: pool.drop_snapshots(at, kind, key))
    render.write_value({"kind": kind, **({} if key is None else {"key": key}), "dropped": dropped})


def _outside(context: typer.Context) -> CliContext:
    world = context.obj
    assert isinstance(world, CliContext)
    return world


def _find(context: typer.Context, asked: Asked, reference: str | None) -> tuple[Target, LoadedModel | None]:
    outside = _outside(context)
    loaded = None if reference is None else outside.load_model(reference)
    return find_target(asked, outside.variables, None if loaded is None else loaded.name), loaded


def _board(context: typer.Context, reference: str | None, asked: Asked) -> Board:
    if reference is not None:
        return Board(_outside(context).load_model(reference).schema())
    target, loaded = _find(context, asked, None)
    return pool.in_pool(_outside(context), target, loaded, pool.schema)


def _stdin() -> str:
    if sys.stdin is None:
        raise InvalidCommand("stdin is closed", path="--json")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise InvalidCommand("what stdin holds is not UTF-8", path="--json") from None
