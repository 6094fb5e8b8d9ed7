"""A tell as the handler that sends it makes it: checked against the model, so that what is stored can be run."""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Raw

from aether.errors import ActorFailed, InvalidCommand
from aether.ids import ActorId
from aether.model.definition import ActorCommand
from aether.runtime.pending_command import PendingCommand
from aether.runtime.telling import Telling
from aether.runtime.worker_context import WorkerContext
from aether.tells import Tell, encode_tell

PLACE_BYTES = 2_048
"""Room in a message of the inbox for what is added to a tell when it is relayed: who sent it, and where."""


def told_by(
    running: PendingCommand,
    actor_id: ActorId,
    worker: WorkerContext,
    to: ActorCommand,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
) -> Tell:
    """The tell that a handler sends.

    Raises `InvalidCommand` for arguments that the command does not take, `UnknownActor`, `UnknownCommand`;
    `ActorFailed` in a query, and where nothing can be told.
    """
    telling = _checked_telling(running, actor_id, worker)
    whose = f"{to.kind}.{to.command}, which {running.type.name} tells"
    target = addressed(to, whose)
    command_type = worker.command_type(to.kind, to.command)
    if command_type.query:
        raise InvalidCommand(f"{to.command} is a query, and a query cannot be told: it does nothing", path="command")
    command = running.command
    tell = Tell(
        kind=target.kind,
        key=target.key,
        command=to.command,
        args=encoded_args(command_type.encode_args, args, kwargs, whose),
        correlationid=command.correlationid or command.id,
        causationid=command.id,
        traceparent=command.traceparent,
    )
    size, most = len(encode_tell(tell)), telling.tell_bytes_max - PLACE_BYTES
    if size > most:
        raise InvalidCommand(f"a tell is at most {most} bytes, this is {size} ({whose})", path="args")
    return tell


def _checked_telling(running: PendingCommand, actor_id: ActorId, worker: WorkerContext) -> Telling:
    telling, actor = worker.telling, str(actor_id)
    if running.type.query:
        raise ActorFailed(f"the query {running.type.name} told something", actor=actor)
    if telling is None:
        why = "nothing can be told here: this runtime has no inbox; a test with `local_pool` has one"
        raise ActorFailed(why, actor=actor)
    if not telling.can_tell():
        why = "nothing can be told while a worker of an earlier version, which does not know tells, is there"
        raise ActorFailed(why, actor=actor)
    return telling


def addressed(to: ActorCommand, whose: str) -> ActorId:
    """Whom it is for. Raises `InvalidCommand` that says whose the key is: not its caller's."""
    try:
        return ActorId(to.kind, to.key)
    except InvalidCommand as error:
        raise InvalidCommand(f"{error.message} (the actor of {whose})", path=error.path) from None


def encoded_args(
    encode: Callable[[tuple[Any, ...], Mapping[str, Any]], bytes],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    whose: str,
) -> Raw:
    """The arguments of what a handler sends. Raises `InvalidCommand` that says whose they are: not its caller's."""
    try:
        return Raw(encode(args, kwargs))
    except InvalidCommand as error:
        raise InvalidCommand(f"{error.message} (an argument of {whose})", path=error.path) from None
