"""What a handler has sent, as tests compare it: tells, schedules and starts of tasks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, cast

from aether.model.methods import Command, checked_command
from aether.model.schedules import When
from aether.model.tasks import TaskCall

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Told:
    """What a handler has told another actor: the arguments as the handler gave them."""

    kind: str
    key: str
    command: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __repr__(self) -> str:
        args = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.kind}/{self.key}: {self.command}({', '.join(args)})"


def told(command: Command[Any, P, Any], key: str, /, *args: P.args, **kwargs: P.kwargs) -> Told:
    """What a handler or a policy has told: `told(Room.confirm, "12", by="alice")`, to compare with `Outcome.tells`.

    Arguments compare as they were given, by position or by name.
    """
    return Told(command.kind, key, command.name, args, dict(kwargs))


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A schedule that a handler has set: its name, when it is due, and what is run then."""

    name: str
    when: When
    told: Told

    def __repr__(self) -> str:
        return f"{self.name!r}: {self.when!r}: {self.told!r}"


def scheduled(
    name: str, when: When, command: Command[Any, P, Any], key: str, /, *args: P.args, **kwargs: P.kwargs
) -> Scheduled:
    """What a handler has scheduled: `scheduled("expiry", After(minutes=15), Booking.expire, "b1")`, to compare with
    `Outcome.schedules`.
    """
    return Scheduled(name, when, told(command, key, *args, **kwargs))


@dataclass(frozen=True, slots=True)
class Started:
    """A task that a handler has started: its name, its arguments as they were given, and the names of its commands."""

    task: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    then: str = ""
    failed: str = ""

    def __repr__(self) -> str:
        args = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        return f"{self.task}({', '.join(args)}) then {self.then or 'nothing'}, failed {self.failed or 'nothing'}"


def started(
    call: TaskCall[Any],
    *,
    then: Callable[..., object] | None = None,
    failed: Callable[..., object] | None = None,
) -> Started:
    """What a handler has started: `started(charge(5), then=Booking.paid)`, to compare with `Outcome.tasks`."""
    if not isinstance(cast(object, call), TaskCall):
        raise TypeError(f"started takes a call of a task, like charge(5), not {call!r}")
    names = ["" if one is None else checked_command(one, "started").name for one in (then, failed)]
    return Started(call.task.name, call.args, call.kwargs, *names)
