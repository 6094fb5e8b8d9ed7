"""A turn without a runtime: what a state emits is checked, recorded and applied at once."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aether.ids import ActorId
from aether.model.definition import ActorCommand, ActorType, Context
from aether.model.schedules import When
from aether.model.tasks import TaskCall


class Turn:
    """The `Scope` of one actor; `events` holds what was stored as `(type, JSON)`."""

    def __init__(self, actor_type: ActorType, key: str = "alice") -> None:
        self.actor_type = actor_type
        self.tells: list[tuple[Any, ...]] = []
        self.events: list[tuple[str, bytes]] = []
        self.state: Any = actor_type.initial(ActorId(actor_type.kind, key), self)

    @property
    def version(self) -> int:
        """Events applied so far."""
        return len(self.events)

    @property
    def context(self) -> Context:
        """Always the same command."""
        at = datetime(2030, 1, 1, tzinfo=UTC)
        return Context(command_id="c1", correlation_id="c0", caller="", deadline=at, now=at)

    @property
    def resources(self) -> Any:
        """None: no model, so no lifespan."""
        raise RuntimeError("no lifespan")

    def emit(self, event: object) -> None:
        """Record and apply."""
        event_type = self.actor_type.event_type_of(event)
        raw, same = event_type.encode_checked(event)
        self.state = self.actor_type.evolve(self.state, same)
        self.events.append((event_type.name, raw))

    def ask(self, kind: Any, key: str) -> Any:
        """No other actor."""
        raise RuntimeError("no other actor")

    def schedule(
        self, name: str, when: When, to: ActorCommand, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Nothing is scheduled here."""
        raise NotImplementedError

    def cancel_schedule(self, name: str) -> None:
        """None is cancelled."""
        raise NotImplementedError

    def start_task(self, call: TaskCall[Any], then: str, failed: str) -> str:
        """No task is started here."""
        raise NotImplementedError

    def cancel_task(self, task_id: str) -> None:
        """None is cancelled."""
        raise NotImplementedError

    def tell(self, kind: str, command: str, key: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Record it."""
        self.tells.append((kind, command, key, args, dict(kwargs)))

    def run(self, command: str, *args: Any, **kwargs: Any) -> Any:
        """Call a command as a client would; what it returns, through its JSON. Not for asynchronous handlers."""
        command_type = self.actor_type.commands[command]
        decoded = command_type.decode_args(command_type.encode_args(args, kwargs))
        reply = command_type.encode_reply(command_type.invoke(self.state, self, decoded))
        return command_type.decode_reply(reply)
