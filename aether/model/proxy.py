"""Proxies: actors as objects whose methods are the commands, given a function that sends.

`await proxy.deposit(10)`. A call only makes an awaitable; validation and every error happen when it is awaited, and a
call that is never awaited does nothing. Proxies hold no connection of their own and may be kept.

Attributes are `Any` to a type checker: the class itself would promise `deposit` to return an int where an awaitable of
it comes, and no static type turns one into the other.
"""

from collections.abc import Awaitable, Callable, Coroutine
from functools import lru_cache
from types import MethodType
from typing import Any, TypeAlias

from aether.errors import AetherError, DeadlineExceeded, ReplyNotDelivered, UnknownCommand, nothing_stored
from aether.ids import ActorId
from aether.model.decider import Decider
from aether.model.definition import ActorType, CommandType
from aether.model.model import Model
from aether.wire import Answer

Send: TypeAlias = Callable[[ActorId, str, bytes], Awaitable[Answer]]
"""Sends a command by name, with its encoded arguments, to an actor; the answer, if it is no error."""

_TYPES_KEPT_MAX = 256
_METHODS_KEPT_MAX = 4_096


class ActorProxy:
    """One actor of a known type. Attributes are its commands and queries; each call gives an awaitable of the reply.

    Awaiting raises `UnknownCommand`, `InvalidCommand` with an argument's path, and what `send` raises. The commands
    of its type are methods of a subclass; other names come to `__getattr__`, after Python has looked for them in vain.
    """

    __slots__ = ("_actor_id", "_actor_type", "_send")

    def __init__(self, actor_type: ActorType, actor_id: ActorId, send: Send) -> None:
        self._actor_type = actor_type
        self._actor_id = actor_id
        self._send = send

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        _refuse_private(name)
        return MethodType(_method(self._actor_type.kind, name), self)

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


def proxy_of(model: Model, kind: str | type | Decider, key: str, send: Send) -> Any:
    """The proxy of an actor of the model. Never raises: awaiting does."""
    try:
        actor_type = model.actor_type(kind)
        made = _class_of(actor_type)  # type: ignore[arg-type]  # hashed by identity, which a Protocol does not promise
        return made(actor_type, ActorId(actor_type.kind, key), send)
    except AetherError as error:
        return RefusedProxy(error)


@lru_cache(_TYPES_KEPT_MAX)
def _class_of(actor_type: ActorType) -> type[ActorProxy]:
    methods = {name: _method(actor_type.kind, name) for name in actor_type.commands}
    return type("ActorProxy", (ActorProxy,), {"__slots__": (), "__doc__": ActorProxy.__doc__, **methods})


@lru_cache(_METHODS_KEPT_MAX)
def _method(kind: str, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """What a proxy's attribute does. Kept: a function with a name of its own is not made for every unknown name."""

    async def call(proxy: ActorProxy, /, *args: Any, **kwargs: Any) -> Any:
        actor_type = proxy._actor_type
        command_type = actor_type.commands.get(name)
        if command_type is None:
            known = ", ".join(sorted(actor_type.commands))
            raise UnknownCommand(f"{kind} has no command {name!r}; it has: {known}", kind=kind, command=name)
        try:
            answer = await proxy._send(proxy._actor_id, name, command_type.encode_args(args, kwargs))
        except DeadlineExceeded as late:
            if command_type.query:
                raise nothing_stored(late) from None
            raise
        return reply_of(command_type, answer)

    return _named(call, f"{kind}.{name}")


def reply_of(command_type: CommandType, answer: Answer) -> Any:
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
