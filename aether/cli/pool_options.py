"""The options that say which pool is meant, which nearly every command has: a command gets them as one value."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import typer

from aether.cli import options
from aether.cli.target import PoolChoice

R = TypeVar("R")


def _declared(
    timeout: options.Timeout = None,
    nats: options.Nats = None,
    namespace: options.Namespace = None,
    data_dir: options.DataDirectory = options.DATA_DIRECTORY,
) -> None:
    """Only its signature counts."""


def with_pool_options(command: Callable[..., R]) -> Callable[..., R]:
    """The command as typer is to read it: its own parameters without `asked`, and after them those of the pool."""

    @wraps(command)
    def called(
        *,
        context: typer.Context,
        timeout: float | None,
        nats: str | None,
        namespace: str | None,
        data_dir: Path,
        **own: Any,
    ) -> R:
        asked = PoolChoice(nats=nats, namespace=namespace, timeout_s=timeout, data_dir=data_dir)
        return command(context, asked, **own)

    signature = inspect.signature(command)
    own = [one for one in signature.parameters.values() if one.name != "asked"]
    shared = inspect.signature(_declared).parameters.values()
    called.__dict__["__signature__"] = signature.replace(parameters=[*own, *shared])
    return called
