"""`Decider`: an actor as three functions, after Jérémie Chassaing's pattern of that name.

`decide(state, command)` gives the events, `evolve(state, event)` the next state, `initial` the first. It is what an
`Actor` class is sugar for, and compiles to the same kind. States are values: `evolve` returns a new one and never
changes the old, which is what a failed command goes back to.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Concatenate, Generic, TypeAlias, TypeVar, overload

from aether.ids import plain_text
from aether.model.annotations import annotations_of
from aether.model.declared import Place, caller_frame, local_names, place_of_frame
from aether.model.methods import Query

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Decision(Generic[E_co]):
    """What `decide` may return instead of plain events, when the command has a reply."""

    events: Iterable[E_co] = ()
    reply: Any = None


Decided: TypeAlias = Iterable[E] | Decision[E]
"""What a command comes to: its events, or a `Decision`."""

Decide: TypeAlias = Callable[[S, C], Decided[E]] | Callable[[S, C], Awaitable[Decided[E]]]


class Decider(Generic[S, C, E]):
    """An actor kind made of functions. Generic in its state, its commands and its events.

    `initial` is the first state, or a function without arguments that makes it. `decide(state, command)` returns an
    iterable of events, or a `Decision` with a reply, or raises `Rejected`; it may be async. `evolve(state, event)`
    returns the next state. A command is called by its class's name in snake_case, its fields are the arguments.

    Commands, events and the state's type are read from the annotations of `decide` and `evolve` (unions), or given:
    `commands` and `events` as classes, `state` as a type. `replies` maps a command's class to its reply type (default
    None), `queries` are functions `(state, ...) -> reply`, called by their names. `command_window_s`, in seconds, says
    how long a command id that a caller gave is remembered; None is the worker's setting (120 s). Another
    `snapshot_version` makes the snapshots of earlier code invalid, where Aether cannot see that folding has changed.
    Everything is checked when a `Model` is built.
    """

    @overload  # a class as `initial` is a function that makes a state
    def __init__(
        self,
        initial: Callable[[], S],
        decide: Decide[S, C, E],
        evolve: Callable[[S, E], S],
        *,
        kind: str,
        commands: Sequence[type] | None = ...,
        events: Sequence[type] | None = ...,
        state: Any = ...,
        replies: Mapping[type, Any] | None = ...,
        queries: Sequence[Callable[Concatenate[S, ...], Any] | Query[S, ..., Any]] = ...,
        description: str = ...,
        command_window_s: float | None = ...,
        snapshot_version: int = ...,
    ) -> None: ...
    @overload
    def __init__(
        self,
        initial: Callable[[], S] | S,
        decide: Decide[S, C, E],
        evolve: Callable[[S, E], S],
        *,
        kind: str,
        commands: Sequence[type] | None = ...,
        events: Sequence[type] | None = ...,
        state: Any = ...,
        replies: Mapping[type, Any] | None = ...,
        queries: Sequence[Callable[Concatenate[S, ...], Any] | Query[S, ..., Any]] = ...,
        description: str = ...,
        command_window_s: float | None = ...,
        snapshot_version: int = ...,
    ) -> None: ...
    def __init__(
        self,
        initial: Any,
        decide: Any,
        evolve: Any,
        *,
        kind: str,
        commands: Sequence[type] | None = None,
        events: Sequence[type] | None = None,
        state: Any = None,
        replies: Mapping[type, Any] | None = None,
        queries: Sequence[Any] = (),
        description: str = "",
        command_window_s: float | None = None,
        snapshot_version: int = 1,
    ) -> None:
        self.initial = initial
        self.decide = decide
        self.evolve = evolve
        self.kind = plain_text(kind) if isinstance(kind, str) else kind
        self.commands = commands
        self.events = events
        self.state = state
        self.replies: dict[type, Any] = dict(replies or {})
        self.queries: tuple[Any, ...] = tuple(queries)
        self.description = description
        self.snapshot_version = snapshot_version
        self.command_window_s = command_window_s
        frame = caller_frame(1)
        self.place: Place = place_of_frame(frame)
        declared = [decide, evolve, *[one.handler if isinstance(one, Query) else one for one in queries]]
        functions = [one for one in declared if isinstance(one, FunctionType)]
        self.names = local_names(frame, [text for one in functions for text in annotations_of(one).values()])

    def __repr__(self) -> str:
        return f"<Decider {self.kind}>"
