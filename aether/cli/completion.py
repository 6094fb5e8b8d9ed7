"""What the shell may complete: kinds, keys, commands, arguments and event types, as the running pool has them.

Called by typer in the process that a shell starts for each completion. It prints nothing, waits a second at most, and
has nothing to offer when the pool cannot be asked.
"""

import contextlib
import io
import logging
from collections.abc import Awaitable, Callable, Iterator
from itertools import chain
from typing import Any, TypeVar

import typer

from aether.cli import pool
from aether.cli.board import Board
from aether.cli.context import CliContext
from aether.cli.pool import Reached
from aether.cli.target import PoolChoice, find_target
from aether.errors import AetherError
from aether.system.environment import DATA_DIRECTORY_DEFAULT

TIMEOUT_S = 1.0
KEYS_MAX = 100

Offered = list[tuple[str, str]]
"""What may stand there, each with its description."""

T = TypeVar("T")


def kinds(ctx: typer.Context, incomplete: str) -> Offered:
    """The kinds of the model."""
    return _beginning(incomplete, ((kind, _about(actor)) for kind, actor in _board(ctx).actors.items()))


def commands(ctx: typer.Context, incomplete: str) -> Offered:
    """The commands and queries of the kind."""
    found = _board(ctx).actors.get(str(ctx.params.get("kind")), {}).get("commands", {})
    return _beginning(incomplete, ((name, _about(command)) for name, command in found.items()))


def arguments(ctx: typer.Context, incomplete: str) -> Offered:
    """The arguments of the command that were not given, as `name=`."""
    board = _board(ctx)
    command = board.actors.get(str(ctx.params.get("kind")), {}).get("commands", {}).get(ctx.params.get("command"), {})
    given = {str(pair).partition("=")[0] for pair in ctx.params.get("arguments") or ()}
    names = command.get("args", {}).get("properties", {})
    return _beginning(incomplete, ((f"{name}=", "") for name in names if name not in given))


def event_types(ctx: typer.Context, incomplete: str) -> Offered:
    """The events of all kinds: what stands before an option without its value is not known here."""
    names = chain.from_iterable(actor.get("events", {}) for actor in _board(ctx).actors.values())
    return _beginning(incomplete, ((name, "") for name in names))


def keys(ctx: typer.Context, incomplete: str) -> Offered:
    """Some keys of the kind that begin so; those that a shell would take apart are left out."""
    kind, found = ctx.params.get("kind"), []

    async def some(reached: Reached) -> None:
        async for key in reached.client.keys(str(kind), deadline_s=TIMEOUT_S):
            if key.startswith(incomplete) and key.isprintable() and not set(key) & set(" '\"\\$`"):
                found.append((key, ""))
            if len(found) >= KEYS_MAX:
                return

    if kind is not None:
        _ask(ctx, some, None)
    return found


def _board(ctx: typer.Context) -> Board:
    return _ask(ctx, pool.schema, Board({}))


def _ask(ctx: typer.Context, use: Callable[[Reached], Awaitable[T]], otherwise: T) -> T:
    outside, given = ctx.obj if isinstance(ctx.obj, CliContext) else CliContext.real(), ctx.params
    try:
        with _silence():
            reference = given.get("model")
            loaded = None if reference is None else outside.load_model(reference)
            asked = PoolChoice(
                nats=given.get("nats"),
                namespace=given.get("namespace"),
                timeout_s=TIMEOUT_S,
                data_dir=given.get("data_dir") or DATA_DIRECTORY_DEFAULT,
            )
            target = find_target(asked, outside.variables, None if loaded is None else loaded.name)
            return pool.in_pool(outside, target, loaded, use)
    except (AetherError, OSError):
        return otherwise


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """What is printed or logged meanwhile would be in the middle of the command that is typed."""
    logging.disable()
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _beginning(incomplete: str, offered: Iterator[tuple[str, str]]) -> Offered:
    return list(dict.fromkeys(one for one in offered if one[0].startswith(incomplete)))


def _about(described: Any) -> str:
    return str(described.get("description") or "").strip().partition("\n")[0]
