"""A tell as the handler that sends it makes it: checked against the model, so that what is stored can be run.

And what is stored of one that was given up.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
from msgspec import Raw

from aether.errors import ActorFailed, AetherError, InvalidCommand
from aether.ids import ActorId
from aether.json_checks import nests_too_deeply
from aether.model.definition import ActorCommand, Scope, State
from aether.runtime.pending_command import PendingCommand
from aether.runtime.worker_context import WorkerContext
from aether.tells import Tell, encode_tell
from aether.wire import NULL, Command, error_data, without_details

PLACE_BYTES = 2_048
"""Room in a message of the inbox for what is added to a tell when it is relayed: who sent it, and where."""

NAME_CHARS_KEPT = 200
"""So much of the name of a command that no model has is stored when the whole name is larger than a commit."""


class UntakenCommand:
    """A `CommandType` for what the model does not take, and why. It is never invoked."""

    query = False
    blocking = False

    def __init__(self, name: str, error: AetherError) -> None:
        self.name = name
        self.error = error

    def decode_args(self, raw: bytes) -> Any:
        """The arguments as they came; none of them is read."""
        return raw

    def invoke(self, state: State, scope: Scope, args: Any) -> Any:
        """Raises."""
        raise self.error

    def encode_reply(self, value: Any) -> bytes:
        """There is none."""
        return NULL


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
    telling, actor = worker.telling, str(actor_id)
    if running.type.query:
        raise ActorFailed(f"the query {running.type.name} told something", actor=actor)
    if telling is None:
        why = "nothing can be told here: this runtime has no inbox; a test with `local_pool` has one"
        raise ActorFailed(why, actor=actor)
    if not telling.can_tell():
        why = "nothing can be told while a worker of an earlier version, which does not know tells, is there"
        raise ActorFailed(why, actor=actor)
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


def dead_letters(command: Command, error: bytes) -> Iterator[bytes]:
    """What is stored of a tell that was given up, and less of it where that is too much.

    The history has to stay readable for every reader, so a name of any characters is escaped, and arguments that are no
    JSON (only their ends are known until here) are left out. Of a name as long as a message its beginning is kept.
    """
    template = b'{"error":%b,"command":%b,"args":%b}'
    name, args = orjson.dumps(command.command), bytes(command.args)
    yield template % (error_data(error), name, args if _is_json(args) else b"{}")
    brief = error_data(without_details(error))
    yield template % (brief, name, b"{}")
    yield template % (brief, orjson.dumps(command.command[:NAME_CHARS_KEPT]), b"{}")


def _is_json(raw: bytes) -> bool:
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return False
    return not nests_too_deeply(raw)
