"""One run of a handler without a runtime: what its `self` reaches, kept for the test to look at.

It applies events and runs policies as a turn of a runtime does. Nothing is stored, sent or waited for.
"""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aether.errors import ActorFailed, UnknownCommand
from aether.ids import ActorId, Position
from aether.model.definition import ActorCommand, ActorType, CommandType, Context, DeclaredCommand, PolicyType, State
from aether.model.model import Model
from aether.model.schedules import When
from aether.model.tasks import TaskCall
from aether.runtime.fold import Fold
from aether.runtime.sent_task import check_takes_what_comes
from aether.testing.sent import Scheduled, Started, Told
from aether.wire import Event

NOT_STORED = Position(0)


@dataclass(frozen=True, slots=True)
class Setting:
    """What a handler finds: its actor's key and stored history, the time, the caller, and its resources."""

    key: str
    now: datetime
    caller: str
    resources: Any
    stored: Sequence[Event] = ()
    model: Model | None = None
    scheduled_for: datetime | None = None


class GivenTurn:
    """The `Scope` of one run of a handler over a state of its own."""

    def __init__(self, actor_type: ActorType, setting: Setting, history: tuple[object, ...]) -> None:
        self._actor_type = actor_type
        self._setting = setting
        self.events: list[object] = []
        self.tells: list[Told] = []
        self.tasks: list[Started] = []
        self.cancelled: list[str] = []
        self.schedules: dict[str, Scheduled] = {}
        self.cancelled_schedules: list[str] = []
        self.running: CommandType | None = None
        self._policy: PolicyType | None = None
        self.broken: BaseException | None = None
        """Why nothing more can be emitted: an event has failed. Its command fails whatever the handler makes of it."""
        self._actor_id = ActorId(actor_type.kind, setting.key)
        fold = Fold(self._actor_id, actor_type, self)
        if setting.stored:
            fold.apply(setting.stored, NOT_STORED)
        self.state: State = fold.state
        self._before = fold.version + len(history)
        for event in history:
            self._apply(event)

    @property
    def version(self) -> int:
        """Events applied so far."""
        return self._before + len(self.events)

    @property
    def context(self) -> Context:
        """A command of the test's."""
        now = self._setting.now
        return Context(command_id="test", correlation_id="test", caller=self._setting.caller,
                       deadline=now + timedelta(seconds=10), now=now,
                       scheduled_for=self._setting.scheduled_for)  # fmt: skip

    @property
    def resources(self) -> Any:
        """What the test gave."""
        if self._setting.resources is None:
            raise RuntimeError("self.resources needs what a lifespan makes: given(..., resources=...)")
        return self._setting.resources

    def emit(self, event: object) -> None:
        """Apply it, as a runtime does."""
        self._check_runs("an event can only be emitted", "emitted an event")
        if self._policy is not None:
            raise self._policy.refusal(self._actor_id)
        if self.broken is not None:
            raise self.broken
        try:
            same = self._apply(event)
            self.events.append(same)
            for policy in self._actor_type.event_type_of(same).policies:
                self._policy = policy
                policy.run(same, self._actor_id, self.state, self)
        except BaseException as error:
            self.broken = error
            raise
        finally:
            self._policy = None

    def ask(self, kind: Any, key: str) -> Any:
        """Raises: there is no other actor here."""
        if self._policy is not None:
            raise self._policy.refusal(self._actor_id)
        raise RuntimeError("given() runs one actor alone: test what it asks of others with aether.testing.local_pool")

    def tell(self, kind: str, command: str, key: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Keep it: there is no other actor here."""
        self._check_runs("something can only be told", "told something")
        if self._policy is not None:
            self._policy.check_tell(kind, command)
        self._check_args(kind, key, command, args, kwargs)
        self.tells.append(Told(kind, key, command, args, dict(kwargs)))

    def schedule(
        self, name: str, when: When, to: ActorCommand, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Keep it: no time passes here."""
        self._check_runs("a schedule can only be set", "set a schedule")
        if self._policy is not None:
            self._policy.check_tell(to.kind, to.command)
        self._check_args(to.kind, to.key, to.command, args, kwargs)
        when.first(self._setting.now)
        self.schedules.pop(name, None)
        self.schedules[name] = Scheduled(name, when, Told(to.kind, to.key, to.command, args, dict(kwargs)))

    def cancel_schedule(self, name: str) -> None:
        """Keep it."""
        self._check_runs("a schedule can only be cancelled", "cancelled a schedule")
        self.schedules.pop(name, None)
        self.cancelled_schedules.append(name)

    def start_task(self, call: TaskCall[Any], then: str, failed: str) -> str:
        """Keep it: no task runs here. The ids count from `test-task-1`."""
        self._check_runs("a task can only be started", "started a task")
        if self._setting.model is not None:
            task_type = self._setting.model.task_type(call.task)
            task_type.encode_args(call.args, call.kwargs)
            check_takes_what_comes(task_type, then, failed, lambda name: declared_command(self._actor_type, name))
        self.tasks.append(Started(call.task.name, call.args, call.kwargs, then, failed))
        return f"test-task-{len(self.tasks)}"

    def cancel_task(self, task_id: str) -> None:
        """Keep it."""
        self._check_runs("a task can only be cancelled", "cancelled a task")
        self.cancelled.append(task_id)

    def _check_runs(self, what: str, done: str) -> None:
        if self.running is None:
            raise RuntimeError(f"{what} by a running command handler")
        if self.running.query:
            raise ActorFailed(f"the query {self.running.name} {done}")

    def _check_args(self, kind: str, key: str, command: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """What is sent has to be for an actor that can be, and what the model's command takes."""
        actor_id = ActorId(kind, key)
        if self._setting.model is not None:
            target = self._setting.model.actor_type(actor_id.kind)
            declared_command(target, command).encode_args(args, kwargs)

    def _apply(self, event: object) -> object:
        same = self._actor_type.event_type_of(event).encode_checked(event)[1]
        self.state = self._actor_type.evolve(self.state, same)
        return same


def declared_command(actor_type: ActorType, name: str) -> DeclaredCommand:
    """A command of the actor by its name. Raises `UnknownCommand`."""
    found = actor_type.commands.get(name)
    if found is None:
        kind, known = actor_type.kind, ", ".join(sorted(actor_type.commands))
        raise UnknownCommand(f"{kind} has no command {name!r}; it has: {known}", kind=kind, command=name)
    return found


def waited(result: Any) -> Any:
    """What an asynchronous handler gives; it runs in an event loop of its own, beside the test's if there is one."""
    if not hasattr(result, "__await__"):
        return result

    async def awaited() -> Any:
        return await result

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(awaited())
    return _in_thread(awaited())


def _in_thread(work: Coroutine[Any, Any, Any]) -> Any:
    ended: list[tuple[Any, BaseException | None]] = []

    def run() -> None:
        try:
            ended.append((asyncio.run(work), None))
        except BaseException as error:
            ended.append((None, error))

    thread = threading.Thread(target=run, name="aether given")
    thread.start()
    thread.join()
    [(result, error)] = ended
    if error is not None:
        raise error
    return result
