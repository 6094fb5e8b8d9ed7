"""What the core and the runtime know of a declared actor, whether it was written as a class or as a `Decider`.

An `ActorType` is the compiled declaration: how to make, fold, store and question a state, with every type check done
once at load. It is stateless and shared by all actors of its kind; it knows no turn, no store and no clock.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from inspect import Signature
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from msgspec import inspect

from aether.ids import ActorId, Position, Version
from aether.model.schedules import When
from aether.model.tasks import TaskCall

S_co = TypeVar("S_co", covariant=True)

State: TypeAlias = Any
"""An actor's state: the instance of an `Actor` class, or whatever a `Decider` folds to."""

JsonSchema: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The command that runs: `self.context` in a handler. `deadline` is absolute, with its time zone.

    `now` is the time, in UTC, read before the handler runs. It is the time of the command's events, so that a state may
    depend on it. A handler that runs again has another one.

    `scheduled_for` is when the tick of a schedule was due that the command is, in UTC; None for any other command. The
    tick may be run later than that. It is the same each time that the handler runs.
    """

    command_id: str
    correlation_id: str
    caller: str
    deadline: datetime
    now: datetime
    traceparent: str = ""
    scheduled_for: datetime | None = None


@dataclass(frozen=True, slots=True)
class ActorState(Generic[S_co]):
    """An actor's state as others see it, after `version` events, the last of them in the commit at `position`.

    `state` is a copy that belongs to the reader: an instance of the `Actor` class, which refuses assignments, emits
    nothing and has no commands, or the value that a `Decider` folds to. Two are equal when all fields are.
    """

    id: ActorId
    version: Version
    position: Position
    state: S_co = field(compare=False)
    fields: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The state's fields by name; the items of a mapping, or `{"value": state}` for what has neither."""
        return dict(self.fields)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.fields.items())
        return f"<state of {self.id} at version {self.version}: {shown}>"


class ActorCommand(NamedTuple):
    """A command of an actor, by names."""

    kind: str
    key: str
    command: str


class Scope(Protocol):
    """The turn that a handler runs in; given to a state when it is made, and alive as long as it."""

    @property
    def version(self) -> int:
        """Events applied so far, those of this turn included."""
        ...

    @property
    def context(self) -> Context:
        """The command that runs now. Raises RuntimeError outside a handler."""
        ...

    @property
    def resources(self) -> Any:
        """What the model's lifespan made in this worker. Raises RuntimeError when there is no lifespan."""
        ...

    def emit(self, event: object) -> None:
        """Record the event and apply it at once. Raises `ActorFailed` in a query, or for an event without a handler."""
        ...

    def ask(self, kind: Any, key: str) -> Any:
        """A proxy of another actor, whose answers an asynchronous handler awaits.

        Raises `ActorFailed` in a handler that cannot await, RuntimeError outside of one.
        """
        ...

    def tell(self, kind: str, command: str, key: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Have an actor run a command, once the commit of the running one is stored. Raises `InvalidCommand`."""
        ...

    def schedule(
        self, name: str, when: When, to: ActorCommand, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Have an actor run a command at a time, from the commit of the running one on. Raises `InvalidCommand`."""
        ...

    def cancel_schedule(self, name: str) -> None:
        """Have no further ticks of a schedule of this name."""
        ...

    def start_task(self, call: TaskCall[Any], then: str, failed: str) -> str:
        """Have a task run, once the commit of the running command is stored; its id. Raises `InvalidCommand`."""
        ...

    def cancel_task(self, task_id: str) -> None:
        """Want no result of a task any more."""
        ...


class Detached:
    """The scope of a state that was read and belongs to its reader: it knows its version and runs no command."""

    def __init__(self, actor_id: ActorId, version: Version) -> None:
        self._actor_id = actor_id
        self.version = version

    @property
    def context(self) -> Context:
        """Raises RuntimeError."""
        raise self._refusal("context")

    @property
    def resources(self) -> Any:
        """Raises RuntimeError."""
        raise self._refusal("resources")

    def emit(self, event: object) -> None:
        """Raises RuntimeError."""
        raise self._refusal("emit")

    def ask(self, kind: Any, key: str) -> Any:
        """Raises RuntimeError."""
        raise self._refusal("ask")

    def tell(self, kind: str, command: str, key: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raises RuntimeError."""
        raise self._refusal("tell")

    def schedule(
        self, name: str, when: When, to: ActorCommand, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Raises RuntimeError."""
        raise self._refusal("schedule")

    def cancel_schedule(self, name: str) -> None:
        """Raises RuntimeError."""
        raise self._refusal("cancel_schedule")

    def start_task(self, call: TaskCall[Any], then: str, failed: str) -> str:
        """Raises RuntimeError."""
        raise self._refusal("start_task")

    def cancel_task(self, task_id: str) -> None:
        """Raises RuntimeError."""
        raise self._refusal("cancel_task")

    def _refusal(self, what: str) -> RuntimeError:
        return RuntimeError(f"self.{what} needs a running command, and this is a copy of the state of {self._actor_id}")


class CommandType(Protocol):
    """One command or query of an actor kind, as the worker that runs it sees it."""

    @property
    def name(self) -> str: ...  # noqa: D102 - a field
    @property
    def query(self) -> bool: ...  # noqa: D102 - a field
    @property
    def blocking(self) -> bool: ...  # noqa: D102 - a field

    def invoke(self, state: State, scope: Scope, args: Any) -> Any | Awaitable[Any]:
        """Run the handler; a coroutine handler gives an awaitable. What it emits goes to `scope.emit`."""
        ...

    def encode_reply(self, value: Any) -> bytes:
        """The reply as JSON. Raises `ActorFailed` when the value is not of the declared type."""
        ...


class DeclaredCommand(CommandType, Protocol):
    """One command or query that a model declares, as its callers see it too."""

    @property
    def signature(self) -> Signature: ...  # noqa: D102 - a field
    @property
    def description(self) -> str: ...  # noqa: D102 - a field
    @property
    def takes(self) -> inspect.Type | None: ...  # noqa: D102 - its first argument, as far as it is known

    def encode_args(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Bind, validate and encode as a JSON object by name. Raises `InvalidCommand` with the field's path."""
        ...

    def decode_args(self, raw: bytes) -> Any:
        """The validated arguments, in a form that `invoke` takes. Raises `InvalidCommand` with the field's path."""
        ...

    def decode_reply(self, raw: bytes) -> Any:
        """The reply as the declared type."""
        ...


class PolicyType(Protocol):
    """One policy, as the turn that runs it sees it."""

    @property
    def name(self) -> str: ...  # noqa: D102 - a field

    def run(self, event: object, actor_id: ActorId, state: State, scope: Scope) -> None:
        """React to an event that was just applied. Raises `ActorFailed`, `StateChangedOutsideEvent`."""
        ...

    def check_tell(self, kind: str, command: str) -> None:
        """Raise `ActorFailed` when it lists what it tells, and not this."""
        ...

    def refusal(self, actor_id: ActorId) -> Exception:
        """The error when it emits or asks."""
        ...


class EventType(Protocol):
    """One event type of an actor kind."""

    @property
    def type(self) -> type: ...  # noqa: D102 - a field
    @property
    def name(self) -> str: ...  # noqa: D102 - a field
    @property
    def schema_version(self) -> int: ...  # noqa: D102 - a field
    @property
    def policies(self) -> Sequence[PolicyType]: ...  # noqa: D102 - a field

    def encode_checked(self, event: object) -> tuple[bytes, object]:
        """The event as JSON, and the equal event that this JSON gives back: the one to apply.

        Raises `ActorFailed` with the path of what would not come back equal.
        """
        ...

    def decode(self, raw: bytes, schema_version: int = 1) -> object:
        """The event of stored JSON. Raises `ValueError` saying what does not fit."""
        ...


class ActorType(Protocol):
    """One actor kind, compiled."""

    @property
    def kind(self) -> str: ...  # noqa: D102 - a field
    @property
    def commands(self) -> Mapping[str, DeclaredCommand]: ...  # noqa: D102 - a field
    @property
    def events(self) -> Mapping[str, EventType]: ...  # noqa: D102 - a field

    @property
    def command_window_s(self) -> float | None:
        """How long, in seconds, an id that a caller gave is remembered; None for the worker's setting."""
        ...

    @property
    def tells_in_order(self) -> bool:
        """Whether a tell that failed and is tried again holds back those behind it to the same actor."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever a stored state of the older type may not fit; the same in every process."""
        ...

    def event_type_of(self, event: object) -> EventType:
        """The declared type of an event object. Raises `ActorFailed` for an event that no handler takes."""
        ...

    def initial(self, actor_id: ActorId, scope: Scope | None = None) -> State:
        """The state before any event."""
        ...

    def evolve(self, state: State, event: object) -> State:
        """The state after an event; may be the same object, changed."""
        ...

    def checkpoint(self, state: State) -> object | None:
        """Something cheap from which `restore` undoes later events, or None when only a replay can."""
        ...

    def restore(self, state: State, checkpoint: object) -> State:
        """The state as it was at the checkpoint."""
        ...

    def encode_state(self, state: State) -> bytes:
        """The state as JSON, for snapshots and answers. Raises `ValueError` when a field is not of its type."""
        ...

    @property
    def mutable(self) -> bool:
        """Whether a state can change in place, beside its events."""
        ...

    def state_bytes(self, state: State) -> bytes:
        """The state as JSON without any check, to compare it. Raises whatever encoding raises."""
        ...

    def state_difference(self, folded: bytes, live: bytes) -> str | None:
        """The field in which two `state_bytes` differ, or None. Raises `ValueError` when one is no state."""
        ...

    def unwritable_field(self, state: State) -> str:
        """The field for which `state_bytes` raises."""
        ...

    def decode_state(self, raw: bytes, actor_id: ActorId, scope: Scope | None = None) -> State:
        """The state of a snapshot. Raises `ValueError` when it does not fit."""
        ...

    def state_values(self, state: State) -> dict[str, Any]:
        """The state's fields by name; the items of a mapping, or `{"value": state}` for what has neither."""
        ...

    def member(self, name: str) -> str:
        """What a name is of the actor that is no command or query, as `"a field of Account"`; "" for unknown names."""
        ...

    def schema(self) -> JsonSchema:
        """JSON Schemas: `{"commands": {name: {"query", "args", "reply"}}, "events": {name: ...}, "state": ...}`."""
        ...
