"""Proxies: actors as objects whose methods are the commands, given a function that sends.

`await proxy.deposit(10)`. A call only makes an awaitable; validation and every error happen when it is awaited, and a
call that is never awaited does nothing. Proxies hold no connection of their own and may be kept. A type checker takes
the proxy of an `Actor` class for an instance of that class.
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import lru_cache
from inspect import Parameter
from types import MethodType
from typing import Any, TypeAlias

from aether.errors import AetherError, DeadlineExceeded, ReplyNotDelivered, UnknownCommand, nothing_stored
from aether.ids import ActorId
from aether.model.decider import Decider
from aether.model.definition import ActorType, DeclaredCommand
from aether.model.model import Model
from aether.wire import Answer

AnyDecider: TypeAlias = Decider[Any, Any, Any]

ActorRef: TypeAlias = str | type[Any] | AnyDecider
"""An actor kind: its name, its `Actor` class, or its `Decider`."""

Send: TypeAlias = Callable[[ActorId, str, bytes], Awaitable[Answer]]
"""Sends a command by name, with its encoded arguments, to an actor; the answer, if it is no error."""

_TYPES_KEPT_MAX = 256
_METHODS_KEPT_MAX = 4_096
_PROXY = Parameter("_proxy", Parameter.POSITIONAL_ONLY)


class ActorProxy:
    """One actor of a known type. Attributes are its commands and queries; each call gives an awaitable of the reply.

    Awaiting raises `UnknownCommand`, `InvalidCommand` with an argument's path, and what `send` raises. The commands
    of its type are methods of a subclass; other names come to `__getattr__`, after Python has looked for them in vain.
    What the actor has beside its commands (fields, `emit`, `@event` and plain methods) is an AttributeError at once.
    """

    __slots__ = ("_actor_id", "_actor_type", "_send")

    def __init__(self, actor_type: ActorType, actor_id: ActorId, send: Send) -> None:
        self._actor_type = actor_type
        self._actor_id = actor_id
        self._send = send

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        _refuse_private(name)
        member = self._actor_type.member(name)
        if member:
            raise AttributeError(_no_command(self._actor_id, name, member), name=name, obj=self)
        known = ", ".join(sorted(self._actor_type.commands))
        return MethodType(_unknown(self._actor_type.kind, name, known), self)

    def __repr__(self) -> str:
        return f"<proxy of {self._actor_id}>"


class RefusedProxy:
    """Stands for an actor that cannot be (an unknown kind, a bad key): awaiting any call raises why."""

    __slots__ = ("_error",)

    def __init__(self, error: AetherError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        _refuse_private(name)
        error = self._error

        async def call(*_args: Any, **_kwargs: Any) -> Any:
            raise error

        return _named(call, name)

    def __repr__(self) -> str:
        return f"<proxy refused: {self._error}>"


def proxy_of(model: Model, kind: ActorRef, key: str, send: Send) -> Any:
    """The proxy of an actor of the model. Never raises: awaiting does."""
    try:
        actor_type = model.actor_type(kind)
        made = _class_of(actor_type)  # type: ignore[arg-type]  # hashed by identity, which a Protocol does not promise
        return made(actor_type, ActorId(actor_type.kind, key), send)
    except AetherError as error:
        return RefusedProxy(error)


@lru_cache(_TYPES_KEPT_MAX)
def _class_of(actor_type: ActorType) -> type[ActorProxy]:
    methods = {name: _method(actor_type.kind, command) for name, command in actor_type.commands.items()}
    return type("ActorProxy", (ActorProxy,), {"__slots__": (), "__doc__": ActorProxy.__doc__, **methods})


def _method(kind: str, command_type: DeclaredCommand) -> Callable[..., Coroutine[Any, Any, Any]]:
    """What a proxy has under the name of a command, with its handler's signature and docstring."""
    name, query, encode_args = command_type.name, command_type.query, command_type.encode_args

    async def call(proxy: ActorProxy, /, *args: Any, **kwargs: Any) -> Any:
        try:
            answer = await proxy._send(proxy._actor_id, name, encode_args(args, kwargs))
        except DeadlineExceeded as late:
            if query:
                raise nothing_stored(late) from None
            raise
        return reply_of(command_type, answer)

    signature = command_type.signature
    call.__dict__["__signature__"] = signature.replace(parameters=[_PROXY, *signature.parameters.values()])
    call.__doc__ = command_type.description or None
    return _named(call, f"{kind}.{name}")


@lru_cache(_METHODS_KEPT_MAX)
def _unknown(kind: str, name: str, known: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """What a proxy has under an unknown name. Kept: a function with a name of its own is not made each time."""

    async def call(_proxy: ActorProxy, /, *_args: Any, **_kwargs: Any) -> Any:
        raise UnknownCommand(f"{kind} has no command {name!r}; it has: {known}", kind=kind, command=name)

    return _named(call, f"{kind}.{name}")


def _no_command(actor_id: ActorId, name: str, member: str) -> str:
    reads = f"await client.state({actor_id.kind!r}, {actor_id.key!r})"
    return f"{name} is {member}, and a proxy has commands and queries only; `{reads}` reads the state of {actor_id}"


def reply_of(command_type: DeclaredCommand, answer: Answer) -> Any:
    """The reply in an answer as the declared type. Raises `ReplyNotDelivered` for one that is of another type."""
    try:
        return command_type.decode_reply(bytes(answer.value))
    except AetherError as error:
        text = f"{error.message}; the command succeeded and left the actor at version {answer.version}"
        raise ReplyNotDelivered(text, version=answer.version, position=answer.position) from None


def _refuse_private(name: str) -> None:
    """No command begins with '_', but Python and notebooks probe objects for such names."""
    if name.startswith("_"):
        raise AttributeError(name)


def _named(call: Callable[..., Coroutine[Any, Any, Any]], name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """With a name of its own, so that Python's warning about a call never awaited says which."""
    call.__name__ = call.__qualname__ = name
    return call
