"""What a virtual machine may touch of its worker, and nothing else.

One object a runtime, shared by all its machines, so that a machine itself stays small.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeAlias

from aether.core.backoff import Backoff
from aether.errors import ActorFailed, AetherError, InvalidCommand, Overloaded, Rejected, Unavailable
from aether.ids import ActorId
from aether.log_lines import Repeated, words
from aether.model.definition import DeclaredCommand
from aether.model.task_type import TaskType
from aether.model.tasks import Task
from aether.ports import Delivery, HandlerNote
from aether.runtime.admission import Admission
from aether.runtime.asks import Asks
from aether.runtime.committer import Committer
from aether.runtime.failures import note_failure
from aether.runtime.handler_failure import encode_failure
from aether.runtime.lifespan import Lifespan
from aether.runtime.pending_command import PendingCommand
from aether.runtime.pipeline import CommandPipeline, OutgoingAnswer
from aether.runtime.protocols import Machine, RunningTurn
from aether.runtime.replay import Replayer
from aether.runtime.running import running
from aether.runtime.snapshots import SnapshotWriter
from aether.runtime.state_checker import CheckBudget
from aether.runtime.store_health import StoreHealth
from aether.runtime.surroundings import Surroundings
from aether.runtime.telling import Telling
from aether.wire import Command, instant

log = logging.getLogger("aether.worker")


Spawn: TypeAlias = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]
"""Starts a task that the runtime owns, and gives it back to who wants to wait for it."""


SAME_TIME_S = 0.001
"""Commands that begin within so many seconds have the same time: making a datetime costs more than reading a clock."""


class DetachedHandler:
    """A handler that goes on although its turn is over: until it ends, its actor runs no other on this worker."""

    __slots__ = ("command", "given_up")

    def __init__(self, command: str) -> None:
        self.command = command
        self.given_up = False

    def refusal(self, actor_id: ActorId) -> AetherError:
        """What a command for the actor hears: to ask again, or that it failed when the handler was given up."""
        later = self.later(actor_id)
        return ActorFailed(later.message, actor=str(actor_id)) if self.given_up else later

    def later(self, actor_id: ActorId) -> AetherError:
        """What a tell for the actor hears: it has not failed, and waits."""
        return Unavailable(f"{actor_id} still runs {self.command}, whose caller has been answered")


class WorkerContext:
    """The worker as its machines see it. `discard` takes a stopped machine out of the registry.

    `telling` is None where nothing can be told; `command_type` gives a command of the model by kind and name, and
    `task_type` one of its tasks.

    It does the work of the pipeline's stages `turns`, `drafts` and `answers`.
    """

    def __init__(
        self,
        around: Surroundings,
        *,
        pipeline: CommandPipeline,
        committer: Committer,
        replayer: Replayer,
        snapshots: SnapshotWriter,
        asks: Asks,
        spawn: Spawn,
        discard: Callable[[Any], None],
        command_type: Callable[[str, str], DeclaredCommand],
        task_type: Callable[[Task[..., Any]], TaskType],
        lifespan: Lifespan | None,
        telling: Telling | None,
    ) -> None:
        config, clock, note = around.config, around.clock, around.note
        self.namespace = around.connection.namespace
        self.config = config
        self.clock = clock
        self.lease = around.lease
        # Bound once: they are called for every command, and a method of a protocol is looked up at each call.
        self.wall_s = clock.wall_s
        self._boot_s = clock.boot_s
        self._lease_valid = around.lease.valid
        self.pipeline = pipeline
        self.mailbox_max = config.mailbox_max
        self.admission = Admission(config.waiting_max, around.counters)
        self.committer = committer
        self.replayer = replayer
        self.snapshots = snapshots
        self.counters = around.counters
        self.commit_bytes_max = around.event_store.commit_bytes_max
        self.spawn = spawn
        self.discard = discard
        self.threads = ThreadPoolExecutor(config.blocking_threads_max, thread_name_prefix="aether handler")
        self.health = around.health
        self.store_health = StoreHealth(around.health, around.counters)
        self.asks = asks
        self.note: HandlerNote | None = None if note is None else note.loop
        self.notes = note
        self.lifespan = lifespan
        self.telling = telling
        self.command_type = command_type
        self.task_type = task_type
        self._around = around
        self._replay_again = Backoff(first_s=config.replay_retry_first_s, cap_s=config.replay_retry_max_s)
        self._time_s = 0.0
        self._time: datetime = instant(0.0)
        self.check_budget = CheckBudget(config.state_checks_share, clock.boot_s)
        self.loop = asyncio.get_running_loop()
        self.activations = asyncio.Semaphore(config.activations_max)
        self.detached: dict[ActorId, DetachedHandler] = {}
        self.zone_unknown = Repeated(log, logging.ERROR, "ticks of schedules wait: their time zone is not known here")
        self.armed_again = Repeated(log, logging.INFO, "schedules that are overdue are armed again")
        pipeline.turns.bind(_run_turns)
        pipeline.drafts.bind(self._finish_turns)
        pipeline.answers.bind(self._send_answers)

    @property
    def stale_s(self) -> float:
        """For so many seconds a read may be answered by a replaced leader, which lacks the last commits; mostly 0."""
        return self._around.inbox.scan_again_s if self._around.inbox is not None else 0.0

    def retry_delay_s(self, attempt: int) -> float:
        """Seconds to wait before a replay is tried again, by the number of tries before, from 0."""
        return self._replay_again.delay_s(attempt, self._around.jitter())

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
        versions = self._around.deployment()
        if not versions:
            return error
        return Unavailable(f"{words(error)}; a deployment is under way, and another version may know it ({versions})")

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
