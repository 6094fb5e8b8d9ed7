"""The command of Aether's own by which an operator ends a schedule of an actor: `aether.unschedule`, with its `name`.

It takes its turn as any other, so the actor's own commit says that the schedule is over, and a tick that is on its way
finds that out. Every kind has it, one that is gone too.
"""

from typing import Any

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder
from msgspec.structs import replace

from aether.errors import InvalidCommand
from aether.json_checks import split_path
from aether.model.definition import Scope, State
from aether.model.schedules import checked_name
from aether.runtime.machine_scope import MachineScope
from aether.sends import SetSchedule, encode_send
from aether.tells import EMPTY_ARGS
from aether.wire import UNSCHEDULE_COMMAND


class _Args(Struct, forbid_unknown_fields=True):
    name: str


_args = Decoder(_Args)


class Unschedule:
    """`aether.unschedule` as a command of any actor."""

    name = UNSCHEDULE_COMMAND
    query = False
    blocking = False

    def decode_args(self, raw: bytes) -> str:
        """The name of the schedule. Raises `InvalidCommand`."""
        try:
            name = _args.decode(raw).name
        except (ValidationError, DecodeError) as error:
            message, path = split_path(str(error))
            raise InvalidCommand(message, path=path) from None
        return checked_name(name)

    def invoke(self, state: State, scope: Scope, args: Any) -> SetSchedule:
        """Have no further ticks; the schedule as it was. Raises `InvalidCommand` with the path `name` for none."""
        assert isinstance(scope, MachineScope)
        agenda = scope.fold.agenda
        setting = None if agenda is None else agenda.schedules.get(args)
        if setting is None:
            raise InvalidCommand(f"{scope.actor_id} has no schedule {args!r}", path="name")
        scope.cancel_schedule(setting.name)
        return setting

    def encode_reply(self, value: Any) -> bytes:
        """The schedule as it was, as JSON, without its arguments: they may leave no room for anything else."""
        return encode_send(replace(value, args=EMPTY_ARGS))
