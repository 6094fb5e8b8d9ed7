"""What `self.ask` gives: a proxy of another actor whose calls are asks of the handler that runs.

An ask begins when the proxy's method is called, so that the asks of a handler have an order that does not depend on
when each is awaited. Whatever an ask raises is marked as that ask's.
"""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, cast

from aether.errors import AetherError
from aether.ids import ActorId
from aether.model.model import Model
from aether.model.proxy import ActorRef, proxy_of
from aether.wire import Answer


class Ask(Protocol):
    """One ask, from the call of the proxy's method on."""

    def send(self, actor_id: ActorId, command: str, args: bytes) -> Awaitable[Answer]:
        """The answer of the actor. Raises what it answers, and what keeps it from being asked."""
        ...

    def mark(self, error: AetherError) -> None:
        """Note on an error that it is of this ask."""
        ...


class AskProxy:
    """An actor to be asked: its commands and queries give coroutines, as those of a client's proxy do.

    `begin` is given the actor that is asked, as `account/bob`, and the method's name, when a method is called.
    """

    __slots__ = ("_begin", "_key", "_kind", "_model", "_proxy", "_what")

    def __init__(self, model: Model, kind: ActorRef, key: str, begin: Callable[[str, str], Ask]) -> None:
        self._model = model
        self._kind = kind
        self._key = key
        self._begin = begin
        self._what = f"{kind if isinstance(kind, str) else getattr(kind, 'kind', kind)}/{key}"
        self._proxy = proxy_of(model, kind, key, _unsent)

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        getattr(self._proxy, name)  # what is no command is refused at once, as by every proxy

        def call(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
            ask = self._begin(self._what, name)
            method = getattr(proxy_of(self._model, self._kind, self._key, ask.send), name)
            answer: Any = _answered(ask, method, args, kwargs)
            answer.__qualname__ = f"{self._what}.{name}"  # Python names what was never awaited
            return cast(Coroutine[Any, Any, Any], answer)

        return call

    def __repr__(self) -> str:
        return f"<proxy of {self._what}, to be asked>"


async def _answered(ask: Ask, method: Callable[..., Awaitable[Any]], args: Any, kwargs: Any) -> Any:
    try:
        return await method(*args, **kwargs)
    except AetherError as error:
        ask.mark(error)
        raise


def _unsent(actor_id: ActorId, command: str, args: bytes) -> Awaitable[Answer]:
    raise AssertionError("this proxy only says which names are commands")
