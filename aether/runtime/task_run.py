"""One start of a task on this worker: its attempt, and what becomes of it.

The number of an attempt is how often the server has handed the start out, less how often a worker has given it back: so
an attempt that took its worker with it counts, too, and a function that ends workers is given up in the end.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from msgspec.json import encode
from msgspec.structs import replace

from aether.core.backoff import Backoff
from aether.errors import AetherError, InvalidCommand, Unavailable, UnknownActor, UnknownCommand
from aether.log_lines import type_name, words
from aether.model.task_type import TaskType
from aether.model.tasks import TaskContext, TaskFailed
from aether.ports import TaskClaim
from aether.runtime import task_apart
from aether.runtime.failures import note_task_failure
from aether.runtime.task_apart import APART_AGAIN_S, LOST_MAX
from aether.runtime.task_call import Stopped, call
from aether.runtime.task_notes import GIVEN_UP, RUNS, WAITS, TaskNote, decode_note, encode_note, note_of, said
from aether.runtime.task_store import known_note, store_result
from aether.runtime.task_worker import TaskWorker
from aether.sends import BY_ACTOR, StartTask
from aether.tracing.spans import SpanKind, attributes_of, ended
from aether.waiting_tells import RunningTask
from aether.wire import instant

WORKER_LOST = "WorkerLost"
CANCELLED = "TaskCancelled"

UNKNOWN_AGAIN_S = 1.0
"""When a start is handed out again of which it cannot be read how often it has failed."""

ANOTHER_VERSION_S = 1.0
"""When a start is handed out again that this worker's model does not take, and another version of it may."""

log = logging.getLogger("aether.tasks")


class TaskRun:
    """One start on this worker, from its claim to its end. `claim` is the last one, if it was handed out again."""

    __slots__ = ("_attempt", "_began_s", "_called", "_given_back", "_note", "_stop", "_traceparent", "_worker",
                 "claim", "done", "left", "put_off", "start", "task_type")  # fmt: skip

    def __init__(self, worker: TaskWorker, task_type: TaskType, start: StartTask, claim: TaskClaim) -> None:
        self.task_type = task_type
        self.start = start
        self.claim = claim
        self.done = False
        """Whether it is over for good."""
        self.put_off = False
        """Whether it is to be handed out again."""
        self.left = False
        """Whether its function runs no more, which may be after the end of `live`."""
        self._worker = worker
        self._attempt = claim.deliveries
        self._began_s = worker.clock.boot_s()
        self._note: TaskNote | None = None
        self._traceparent = start.traceparent
        self._given_back = False
        self._called = False
        self._stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def cancel(self) -> None:
        """Its actor or an operator has cancelled the task: the function is stopped."""
        self._end_call()

    def line(self) -> RunningTask:
        """What a worker tells of it."""
        return RunningTask(
            id=self.start.id,
            task=self.task_type.name,
            actor=str(self.start.actor_id),
            attempt=self._attempt,
            runs_s=self._worker.clock.boot_s() - self._began_s,
        )

    def keep(self) -> None:
        """Say that it is still worked at, if it is: what was put off would be handed out again too soon."""
        if not self.put_off:
            self._worker.tasks.keep(self.claim)

    def give_back(self) -> None:
        """The worker leaves: the function is stopped, and another worker begins it anew."""
        self._given_back = True
        self._end_call()

    async def live(self) -> None:
        """All of it. Raises nothing but CancelledError."""
        try:
            await self._live()
        except Exception as error:  # what is neither done nor put off is handed out again
            unexpected = None if isinstance(error, AetherError) else error
            extra = {**self._fields(), "error": words(error)}
            log.warning("the outcome of a task could not be stored now", exc_info=unexpected, extra=extra)
            self._again(UNKNOWN_AGAIN_S)
        finally:
            self._worker.apart.end(self)
            if not self._called:
                self._leave()

    async def _live(self) -> None:
        start, retry = self.start, self.task_type.retry
        if self.claim.deliveries > 1:
            self._note = await known_note(self._worker, start.id, self._leaves)
            if self._note is not None:
                self._attempt = max(1, self._attempt - self._note.given_back)  # a consumer may count anew
        note = self._note
        if self._worker.cancelled(start.id):
            await self._cancelled()
        elif note is not None and note.state == GIVEN_UP:  # by a worker that could not tell its actor
            await self._give_up(TaskFailed(note.error, note.error_type, note.attempt))
        elif self._attempt > retry.attempts:
            if self._attempt == retry.attempts + 1 and note is not None and note.state == RUNS:
                self._again(self._worker.ttl_s)  # two may have asked to try it again at once:
                return  # where its last attempt goes on, its worker keeps the start from being handed out then
            failed = TaskFailed("its worker was lost each time, or could not keep it", WORKER_LOST, retry.attempts)
            if note is not None and note.error:  # what was only given back has no error
                failed = TaskFailed(note.error, note.error_type, retry.attempts)
            await self._give_up(failed)
        else:
            await self._try()

    async def _try(self) -> None:
        if not await self._may_be_called():
            await self._hand_back(APART_AGAIN_S * (1 - self._worker.jitter()))
            return
        tracing, start = self._worker.tracing, self.start
        if tracing is None:
            await self._attempt_now()
            return
        attributes = attributes_of(str(start.actor_id), self.start.then, start.causationid)
        attributes |= {"aether.task": start.task, "aether.task_id": start.id, "aether.attempt": self._attempt}
        span = tracing.span(f"task {start.task}", SpanKind.CONSUMER, attributes, parent=start.traceparent)
        self._traceparent = span.traceparent
        with ended(span):
            error = await self._attempt_now()
            if error is not None:
                span.raised(error)

    async def _may_be_called(self) -> bool:
        """Whether it may run now: of those that have lost several workers in a row, one may at a time."""
        failed = self._note.attempt if self._note is not None else 0
        if self._attempt - 1 - failed < LOST_MAX:
            return True
        if not self._worker.apart.begin(self, self._worker.clock.boot_s()):
            return False
        log.warning("a task that has lost several workers runs apart from others like it", extra=self._fields())
        await task_apart.settled(self._worker.clock, self._stop)
        return True

    async def _attempt_now(self) -> BaseException | None:
        """Call the function, and see to what comes of it; what it raised."""
        worker, start = self._worker, self.start
        try:
            arguments = self._arguments()
        except BaseException as error:  # users' code, too: it makes the arguments
            await self._untaken(error)
            return error
        try:
            resources = worker.resources()
        except RuntimeError:  # the lifespan has ended, and the worker ends with it
            await self._hand_back(UNKNOWN_AGAIN_S)
            return None
        if self._note is not None:
            await self._write_runs(self._note)
        deadline = instant(worker.clock.wall_s() + self.task_type.timeout_s)
        context = TaskContext(
            task_id=start.id,
            attempt=self._attempt,
            actor_id=start.actor_id,
            resources=resources,
            deadline=deadline,
            correlation_id=start.correlationid,
            traceparent=self._traceparent,
        )
        self._called = True
        called = await call(
            self.task_type,
            context,
            arguments,
            fields=self._fields(),
            threads=worker.threads,
            stop=self._stop,
            grace_s=worker.config.cancel_grace_s,
            left=self._leave,
        )
        if called.error is None:
            await self._succeeded(called.raw)
        elif not isinstance(called.error, Stopped):
            await self._failed(called.error, returned=called.returned)
        elif worker.cancelled(start.id):
            self._attempt_over("cancelled")
            await self._cancelled()
        else:
            await self._hand_back()
        return called.error

    def _arguments(self) -> Any:
        """The function's arguments. Raises why this worker's model cannot run it, or would not take its result."""
        start = self.start
        if start.then:
            self._worker.command_type(start.actor_id.kind, start.then)
        return self.task_type.decode_args(bytes(start.args))

    # ------------------------------------------------------------------------------------------ what becomes of it

    async def _untaken(self, error: BaseException) -> None:
        """The model does not take the start: nothing is called. Another version of it may, while one is there."""
        if self._is_for_another_version(error):
            await self._hand_back(ANOTHER_VERSION_S)
            return
        if isinstance(error, InvalidCommand):
            what = f"the task {self.start.task} does not take the arguments that it was started with"
            error = InvalidCommand(f"{what}: {error}")
        await self._failed(error)

    def _is_for_another_version(self, error: BaseException) -> bool:
        if not isinstance(error, UnknownActor | UnknownCommand | InvalidCommand):
            return False
        return isinstance(self._worker.foreign(error), Unavailable)

    async def _succeeded(self, raw: bytes) -> None:
        try:
            args = self._args_of(self.start.then, self.task_type.decode_result(raw))
        except InvalidCommand as error:  # not the command's argument after all
            what = f"the command {self.start.then} does not take what the task {self.start.task} has returned"
            await self._failed(InvalidCommand(f"{what}: {error}"), returned=True)
            return
        except BaseException as error:  # users' code, which makes the argument
            await self._failed(error, returned=True)
            return
        try:
            sent = await self._tell(self.start.then, args)
        except InvalidCommand as error:  # too large
            what = f"what the task {self.start.task} has returned is too large"
            await self._failed(InvalidCommand(f"{what}: {error}"), returned=True)
            return
        if sent:
            self._attempt_over("ok")
            self._over("ok")
            await self._forget()

    async def _failed(self, error: BaseException, *, returned: bool = False) -> None:
        """An attempt has failed. A function that has `returned` has done its work, and is not called again."""
        worker, retry, said_of, name = self._worker, self.task_type.retry, said(error), type_name(error)
        log.warning("a task failed", exc_info=error, extra=self._fields())
        note_task_failure(worker.counters.failures, self.start, error, said_of, worker.clock.wall_s())
        over = returned or self._attempt >= retry.attempts
        if not over:
            backoff = Backoff(first_s=retry.first_s, cap_s=retry.cap_s)
            delay_s = backoff.delay_s(self._attempt - 1, self._worker.jitter())
            await self._write(said_of, name, delay_s)
            # Who has cancelled it meanwhile may have found nothing that waits.
            self._again(0.0 if worker.cancelled(self.start.id) else delay_s)
        self._attempt_over("timed_out" if name == "TimeoutError" else "failed")
        if over:
            await self._give_up(TaskFailed(said_of, name, self._attempt))

    async def _give_up(self, failed: TaskFailed) -> None:
        if self._note is None or self._note.state != GIVEN_UP:
            await self._write(failed.message, failed.error_type, None)  # first: from here on no worker calls it
        if await self._tell_failed(failed):
            self._over("given_up")
            log.error("a task is given up", extra={**self._fields(), "error": failed.message})

    async def _cancelled(self) -> None:
        if self._worker.cancelled(self.start.id) != BY_ACTOR:
            tried = self._attempt if self._called else self._attempt - 1
            failed = TaskFailed("an operator has cancelled it", CANCELLED, tried)
            if not await self._tell_failed(failed):
                return
        self._over("cancelled")
        await self._forget()

    async def _tell_failed(self, failed: TaskFailed) -> bool:
        """Tell the actor; a command that does not take it, or is not there any more, makes that tell a dead letter."""
        command = self.start.failed
        try:
            args = self._args_of(command, failed)
        except BaseException as error:  # users' code, too: it makes the argument
            if self._is_for_another_version(error):
                self._again(ANOTHER_VERSION_S)
                return False
            log.error("no command takes the failure of a task", extra={**self._fields(), "error": words(error)})
            args = encode({"failed": failed})
        return await self._tell(command, args)

    async def hand_back(self) -> None:
        """It was taken by a worker that leaves: others run it, and that is no attempt. Raises `Unavailable`."""
        if self.claim.deliveries > 1:
            self._note = decode_note(await self._worker.tasks.row(self.start.id))
        await self._hand_back()

    async def _hand_back(self, delay_s: float = 0.0) -> None:
        note = replace(note_of(self.start, self._note), attempts=self.task_type.retry.attempts)
        self._attempt_over("given_back")
        with suppress(AetherError):
            state = GIVEN_UP if note.state == GIVEN_UP else WAITS
            note = replace(note, state=state, given_back=note.given_back + 1, next_s=0.0, token="")
            await self._worker.tasks.write_row(self.start.id, encode_note(note))
        self._again(delay_s)

    def _again(self, delay_s: float) -> None:
        """Have it handed out again after a while. To be done last: it is not ours from here on."""
        self.put_off = True
        self._worker.tasks.again(self.claim, delay_s)

    def _attempt_over(self, outcome: str) -> None:
        self._worker.counters.of_attempt(self.task_type.name, outcome)

    def _over(self, outcome: str) -> None:
        self.done = True
        self._worker.tasks.done(self.claim)
        self._worker.counters.of_task(self.task_type.name, outcome)

    # ------------------------------------------------------------------------------------------ what is stored

    def _args_of(self, command: str, argument: Any) -> bytes:
        """What a command of the actor is told with. Raises `UnknownActor`, `UnknownCommand`, `InvalidCommand`."""
        if not command:
            return b"{}"
        return self._worker.command_type(self.start.actor_id.kind, command).encode_args((argument,), {})

    async def _tell(self, command: str, args: bytes) -> bool:
        """Tell its actor; False when the worker has to leave before that is stored. Raises `InvalidCommand`."""
        traceparent, fields = self._traceparent, self._fields()
        if not await store_result(self._worker, self.start, command, args, traceparent, fields, self._leaves):
            self._again(0.0)
            return False
        return True

    def _leaves(self) -> bool:
        return self._given_back

    async def _write(self, error: str, error_type: str, delay_s: float | None) -> None:
        """Write down that it has failed; that it cannot be written is no reason not to go on."""
        now_s = self._worker.clock.wall_s()
        note = replace(
            note_of(self.start, self._note),
            state=GIVEN_UP if delay_s is None else WAITS,
            attempt=self._attempt,
            attempts=self.task_type.retry.attempts,
            error=error,
            error_type=error_type,
            at_s=now_s,
            next_s=0.0 if delay_s is None else now_s + delay_s,
            token=self.claim.token,
        )
        await self._write_note(note)

    async def _write_runs(self, note: TaskNote) -> None:
        """Write down that it does not wait any more: to hurry it now would have it run twice at once."""
        await self._write_note(replace(note, state=RUNS, next_s=0.0))

    async def _write_note(self, note: TaskNote) -> None:
        try:
            await self._worker.tasks.write_row(self.start.id, encode_note(note))
        except AetherError as unwritten:
            log.info("a task's failure could not be stored", extra={**self._fields(), "error": words(unwritten)})

    async def _forget(self) -> None:
        """It is over: nothing has to be known of it, but for a while that it was cancelled."""
        tasks, task_id = self._worker.tasks, self.start.id
        if self._note is not None:
            with suppress(AetherError):
                await tasks.drop_row(task_id)
        if reason := self._worker.cancelled(task_id):
            with suppress(AetherError):
                await tasks.end_cancelled(task_id, reason)

    def _end_call(self) -> None:
        if not self._stop.done():
            self._stop.set_result(None)

    def _leave(self) -> None:
        self.left = True
        self._worker.left(self)

    def _fields(self) -> dict[str, str]:
        start = self.start
        return {
            "actor": start.source,
            "task": start.task,
            "task_id": start.id,
            "attempt": str(self._attempt),
            "command_id": start.causationid,
            "correlation_id": start.correlationid or start.causationid,
        }
