"""The query that every actor answers: its state. `aether.state`, with `version` for an earlier one."""

from typing import Any

import orjson
from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.json import Decoder

from aether.errors import InvalidCommand
from aether.ids import ActorId, Position, Version
from aether.json_checks import split_path
from aether.model.definition import ActorState, ActorType, Detached, Scope, State


class _Args(Struct, forbid_unknown_fields=True):
    version: int | None = None


class _Reply(Struct):
    id: ActorId
    version: int
    state: Raw


_args = Decoder(_Args)
_reply = Decoder(_Reply)


def decode_state_args(raw: bytes) -> int | None:
    """The wanted version, or None for the current one. Raises `InvalidCommand`."""
    try:
        version = _args.decode(raw).version
    except (ValidationError, DecodeError) as error:
        message, path = split_path(str(error))
        raise InvalidCommand(message, path=path) from None
    if version is not None and version < 0:
        raise InvalidCommand(f"a version is at least 0, not {version}", path="version")
    return version


def not_there_yet(actor_id: ActorId, asked: int, latest: int) -> InvalidCommand:
    """What to say of a version that the history has not reached."""
    message = f"{actor_id} has no version {asked} yet: its history ends at version {latest}"
    return InvalidCommand(message, path="version", asked=asked, latest=latest)


def encode_state_reply(actor_id: ActorId, version: int, state: bytes) -> bytes:
    """`{id, version, state}` as JSON."""
    body = {"id": {"kind": actor_id.kind, "key": actor_id.key}, "version": version, "state": orjson.Fragment(state)}
    return orjson.dumps(body)


def decode_state_reply(raw: bytes, position: Position, actor_type: ActorType) -> ActorState[Any]:
    """The reply as typed values. `position` is that of its answer. Raises ValueError when it is of another model."""
    reply = _reply.decode(raw)
    version = Version(reply.version)
    state = actor_type.decode_state(bytes(reply.state), reply.id, Detached(reply.id, version))
    return ActorState(reply.id, version, position, state, actor_type.state_values(state))


class StateQuery:
    """`aether.state` as a query of an actor type, so that it takes its turn like any other."""

    name = "aether.state"
    query = True
    blocking = False

    def __init__(self, actor_type: ActorType) -> None:
        self._actor_type = actor_type

    def invoke(self, state: State, scope: Scope, args: Any) -> tuple[ActorId, int, bytes]:
        """What the reply is made of, read in this step; `args` is the actor's id."""
        return args, scope.version, self._actor_type.encode_state(state)

    def encode_reply(self, value: Any) -> bytes:
        """The reply as JSON."""
        return encode_state_reply(*value)
