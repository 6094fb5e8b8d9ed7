"""The compiled messages of an actor kind: commands and queries with their arguments and reply, and events.

Each is made once when a model is built, holds prepared codecs and no state, and is shared by all actors of its kind.
They bind, check and convert; they never run a turn.
"""

from collections.abc import Awaitable, Callable, Mapping
from inspect import Signature
from typing import Any, TypeAlias

import msgspec
import msgspec.inspect
import orjson

from aether.codec import Codec
from aether.errors import ActorFailed, AetherError, InvalidCommand, Rejected
from aether.json_checks import ValueMismatch, can_nest, check_depth
from aether.log_lines import shown
from aether.model.definition import PolicyType, Scope, State

Upcast: TypeAlias = Callable[[dict[str, Any], int], dict[str, Any]]
"""`upcast(fields, schema_version)` makes the JSON fields of an older event into those of the current version."""

Invoke: TypeAlias = Callable[[State, Scope, Any], Any | Awaitable[Any]]

_NULL = b"null"


class Arguments:
    """How a command's arguments bind and convert. On the wire they are always one JSON object by name.

    `positional` are the wire names that may be positional, in order; `names` maps each name a caller may use to its
    name on the wire.
    """

    __slots__ = ("_can_nest", "codec", "command", "names", "positional")

    def __init__(self, command: str, codec: Codec, positional: tuple[str, ...], names: Mapping[str, str]) -> None:
        self.command = command
        self.codec = codec
        self._can_nest = can_nest(codec.info)
        self.positional = positional
        self.names = names

    @property
    def first(self) -> msgspec.inspect.Type | None:
        """The type of the first argument; None where there is none, and where only its class knows it."""
        fields = getattr(self.codec.info, "fields", ())
        return next((one.type for one in fields if one.encode_name in self.positional[:1]), None)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Bind, validate and encode. Raises `InvalidCommand` with the path of the argument."""
        if len(args) > len(self.positional):
            most, place = len(self.positional), f"[{len(self.positional)}]"
            takes = f"{most} positional argument{'s' * (most != 1)}"
            given = f"{len(args)} {'was' if len(args) == 1 else 'were'} given"
            raise InvalidCommand(f"{self.command} takes {takes}, {given}", path=place)
        bound = dict(zip(self.positional, args, strict=False))
        for name, value in kwargs.items():
            wire_name = self.names.get(name)
            if wire_name is None or wire_name in bound:
                why = "has no argument" if wire_name is None else "was given twice the argument"
                raise InvalidCommand(f"{self.command} {why} {name!r}", path=name)
            bound[wire_name] = value
        try:
            raw = self.codec.convert(bound)
            if self._can_nest:
                check_depth(raw)
            return raw
        except ValueMismatch as error:
            raise self._invalid(error) from None

    def decode(self, raw: bytes) -> Any:
        """The arguments as the codec's type. Raises `InvalidCommand` with the path of the argument."""
        try:
            return self.codec.accept(raw)
        except ValueMismatch as error:
            raise self._invalid(error) from None
        except (Rejected, InvalidCommand):
            raise
        except AetherError as error:  # users' code, which makes an argument, cannot speak for the runtime
            what = f"{type(error).__name__}: {error}"
            raise ActorFailed(f"an argument of {self.command} cannot be made: {what}") from error

    def _invalid(self, error: ValueMismatch) -> InvalidCommand:
        """What the caller hears. An argument that is not there is no field of an object to a caller."""
        if error.message == f"Object missing required field {error.path!r}":
            takes = ", ".join(dict.fromkeys([*self.positional, *self.names.values()]))
            return InvalidCommand(f"the argument is missing; {self.command} takes {takes}", path=error.path)
        return InvalidCommand(error.message, path=error.path)


class ExactArguments(Arguments):
    """Arguments of a class that itself ignores unknown fields, as dataclasses do: here they are refused."""

    __slots__ = ()

    def decode(self, raw: bytes) -> Any:
        """As `Arguments.decode`, and no field may be unknown."""
        value = super().decode(raw)
        known = self.names.values()
        for name in _names_of(raw):
            if name not in known:
                raise InvalidCommand(f"{self.command} has no argument {name!r}", path=name)
        return value


_names_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class TypedCommand:
    """One command or query of an actor kind, compiled. `signature` is its handler's, without the actor."""

    __slots__ = ("_kind", "_returns_none", "arguments", "blocking", "decode_args", "description", "encode_args",
                 "invoke", "name", "query", "reply", "signature")  # fmt: skip

    def __init__(
        self,
        kind: str,
        name: str,
        *,
        query: bool,
        arguments: Arguments,
        reply: Codec,
        invoke: Invoke,
        signature: Signature,
        description: str,
        blocking: bool = False,
    ) -> None:
        self._kind = kind
        self._returns_none = reply.type is None or reply.type is type(None)
        self.name = name
        self.query = query
        self.blocking = blocking
        self.arguments = arguments
        self.reply = reply
        self.invoke = invoke
        self.signature = signature
        self.description = description
        self.encode_args = arguments.encode
        self.decode_args = arguments.decode

    @property
    def takes(self) -> msgspec.inspect.Type | None:
        """The type of its first argument, as far as it is known."""
        return self.arguments.first

    def encode_reply(self, value: Any) -> bytes:
        """The reply as JSON. Raises `ActorFailed` when the value is not of the declared type."""
        if value is None and self._returns_none:
            return _NULL
        try:
            return self.reply.convert(value)
        except ValueMismatch as error:
            message = f"what {self._kind}.{self.name} returned is not of its declared type: {error}"
            raise ActorFailed(message, path=error.path) from None

    def decode_reply(self, raw: bytes) -> Any:
        """The reply as the declared type. Raises `AetherError` when it is of another model's type."""
        try:
            return self.reply.decode(raw)
        except ValueMismatch as error:
            raise AetherError(f"the reply of {self._kind}.{self.name} is not of its declared type: {error}") from None


class TypedEvent:
    """One event type of an actor kind, compiled."""

    __slots__ = ("_can_nest", "_kind", "_upcast", "codec", "name", "policies", "schema_version", "type")

    def __init__(self, kind: str, codec: Codec, *, schema_version: int, upcast: Upcast | None) -> None:
        self._kind = kind
        self._upcast = upcast
        self._can_nest = can_nest(codec.info)
        self.codec = codec
        self.type: type = codec.type
        self.name = self.type.__name__
        self.schema_version = schema_version
        self.policies: tuple[PolicyType, ...] = ()
        """What runs when it is emitted; set once, when the model is built."""

    def encode_checked(self, event: object) -> tuple[bytes, object]:
        """The event as JSON, and the equal event that this JSON gives back: the one to apply.

        Raises `ActorFailed` with the path of what would not come back equal.
        """
        try:
            body, same = self.codec.encode_checked(event)
            if self._can_nest:
                check_depth(body)
            return body, same
        except ValueMismatch as error:
            message = f"the event {self.name} of {self._kind} cannot be stored as it is: {error}"
            raise ActorFailed(message, path=error.path) from None

    def decode(self, raw: bytes, schema_version: int = 1) -> object:
        """The event of stored JSON, upcast from an older version. Raises ValueError saying what does not fit."""
        if schema_version != self.schema_version:
            raw = self._upcasted(raw, schema_version)
        return self.codec.decode(raw)

    def _upcasted(self, raw: bytes, schema_version: int) -> bytes:
        if schema_version > self.schema_version:
            raise ValueError(f"it has schema version {schema_version}, this model knows {self.schema_version}")
        assert self._upcast is not None  # a model with a version above 1 has one
        try:
            return orjson.dumps(self._upcast(orjson.loads(raw), schema_version))
        except BaseException as error:  # users' code
            raise ValueError(f"it cannot be upcast from schema version {schema_version}: {shown(error)}") from error
