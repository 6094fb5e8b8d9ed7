"""What a machine's state reaches of it: the `Scope` of its actor's handlers.

A state is given its machine when it is made and keeps it. What a handler does through it is done by the turn that is
open; without one there is nothing to do it in. It changes nothing of the machine.
"""

from collections.abc import Mapping
from typing import Any

from aether.core.actor.lifecycle import Phase
from aether.errors import Unavailable
from aether.ids import ActorId, Position
from aether.model.definition import ActorCommand, Context, State
from aether.model.proxy import ActorRef
from aether.model.schedules import When
from aether.model.tasks import TaskCall
from aether.runtime.fold import Fold
from aether.runtime.turn import Turn
from aether.runtime.worker_context import WorkerContext


class MachineScope:
    """The part of a `VirtualMachine` that `self.emit`, `self.context` and `self.version` reach, and what they read."""

    __slots__ = ("_fold", "_phase", "_turn", "_worker", "actor_id")

    def __init__(self, actor_id: ActorId, worker: WorkerContext) -> None:
        self.actor_id = actor_id
        self._worker = worker
        self._phase = Phase.REPLAYING
        self._fold: Fold | None = None
        self._turn: Turn | None = None

    # ------------------------------------------------------------------------------------------ what is so now

    @property
    def stopped(self) -> bool:
        """Whether the machine has ended; another one may serve the actor."""
        return self._phase is Phase.STOPPED

    @property
    def fold(self) -> Fold:
        """The fold of the history, with the state of an open turn.

        Raises `Unavailable` before the first replay and when the machine has ended.
        """
        if self._fold is None:
            what = "is not active any more" if self.stopped else "has not been replayed yet"
            raise Unavailable(f"{self.actor_id} {what}")
        return self._fold

    @property
    def state(self) -> State:
        """The actor's state now, events of an open turn included. Do not change it."""
        return self.fold.state

    @property
    def version(self) -> int:
        """Events applied so far, those of an open turn included."""
        turn = self._turn  # read once: a blocking handler asks from its thread
        return turn.draft.version if turn is not None else self.fold.version

    @property
    def position(self) -> Position:
        """The position of the last commit."""
        return self.fold.position

    @property
    def context(self) -> Context:
        """The command that runs now. Raises RuntimeError outside a handler."""
        turn = self._turn
        if turn is None:
            raise RuntimeError("there is no command to tell of outside a command handler")
        return turn.context

    @property
    def resources(self) -> Any:
        """What the model's lifespan made in this worker. Raises RuntimeError without one."""
        lifespan = self._worker.lifespan
        if lifespan is None:
            raise RuntimeError("self.resources needs a lifespan, which makes them: Model(..., lifespan=...)")
        return lifespan.resources

    # ------------------------------------------------------------------------------------------ what a handler does

    def emit(self, event: object) -> None:
        """Record the event and apply it at once. Raises `ActorFailed` in a query or for an event without a handler."""
        turn = self._turn  # without `_open_turn`: this runs for every event
        if turn is None:
            raise RuntimeError("an event can only be emitted by a running command handler")
        turn.emit(event)

    def ask(self, kind: ActorRef, key: str) -> Any:
        """A proxy of another actor. Raises `ActorFailed` in a handler that cannot await, RuntimeError outside."""
        return self._open_turn("another actor can only be asked").ask(kind, key)

    def tell(self, kind: str, command: str, key: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Tell another actor something, once this command is stored. See `Turn.tell`."""
        self._open_turn("something can only be told").tell(kind, command, key, args, kwargs)

    def schedule(
        self, name: str, when: When, to: ActorCommand, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Have a command run at a time. See `Turn.schedule`."""
        self._open_turn("a schedule can only be set").schedule(name, when, to, args, kwargs)

    def cancel_schedule(self, name: str) -> None:
        """Have no further ticks of a schedule. See `Turn.cancel_schedule`."""
        self._open_turn("a schedule can only be cancelled").cancel_schedule(name)

    def start_task(self, call: TaskCall[Any], then: str, failed: str) -> str:
        """Have a task run, once this command is stored. See `Turn.start_task`."""
        return self._open_turn("a task can only be started").start_task(call, then, failed)

    def cancel_task(self, task_id: str) -> None:
        """Want no result of a task any more. See `Turn.cancel_task`."""
        self._open_turn("a task can only be cancelled").cancel_task(task_id)

    def _open_turn(self, what: str) -> Turn:
        turn = self._turn
        if turn is None:
            raise RuntimeError(f"{what} by a running command handler")
        return turn
