"""`Command` and `Query`: what `@command` and `@query` make of a method of an actor.

On the class such an attribute is itself: it has a name, its actor and the handler's signature. On an instance, type
checkers take it for a function with the handler's parameters that gives a coroutine of its reply, which is what a
proxy has. An actor itself cannot call its commands: while one of them runs, another one would wait for it.
"""

from collections.abc import Callable, Coroutine
from functools import update_wrapper, wraps
from types import MethodType
from typing import Any, ClassVar, Generic, Literal, NoReturn, ParamSpec, TypeAlias, TypeVar, overload

from aether.errors import ActorFailed, InvalidCommand
from aether.model.annotations import signature_of
from aether.model.definition import Detached

Role: TypeAlias = Literal["command", "event", "query"]
"""What a method of an actor is."""

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

Call: TypeAlias = Coroutine[object, None, R_co]
"""What calling a command gives: await it for the reply. Without Any, at which mypy gives up overloads, as of gather."""


class ActorMethod(Generic[A_co, P, R_co]):
    """A method of an actor that others call: what `Command` and `Query` share.

    `actor` is the class that it was read from, None outside of classes; `handler` is the function itself.
    """

    role: ClassVar[Role]
    name: str
    actor: type | None
    handler: Callable[..., Any]
    blocking: bool

    def __init__(
        self, handler: Callable[..., Any], *, blocking: bool = False, actor: type | None = None, name: str = ""
    ) -> None:
        update_wrapper(self, handler)
        self.handler = handler
        self.blocking = blocking
        self.actor = actor
        self.name = name or handler.__name__

    @property
    def kind(self) -> str:
        """The kind of its actor; "" outside of actor classes."""
        return str(getattr(self.actor, "kind", ""))

    def __set_name__(self, owner: type, name: str) -> None:
        if self.actor is None:
            self.actor = owner
            self.name = name

    # Covariant, so that a subclass may declare the command anew, and yet a parameter, so that what takes a command of
    # one actor refuses that of another.
    def __call__(self, actor: A_co, /, *args: P.args, **kwargs: P.kwargs) -> NoReturn:  # type: ignore[misc]
        """Raises: it is here for type checkers. A command is called through a client."""
        raise _no_call(self, actor)

    def _get(self, actor: Any, owner: type | None) -> Any:
        if actor is not None:
            return _refusing(self, actor)
        if owner is self.actor or self.actor is None:
            return self
        return type(self)(self.handler, blocking=self.blocking, actor=owner, name=self.name)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and _identity(self) == _identity(other)

    def __hash__(self) -> int:
        return hash(_identity(self))

    def __reduce__(self) -> Any:
        return (getattr, (self.actor, self.name)) if self.actor is not None else super().__reduce__()

    def __repr__(self) -> str:
        signature = signature_of(self.handler)
        others = signature.replace(parameters=list(signature.parameters.values())[1:])
        where = self.kind or getattr(self.actor, "__name__", "")
        return f"<{self.role} {f'{where}.' if where else ''}{self.name}{others}>"


class Command(ActorMethod[A_co, P, R_co]):
    """A command of an actor, as its class has it: `Account.deposit`. Generic in actor, parameters and reply."""

    role: ClassVar[Role] = "command"

    @overload
    def __get__(self, actor: None, owner: type[A]) -> "Command[A, P, R_co]": ...
    @overload
    def __get__(self, actor: object, owner: type | None = None) -> Callable[P, Call[R_co]]: ...
    def __get__(self, actor: object, owner: type | None = None) -> Any:
        return self._get(actor, owner)


class Query(ActorMethod[A_co, P, R_co]):
    """A query of an actor, as its class has it: `Account.statement`. Generic in actor, parameters and reply."""

    role: ClassVar[Role] = "query"

    @overload
    def __get__(self, actor: None, owner: type[A]) -> "Query[A, P, R_co]": ...
    @overload
    def __get__(self, actor: object, owner: type | None = None) -> Callable[P, Call[R_co]]: ...
    def __get__(self, actor: object, owner: type | None = None) -> Any:
        return self._get(actor, owner)


def checked_command(command: object, where: str) -> Command[Any, ..., Any]:
    """The command itself. Raises `InvalidCommand` for what is none; `where` is what it was given to."""
    if not isinstance(command, Command):
        what = f"{where} takes a command as its class has it, like Account.deposit, not {command!r}"
        raise InvalidCommand(what, path="command")
    return command


def own_command(actor: object, kind: str, command: Any, what: str) -> str:
    """The name of a command of the actor, or of a class that it inherits from; "" for None.

    Raises `InvalidCommand` for anything else.
    """
    if command is None:
        return ""
    found = checked_command(command, f"self.start_task(..., {what}=...)")
    if found.kind != kind and not (found.actor is not None and isinstance(actor, found.actor)):
        text = f"{what} is a command of the actor that starts the task, {kind}, not of {found.kind}"
        raise InvalidCommand(text, path=what)
    return found.name


def _identity(method: ActorMethod[Any, ..., Any]) -> tuple[object, ...]:
    return method.actor, method.name, method.handler, method.blocking


def _refusing(method: ActorMethod[Any, ..., Any], actor: object) -> Callable[..., Any]:
    """What an actor has under the name of a command: calling it raises."""

    @wraps(method.handler)
    def refuse(actor: object, /, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise _no_call(method, actor)

    return MethodType(refuse, actor)


def _no_call(method: ActorMethod[Any, ..., Any], actor: object) -> Exception:
    actor_id, scope = getattr(actor, "_aether_id", None), getattr(actor, "_aether_scope", None)
    if actor_id is None or scope is None or isinstance(scope, Detached):
        if actor_id is None and method.actor is not None:  # Account.deposit(5)
            name, key = method.actor.__name__, "key"
        else:
            name, key = type(actor).__name__, repr(getattr(actor_id, "key", "key"))
        through = f"await client.actor({name}, {key}).{method.name}(...)"
        text = f"{method.name} is a {method.role}, which is called through a client: `{through}`"
        if actor_id is None and method.role == "command":
            text += f", and told by an actor with `self.tell({name}.{method.name}, {key}, ...)`"
        return RuntimeError(text)
    why = f"self.{method.name} is a {method.role}, and an actor cannot call itself: it would wait for its own turn"
    return ActorFailed(f"{actor_id}: {why}; put what is shared in a plain method and call that", actor=str(actor_id))
