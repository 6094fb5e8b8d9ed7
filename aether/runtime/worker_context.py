"""What a virtual machine may touch of its worker, and nothing else.

One object a runtime, shared by all its machines, so that a machine itself stays small.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from aether.config import RuntimeConfig
from aether.core.health import Health, Need
from aether.errors import ActorFailed, AetherError, InvalidCommand, Overloaded, Rejected, Unavailable
from aether.ids import ActorId
from aether.log_lines import Repeated, words
from aether.model.definition import DeclaredCommand
from aether.model.task_type import TaskType
from aether.model.tasks import Task
from aether.ports import Clock, Delivery, HandlerNote, Lease, Unknown, WorkerNote
from aether.runtime.admission import Admission
from aether.runtime.asks import Asks
from aether.runtime.committer import Committer
from aether.runtime.counters import Counters
from aether.runtime.failures import note_failure
from aether.runtime.handler_failure import encode_failure
from aether.runtime.pending_command import PendingCommand
from aether.runtime.pipeline import CommandPipeline, OutgoingAnswer
from aether.runtime.protocols import Machine, RunningTurn
from aether.runtime.replay import Replayer
from aether.runtime.running import running
from aether.runtime.snapshots import SnapshotWriter
from aether.runtime.state_checker import CheckBudget
from aether.runtime.telling import Telling
from aether.wire import Command, instant

log = logging.getLogger("aether.worker")


def _no_model(kind: str, command: str) -> DeclaredCommand:
    raise Unavailable(f"there is no model that has {command} of {kind}")


def _no_task(task: Task[..., Any]) -> TaskType:
    raise Unavailable(f"there is no model that has {task.name}")


Spawn: TypeAlias = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]
"""Starts a task that the runtime owns, and gives it back to who wants to wait for it."""


SAME_TIME_S = 0.001
"""Commands that begin within so many seconds have the same time: making a datetime costs more than reading a clock."""

UNANSWERED_IN_ROW_MAX = 4
"""After so many appends without an answer and none that was stored between the worker says that it is not ready."""


class Resources(Protocol):
    """The lifespan of the worker's model."""

    @property
    def resources(self) -> Any:
        """What it made. Raises RuntimeError when it has ended."""
        ...


class DetachedHandler:
    """A handler that goes on although its turn is over: until it ends, its actor runs no other on this worker."""

    __slots__ = ("command", "given_up")

    def __init__(self, command: str) -> None:
        self.command = command
        self.given_up = False

    def refusal(self, actor_id: ActorId) -> AetherError:
        """What a command for the actor hears: to ask again, or that it failed when the handler was given up."""
        text = f"{actor_id} still runs {self.command}, whose caller has been answered"
        return ActorFailed(text, actor=str(actor_id)) if self.given_up else Unavailable(text)


class WorkerContext:
    """The worker as its machines see it. `discard` takes a stopped machine out of the registry.

    `telling` is None where nothing can be told; `command_type` gives a command of the model by kind and name, and
    `task_type` one of its tasks.
    `retry_delay_s` gives the seconds to wait before a replay is tried again, by the number of tries before, from 0.

    It does the work of the pipeline's stages `turns`, `drafts` and `answers`.
    """

    def __init__(
        self,
        *,
        namespace: str,
        config: RuntimeConfig,
        clock: Clock,
        lease: Lease,
        pipeline: CommandPipeline,
        committer: Committer,
        replayer: Replayer,
        snapshots: SnapshotWriter,
        counters: Counters,
        commit_bytes_max: int,
        retry_delay_s: Callable[[int], float],
        spawn: Spawn,
        discard: Callable[[Any], None],
        threads: Executor,
        health: Health,
        deployment: Callable[[], str],
        asks: Asks,
        note: WorkerNote | None = None,
        lifespan: Resources | None = None,
        telling: Telling | None = None,
        command_type: Callable[[str, str], DeclaredCommand] = _no_model,
        task_type: Callable[[Task[..., Any]], TaskType] = _no_task,
    ) -> None:
        self.namespace = namespace
        self.config = config
        self.clock = clock
        self.lease = lease
        # Bound once: they are called for every command, and a method of a protocol is looked up at each call.
        self.wall_s = clock.wall_s
        self._boot_s = clock.boot_s
        self._lease_valid = lease.valid
        self.pipeline = pipeline
        self.mailbox_max = config.mailbox_max
        self.admission = Admission(config.waiting_max, counters)
        self.committer = committer
        self.replayer = replayer
        self.snapshots = snapshots
        self.counters = counters
        self.commit_bytes_max = commit_bytes_max
        self.retry_delay_s = retry_delay_s
        self.spawn = spawn
        self.discard = discard
        self.threads = threads
        self.health = health
        self.asks = asks
        self._deployment = deployment
        self.unsure = False
        """Whether the last append was refused or has no known outcome: then a stored one is news."""
        self._unanswered_in_row = 0
        self._unread = Repeated(log, logging.INFO, "histories cannot be read now")
        self._unknown_outcomes = Repeated(log, logging.WARNING, "appends have no known outcome")
        self.note: HandlerNote | None = None if note is None else note.loop
        self.notes = note
        self.lifespan = lifespan
        self.telling = telling
        self.command_type = command_type
        self.task_type = task_type
        self._time_s = 0.0
        self._time: datetime = instant(0.0)
        self.check_budget = CheckBudget(config.state_checks_share, clock.boot_s)
        self.loop = asyncio.get_running_loop()
        self.activations = asyncio.Semaphore(config.activations_max)
        self.detached: dict[ActorId, DetachedHandler] = {}
        pipeline.turns.bind(_run_turns)
        pipeline.drafts.bind(self._finish_turns)
        pipeline.answers.bind(self._send_answers)

    def _finish_turns(self, turns: list[RunningTurn]) -> None:
        if not turns:
            return
        now_s = self.clock.wall_s()
        for turn in turns:
            try:
                turn.finish(now_s)
            except BaseException as error:  # one turn's fault must not keep the others from committing
                turn.fault(error)

    def time_of(self, wall_s: float) -> datetime:
        """The time of a reading of the clock, Unix seconds: up to `SAME_TIME_S` earlier. On the event loop only."""
        if not 0.0 <= wall_s - self._time_s < SAME_TIME_S:
            self._time_s, self._time = wall_s, instant(wall_s)
        return self._time

    def hold(self, actor_id: ActorId, command: str) -> DetachedHandler:
        """Run nothing of the actor until its handler of this command has ended: see `let_go`."""
        return self.detached.setdefault(actor_id, DetachedHandler(command))

    def let_go(self, actor_id: ActorId) -> None:
        """The handler has ended."""
        self.detached.pop(actor_id, None)

    def note_late(self, actor_id: ActorId, pending: PendingCommand) -> None:
        """Count and log, once for a command, that its handler was still at work at its deadline."""
        if pending.late:
            return
        pending.late = True
        self.counters.handlers_late += 1
        pending.counts.late += 1
        extra = {"actor": str(actor_id), "command": pending.type.name, "command_id": pending.id}
        log.warning("a handler is past its deadline", extra=extra)

    def note_state_changed(self, actor_id: ActorId, field: str) -> None:
        """Count and log that a state was found changed, and not by the latest command."""
        self.counters.states_changed += 1
        what = "a state was changed outside an event method by an earlier command or a task; it is rebuilt"
        log.error(what, extra={"actor": str(actor_id), "field": field})

    def failure(self, actor_id: ActorId, pending: PendingCommand, error: BaseException) -> bytes:
        """The answer to a command whose handler raised this error, which is counted and logged."""
        self._remember(actor_id, pending.command, error)
        return encode_failure(error, pending, actor_id, self.counters)

    def note_failure(self, actor_id: ActorId, command: Command, error: BaseException) -> None:
        """Remember a command that no handler failed, if its actor did. Never raises."""
        if not isinstance(error, Unavailable | Overloaded):  # which the pool lacks
            self._remember(actor_id, command, error)

    def _remember(self, actor_id: ActorId, command: Command, error: BaseException) -> None:
        rejected = isinstance(error, Rejected | InvalidCommand)
        remembered = self.counters.rejections if rejected else self.counters.failures
        note_failure(remembered, actor_id, command, error, self.clock.wall_s())

    def foreign(self, error: AetherError) -> AetherError:
        """What to say of what this worker's model does not know: while others run another model it is not final."""
        versions = self._deployment()
        if not versions:
            return error
        return Unavailable(f"{error.message}; a deployment is under way, and another version may know it ({versions})")

    def append_refused(self, reason: str) -> None:
        """The store takes no events now: until one is stored, or it says that it would take one, none is tried."""
        self.counters.appends_refused += 1
        self.unsure = True
        self.health.wrong(Need.APPENDS, reason)

    def append_unknown(self, actor_id: ActorId, outcome: Unknown) -> None:
        """An append has no known outcome; so many in a row and the store counts as one that does not answer."""
        self.counters.unknown_outcomes += 1
        self.unsure = True
        self._unknown_outcomes.again(actor=str(actor_id), reason=outcome.reason)
        self._unanswered_in_row += outcome.unanswered
        if self._unanswered_in_row >= UNANSWERED_IN_ROW_MAX:
            self.health.wrong(Need.ANSWERS, outcome.reason)

    def unread(self, actor_id: ActorId, why: Unavailable) -> None:
        """A history cannot be read now; when that is because its stream is gone, nothing can be stored either."""
        self._unread.again(actor=str(actor_id), error=words(why))
        if why.details.get("gone"):
            self.unsure = True
            self.health.wrong(Need.APPENDS, words(why))

    def append_stored(self) -> None:
        """The first append after some that were not."""
        self.unsure = False
        self._unanswered_in_row = 0
        self._unknown_outcomes.over()
        self.health.well(Need.APPENDS)
        self.health.well(Need.ANSWERS)

    def owns(self, shard: int) -> bool:
        """Whether the shard's lease is valid at this instant: without it no command is run."""
        return self._lease_valid(shard, self._boot_s())

    def respond(self, delivery: Delivery, answer: bytes, measured: PendingCommand | None = None) -> None:
        """Send an answer if the shard's lease is valid at this instant, else drop it: the client retries.

        The time of the command `measured` ends with it.

        The reply fence. It is called in the same synchronous step in which the state was read or the commit became
        known, so a stale owner never answers. While the pipeline runs that step goes on until all of its answers
        are looked at. Never raises: an answer that cannot leave must not stop its machine.
        """
        one = OutgoingAnswer(delivery, answer, measured)
        if self.pipeline.running:
            self.pipeline.answers.add(one)
        else:
            self._send_answers([one])

    def _send_answers(self, answers: list[OutgoingAnswer]) -> None:
        if not answers:
            return
        valid, now_s = self._lease_valid, self._boot_s()
        for one in answers:
            delivery = one.delivery
            try:
                if valid(delivery.shard, now_s):
                    self.counters.answers += 1
                    delivery.respond(one.answer)
                    measured = one.measured
                    if measured is not None:
                        measured.counts.seconds.observe(now_s - measured.arrived_s)
                else:
                    self.counters.answers_fenced += 1
            except BaseException:  # it was not sent: the caller asks again
                log.exception("an answer could not be sent", extra={"actor": str(delivery.actor_id)})


def _run_turns(machines: list[Machine]) -> None:
    for machine in machines:
        try:
            machine.run_turn()
        except BaseException as error:  # one machine's fault must not keep the others from their turns
            machine.fault(error)
    running.set(None)
