"""Tells: commands that are stored before a worker runs them, as they travel in commits and in the inbox stream.

A turn's tells are in its commit, as JSON text in `sends` of the last event of the command that told them. From there
the owner of the sender's shard copies each into the inbox stream, one message a tell, with the place where it was sent
(position of the commit and number in it): the inbox holds exactly those that are in commits, each once.
"""

from datetime import datetime

from msgspec import DecodeError, Raw, Struct, ValidationError
from msgspec.json import Decoder, Encoder, decode

from aether.errors import InvalidCommand
from aether.ids import ActorId
from aether.json_checks import check_depth

TELL = "tell"
"""The tag of a tell among what a turn sends: there may be other tags later, which an earlier version must not skip."""

TOLD = "tell:"
"""Begins the command id of an actor's tell; the position of the commit that sent it follows, and its number there."""

RETRY = "retry:"
"""Begins the command id of a dead letter that is sent again; the sequence of the tell that was given up follows."""

EMPTY_ARGS = Raw(b"{}")


class Tell(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A command for an actor, told by another one or by a client.

    - `id`: the command id that a client gave it; "" for a tell of an actor, whose id is its place.
    - `source`: the actor that told it, as `kind/key`; "" for a client.
    - `position` and `number`: where an actor's tell is sent: the position of the commit; which of its tells, from 0.
    - `passes_to`: of a tick that its actor passes on to another one: what for and to whom, as `command kind/key`.
    - `due`: when the tick was due for which it is told; None for what is no tick.
    """

    kind: str
    key: str
    command: str
    args: Raw = EMPTY_ARGS
    tag: str = TELL
    id: str = ""
    source: str = ""
    position: int = 0
    number: int = 0
    correlationid: str = ""
    causationid: str = ""
    traceparent: str = ""
    caller: str = ""
    passes_to: str = ""
    due: datetime | None = None

    @property
    def target(self) -> ActorId:
        """Whom it is for."""
        return ActorId(self.kind, self.key)

    @property
    def meant(self) -> tuple[str, ActorId]:
        """Which command is to be run in the end, and by whom. Raises `InvalidCommand`."""
        command, _, whom = self.passes_to.partition(" ")
        kind, _, key = whom.partition("/")
        return (command, ActorId(kind, key)) if command else (self.command, self.target)

    @property
    def command_id(self) -> str:
        """The id of the command that it is, the same each time that it is tried."""
        return self.id or f"{TOLD}{self.position}.{self.number}"


_args_decoder = Decoder(dict[str, Raw])
_encoder = Encoder()
_tell_decoder = Decoder(Tell)


def checked_args(args: bytes) -> bytes:
    """Arguments that a client gives. Raises `InvalidCommand` where they are no JSON object."""
    try:
        args.decode()
        _args_decoder.decode(args)
        check_depth(args)
    except (DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InvalidCommand(f"arguments are a JSON object by name: {error}", path="args") from None
    return args


def check_same_tell(payload: bytes, stored: bytes) -> None:
    """Raise `InvalidCommand` unless what a client tells is what is stored under its id."""
    if payload == stored:
        return
    try:
        one, other = _tell_decoder.decode(payload), _tell_decoder.decode(stored)
        same = (one.command, decode(bytes(one.args))) == (other.command, decode(bytes(other.args)))
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidCommand("another message was told under this id", path="id") from None
    if not same:
        text = f"the command id {one.id} was given to another command, or to other arguments"
        raise InvalidCommand(text, path="id")


def encode_tell(tell: Tell) -> bytes:
    """A message of the inbox stream."""
    return _encoder.encode(tell)


def decode_told(payload: bytes) -> tuple[Tell, ActorId]:
    """The tell in a message of the inbox stream, and its target. Raises `InvalidCommand` for bytes that are none."""
    try:
        tell = _tell_decoder.decode(payload)
        return tell, tell.target
    except (ValidationError, DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidCommand(f"a message of the inbox is no tell: {error}") from None
