"""A turn of one machine: runs the handlers of the commands that wait, and keeps what they decided.

Made when a turn begins, gone when it is over. It runs on the event loop; a synchronous handler runs within one step,
an asynchronous one holds the turn, and with it the actor. It never stores anything: its machine commits it. This is
the only place where users' command handlers run.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from aether.core.actor.agenda import is_bare_result
from aether.core.actor.commit_draft import CommitDraft, EmittedEvent, IdRetention
from aether.errors import (
    ActorFailed,
    AetherError,
    DeadlineExceeded,
    InvalidCommand,
    Rejected,
    StateChangedOutsideEvent,
    Unavailable,
)
from aether.model.definition import ActorCommand, Context, PolicyType
from aether.model.proxy import ActorRef
from aether.model.schedules import When, checked_name
from aether.model.tasks import TaskCall
from aether.ports import TellPlace
from aether.runtime.asks import refusal_to_ask
from aether.runtime.earlier_answer import earlier_answer
from aether.runtime.fold import Fold
from aether.runtime.handler import Handler
from aether.runtime.handler_task import HandlerResult
from aether.runtime.mailbox import Mailbox
from aether.runtime.pending_command import PendingCommand
from aether.runtime.protocols import Machine
from aether.runtime.running import running as running_command
from aether.runtime.sent_schedule import ScheduleSetting, is_too_late, next_setting, set_by, tick_for_another
from aether.runtime.sent_task import started_by
from aether.runtime.sent_tell import dead_letters, told_by
from aether.runtime.state_checker import StateChecker, changed_in_place
from aether.runtime.worker_context import WorkerContext
from aether.sends import SENDS_FORMAT, CancelSchedule, CancelTask, Send, SetSchedule, StartTask
from aether.wire import (
    DEAD_LETTERED_EVENT,
    HANDLED_EVENT,
    NULL,
    PARKED_EVENT,
    REFUSED_EVENT,
    TOLD_EVENT,
    Command,
    decided,
    encode_answer,
    encode_error,
    error_data,
    parked,
    without_details,
)

SendT = TypeVar("SendT", bound=Send)

log = logging.getLogger("aether.turn")

PARKED_MAX = 1_000
"""So many tells of an actor may be tried again beside those behind them; one more that fails holds them back."""

TURN_BYTES_MAX = 128 * 1024
"""A turn of several commands ends when its commit has grown to this; one command may take all the store allows."""


class Turn:
    """One turn. `rebuild` says that the state must be replayed after it: a handler was undone the slow way."""

    __slots__ = (
        "_awaited",
        "_broken",
        "_checkpoint",
        "_fold",
        "_handler",
        "_machine",
        "_mailbox",
        "_now",
        "_now_s",
        "_policy",
        "_reply",
        "_running",
        "_touched",
        "_worker",
        "draft",
        "inboxseq",
        "rebuild",
    )  # fmt: skip

    def __init__(self, machine: Machine, worker: WorkerContext, fold: Fold, mailbox: Mailbox) -> None:
        self.draft: CommitDraft[PendingCommand] = CommitDraft(machine.source, fold.version)
        self.rebuild = False
        self.inboxseq = fold.inboxseq
        """The last tell that is applied, or that the commit applies, by its sequence in the inbox."""
        self._machine = machine
        self._worker = worker
        self._fold = fold
        self._mailbox = mailbox
        self._running: PendingCommand | None = None
        self._reply = b""
        self._now_s = 0.0
        self._now: datetime | None = None
        self._handler: Handler | None = None
        self._awaited: PendingCommand | None = None
        self._broken: BaseException | None = None
        """Why nothing more can be emitted: an event has failed, or a policy runs."""
        self._policy: PolicyType | None = None
        self._checkpoint: object | None = None
        self._touched = False

    @property
    def awaits_handler(self) -> bool:
        """Whether an asynchronous handler runs, or one in a thread."""
        return self._handler is not None

    @property
    def context(self) -> Context:
        """The command that runs now. Raises RuntimeError outside a handler."""
        running = self._running or self._awaited
        if running is None:
            raise RuntimeError("there is no command to tell of outside a command handler")
        return running.context(self._time())

    def _time(self) -> datetime:
        """When the running command began: the time of its events."""
        now = self._now
        if now is None:
            now = self._now = self._worker.time_of(self._now_s)
        return now

    def emit(self, event: object) -> None:
        """Record the event and apply it at once. Raises `ActorFailed` in a query or for an event without a handler.

        An event that failed may be applied by half, so its command fails whatever the handler makes of the error.
        """
        running = self._running
        if running is None or running_command.get() is not running:  # a task that a handler left behind has its own
            raise RuntimeError("an event can only be emitted by the command handler that runs now")
        if self._broken is not None:
            raise self._broken
        try:
            self._apply(running, event)
        except BaseException as error:
            self._broken = error
            raise

    def _apply(self, running: PendingCommand, event: object) -> None:
        fold = self._fold
        if running.type.query:
            raise ActorFailed(f"the query {running.type.name} emitted an event", actor=str(self._machine.actor_id))
        actor_type = self._machine.actor_type
        event_type = actor_type.event_type_of(event)
        body, same = event_type.encode_checked(event)
        if not self._touched:
            self._checkpoint = actor_type.checkpoint(fold.state)
            self._touched = True
        fold.state = actor_type.evolve(fold.state, same)
        if fold.checker is not None:
            fold.checker.applied(event_type, body, event_type.schema_version)
        emitted = EmittedEvent(event_type.name, event_type.schema_version, body)
        handler = self._handler
        if handler is None or not handler.in_thread:
            self.draft.emit(emitted)
        else:
            with handler.lock:  # it may be left just now
                if self._running is not running:
                    raise RuntimeError("the handler's command is over: nothing of it is stored any more")
                self.draft.emit(emitted)
        if event_type.policies:
            self._react(event_type.policies, same)

    def _react(self, policies: Sequence[PolicyType], event: object) -> None:
        """Run the policies of an event that was applied. While one runs, nothing is emitted or asked."""
        actor_id = self._machine.actor_id
        try:
            for policy in policies:
                self._policy, self._broken = policy, policy.refusal(actor_id)
                policy.run(event, actor_id, self._fold.state, self._machine)
            self._broken = None
        finally:
            self._policy = None

    def ask(self, kind: ActorRef, key: str) -> Any:
        """A proxy of another actor. Raises `ActorFailed` in a handler that cannot await, RuntimeError outside."""
        running = self._running
        if running is None or running_command.get() is not running:
            raise RuntimeError("another actor can only be asked by the command handler that runs now")
        if self._broken is not None:
            raise self._broken
        if self._handler is None:
            raise refusal_to_ask(self._machine.actor_id, running.type)
        return self._handler.ask(kind, key, alone=not self.draft.replies)

    def tell(self, kind: str, command: str, key: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Tell an actor something, once the commit of this command is stored. Raises like `emit`, `InvalidCommand`."""
        if self._policy is not None:
            self._policy.check_tell(kind, command)
        to, actor_id = ActorCommand(kind, key, command), self._machine.actor_id
        self._send(lambda running: told_by(running, actor_id, self._worker, to, args, kwargs))

    def schedule(
        self, name: str, when: When, to: ActorCommand, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Have an actor run a command at a time, from the commit of this command on. Raises like `tell`."""
        if self._policy is not None:
            self._policy.check_tell(to.kind, to.command)
        actor_id, number, agenda = self._machine.actor_id, len(self.draft.sent or ()), self._fold.agenda

        def made(running: PendingCommand) -> SetSchedule:
            setting = ScheduleSetting(name, when, to, args, kwargs)
            return set_by(running, actor_id, self._worker, setting, self._time(), number=number, agenda=agenda)

        self._send(made)

    def cancel_schedule(self, name: str) -> None:
        """Have no further ticks of a schedule; one that is not there is let be. Raises RuntimeError outside."""
        agenda, sent = self._fold.agenda, self.draft.sent or ()
        is_open = agenda is not None and checked_name(name) in agenda.schedules
        if is_open or any(isinstance(one, SetSchedule) and one.name == name for one in sent):
            self._send(lambda _: CancelSchedule(name=name))

    def start_task(self, call: TaskCall[Any], then: str, failed: str) -> str:
        """Have a task run, once the commit of this command is stored; its id. Raises like `tell`."""
        machine, sent = self._machine, self.draft.sent
        number, agenda = len(sent or ()), self._fold.agenda
        start = self._send(
            lambda running: started_by(
                running, machine.actor_id, self._worker, call, then, failed, number=number, agenda=agenda
            )
        )
        return start.id

    def cancel_task(self, task_id: str) -> None:
        """Want no result of a task any more. One that is not open is let be. Raises RuntimeError outside a handler."""
        agenda = self._fold.agenda
        is_open = agenda is not None and task_id in agenda.tasks
        if is_open or any(isinstance(one, StartTask) and one.id == task_id for one in self.draft.sent or ()):
            self._send(lambda _: CancelTask(id=task_id))

    def _send(self, made: Callable[[PendingCommand], SendT]) -> SendT:
        """Add what is made for the running command to what it sends. Raises RuntimeError outside its handler."""
        running = self._running
        if running is None or running_command.get() is not running:
            raise RuntimeError("only the command handler that runs now can send something")
        send = made(running)
        handler = self._handler
        if handler is None or not handler.in_thread:
            self.draft.send(send)
            return send
        with handler.lock:
            if self._running is not running:
                raise RuntimeError("the handler's command is over: nothing of it is stored any more")
            self.draft.send(send)
        return send

    def cancel(self) -> None:
        """Its machine has ended: a handler that runs is cancelled, and its actor held until it ends."""
        if self._handler is not None:
            self._detach_handler(self._handler)
            self._handler.abandon()

    def _detach_handler(self, handler: Handler) -> None:
        """What it still emits is refused. A thread may be at work on the state: that is left to it."""
        with handler.lock:
            self._running = None
            if handler.in_thread:
                self.draft.discard()
                self._touched, self.rebuild = False, True

    def run(self) -> None:
        """Run the commands that wait, then tell the owner.

        Returns early while an asynchronous handler runs, and when the last command has emitted while the pipeline runs:
        its worker calls `finish` in the same synchronous step.
        """
        draft, mailbox, worker, shard = self.draft, self._mailbox, self._worker, self._machine.shard
        commands_max = worker.config.turn_commands_max
        while mailbox.waiting and commands_max > 0 and draft.bytes < TURN_BYTES_MAX and not self.rebuild:
            if draft.replies and worker.asks.command_types and mailbox.first.type in worker.asks.command_types:
                break  # it waits for other actors, which may wait for the answers before it
            commands_max -= 1
            if not worker.owns(shard):
                mailbox.drop(mailbox.next())
            elif not self._begin(mailbox.next()):
                return
        self._machine.turn_over()

    def finish(self, now_s: float) -> None:
        """Encode what the last command has emitted, and end the turn. `now_s`: Unix seconds."""
        pending = self._running
        if pending is not None and not self._machine.stopped:
            self._join_commit(pending, self._reply, now_s)
            self._machine.turn_over()

    def fault(self, error: BaseException) -> None:
        """Something that is no handler raised: the machine is given up, and the turn with it."""
        self._machine.fault(error)

    def _begin(self, pending: PendingCommand) -> bool:
        """Run one command; False when the turn goes on later: its handler has to be awaited, or its events encoded."""
        now_s = self._now_s = self._worker.wall_s()
        self._now = None
        answer = earlier_answer(self._fold, pending, self._worker, now_s, len(self.draft.replies))
        if pending.told is not None:
            answer = self._before_tell(pending.told) or answer
        if answer is not None:
            self._mailbox.answer(pending, answer)
            return True
        if pending.expires_s <= now_s:
            pending.counts.timed_out += 1
            error = DeadlineExceeded(f"the deadline of {pending.type.name} passed before its turn")
            self._worker.note_failure(self._machine.actor_id, pending.command, error)
            self._mailbox.answer(pending, encode_error(error))
            return True
        checker = self._fold.checker
        if checker is not None and (field := checker.begin(self._fold.state)) is not None:
            self._rebuild_for(pending, field)
            return True
        if pending.told is not None and self._ends_unrun(pending, pending.told):
            return True
        self._running = pending
        running_command.set(pending)
        self._touched = False
        self._broken = None
        if pending.type.blocking:
            self._time()  # here, because the handler asks for it in its thread
            call = partial(pending.type.invoke, self._fold.state, self._machine, pending.args)
            self._handler_for(pending).start_thread(call, pending.expires_s - now_s)
            return False
        note = self._worker.note
        if note is not None:
            note.begin(self._machine.actor_id, pending.type.name, pending.id)
        try:
            result = pending.type.invoke(self._fold.state, self._machine, pending.args)
            awaitable = hasattr(result, "__await__")  # which may be users' code too
        except BaseException as raised:  # SystemExit and CancelledError too: they end and cancel nothing of ours
            if note is not None:
                note.end()
            self._failed(pending, raised)
            return True
        if note is not None:
            note.end()
        if awaitable:
            self._handler_for(pending).start_task(result, pending.expires_s - now_s)
            return False
        return self._succeeded(pending, result)

    def _is_to_run(self, told: Command) -> bool:
        """Whether a handler is to be run for a command that was told."""
        return self._fold.expects(told.id) and not is_bare_result(told.id, told.command)

    def _passes_on(self, told: Command) -> bool:
        """Whether a command is a tick that is too late, or for another actor, which is told."""
        agenda = self._fold.agenda
        tick = agenda.firing(told.id) if agenda is not None else None
        if tick is None:
            return False
        if is_too_late(tick, self._time(), self._worker.config.schedule_late_s):
            self._worker.counters.ticks_skipped += 1
            return True
        tell = tick_for_another(tick, self._machine.actor_id)
        if tell is not None:
            self.draft.send(tell)
        return tell is not None

    def _set_again(self, pending: PendingCommand) -> None:
        """If the command is a tick, its schedule goes on with the next one. Raises `InvalidCommand`."""
        agenda = self._fold.agenda
        if pending.told is None or agenda is None:
            return
        tick = agenda.firing(pending.command.id)
        following = None if tick is None else next_setting(tick, self.draft.sent or (), self._time())
        if following is not None:
            self.draft.send(following)

    def _before_tell(self, told: TellPlace) -> bytes | None:
        """The answer to a tell that was applied, or that comes too early: the one before it has failed."""
        if told.sequence <= self.inboxseq and told.sequence not in self._fold.parked:
            return encode_answer(NULL, self.draft.version, self._fold.position)
        if told.after > self.inboxseq:
            return encode_error(Unavailable("a tell before it is not applied"))
        return None

    def _ends_unrun(self, pending: PendingCommand, told: TellPlace) -> bool:
        """Whether a tell ends without a handler: it is given up, or is a tick or a result that is not waited for."""
        if told.given_up:
            self._give_up(pending, told.given_up)
        elif not self._is_to_run(pending.command) or self._passes_on(pending.command):
            self._store_handled(pending, NULL)
        else:
            return False
        return True

    def _handler_for(self, pending: PendingCommand) -> Handler:
        self._awaited = pending
        self._handler = handler = Handler(self, self._worker, self._machine.actor_id, pending)
        return handler

    def handler_detached(self, error: AetherError) -> None:
        """The handler goes on, and is waited for no longer: `error` is its caller's answer. Never raises."""
        try:
            pending, handler = self._awaited, self._handler
            assert pending is not None
            assert handler is not None
            self._detach_handler(handler)
            self._awaited = self._handler = None
            if isinstance(error, DeadlineExceeded):
                pending.counts.timed_out += 1
            else:
                pending.counts.failed += 1
            self._worker.note_failure(self._machine.actor_id, pending.command, error)
            self._refused(pending, encode_error(error))
            self._machine.turn_over()
        except BaseException as fault:
            self._machine.fault(fault)

    def handler_ended(self, end: HandlerResult, late: bool) -> None:
        """The handler has ended, past its deadline if it was `late`. Never raises."""
        try:
            self._take_end(end, late)
        except BaseException as fault:
            self._machine.fault(fault)

    def _take_end(self, end: HandlerResult, late: bool) -> None:
        pending, handler, self._awaited, self._handler = self._awaited, self._handler, None, None
        assert pending is not None
        assert handler is not None
        error = end.error
        if handler.put_off:
            self._undo()
            (self._mailbox.put_last if handler.put_last else self._mailbox.put_back)(pending)
            self._machine.turn_over()
            return
        if error is None:
            if not self._succeeded(pending, end.result):
                return
        elif late and isinstance(error, asyncio.CancelledError):
            pending.counts.timed_out += 1
            too_late = DeadlineExceeded(f"{pending.type.name} did not finish before its deadline", outcome_known=True)
            self._worker.note_failure(self._machine.actor_id, pending.command, too_late)
            self._refused(pending, encode_error(too_late))
        else:
            self._failed(pending, error)
        self.run()

    def _succeeded(self, pending: PendingCommand, result: Any) -> bool:
        """Whether the turn goes on now."""
        draft = self.draft
        if self._broken is not None:
            self._failed(pending, self._broken)
            return True
        if self._fold.checker is not None and self._has_changed(self._fold.checker, pending):
            return True
        try:
            reply = pending.type.encode_reply(result)
            self._set_again(pending)
        except BaseException as error:
            self._failed(pending, error)
            return True
        if draft.sent is not None and not draft.emitted:
            draft.emit(EmittedEvent(TOLD_EVENT, 1, b"{}"))
        if draft.emitted:
            if not self._mailbox.waiting and self._worker.pipeline.running:  # else the next one needs the commit's size
                self._reply = reply
                self._worker.pipeline.drafts.add(self)
                return False
            self._join_commit(pending, reply, self._worker.clock.wall_s())
            return True
        self._running = None
        if self._worker.clock.wall_s() > pending.expires_s:
            self._worker.note_late(self._machine.actor_id, pending)
        if not pending.may_leave_unstored(self._worker.lease.stored_format):
            self._store_handled(pending, reply)
        elif draft.has_events:
            draft.accept(pending, reply, b"", fresh=pending.fresh and not pending.type.query)
        else:
            pending.counts.ok += 1
            self._mailbox.answer(pending, encode_answer(reply, draft.version, self._fold.position))
        return True

    def _join_commit(self, pending: PendingCommand, reply: bytes, now_s: float) -> None:
        draft = self.draft
        if now_s > pending.expires_s:
            self._worker.note_late(self._machine.actor_id, pending)
        told_at = 0 if pending.told is None else pending.told.sequence
        chunk = draft.encode(pending.command, reply, self._time(), self._retention(pending, now_s), told_at)
        bytes_max = self._worker.commit_bytes_max
        if len(chunk) + 2 > bytes_max:
            parts = "the events and the reply" if draft.sent is None else "the events, the reply and what was sent"
            what = f"{parts} of {pending.type.name}"
            message = f"{what} take {len(chunk)} bytes, a commit at most {bytes_max}; nothing was stored"
            pending.counts.invalid += 1
            self._refused(pending, encode_error(InvalidCommand(message)))
        elif draft.bytes + len(chunk) + 1 > bytes_max:
            self._undo()
            self._put_off(pending)
        else:
            self._running = None
            if told_at or draft.sent is not None:
                self._note_sent(pending)
            draft.accept(pending, reply, chunk)

    def _failed(self, pending: PendingCommand, error: BaseException) -> None:
        """The handler raised."""
        checker = self._fold.checker
        known = self._broken is not None or isinstance(error, StateChangedOutsideEvent)
        if checker is not None and not known and self._has_changed(checker, pending):
            return
        rejected = isinstance(error, Rejected)
        self._refused(pending, self._worker.failure(self._machine.actor_id, pending, error), rejected=rejected)

    def _refused(self, pending: PendingCommand, error: bytes, *, rejected: bool = False) -> None:
        """The command is decided: none of its events is stored, and this error is its answer.

        Of a tell only a rejection is a decision. What else has failed is tried again, or given up: see `_give_up`.
        """
        self._undo()
        if pending.told is not None and not rejected:
            self._tell_failed(pending, pending.told.sequence, error)
            return
        if not pending.may_leave_unstored(self._worker.lease.stored_format):
            self._store_refused(pending, error)
            return
        final = pending.fresh or pending.type.query  # else some member cannot read what would make it final
        answer = decided(error) if final else error
        if self.draft.has_events:
            self.draft.refuse(pending, answer, fresh=pending.fresh and not pending.type.query)
        else:
            self._mailbox.answer(pending, answer)

    def _tell_failed(self, pending: PendingCommand, sequence: int, error: bytes) -> None:
        """It is tried again. Where tells need not be in order those behind it go on: that it failed is stored once."""
        machine, parked_ = self._machine, self._fold.parked
        if sequence in parked_:
            self._mailbox.answer(pending, parked(error))
            return
        known = self._worker.lease.stored_format >= SENDS_FORMAT
        if machine.actor_type.tells_in_order or len(parked_) >= PARKED_MAX or not known:
            self._mailbox.answer(pending, error)
            return
        chunk = self._system_event(pending, PARKED_EVENT, error_data(without_details(error)), None)
        if chunk is None:
            self._put_off(pending)
        else:
            self.draft.refuse(pending, parked(error), chunk, final=False)

    def _store_handled(self, pending: PendingCommand, reply: bytes) -> None:
        chunk = self._system_event(pending, HANDLED_EVENT, b"{}", reply)
        if chunk is not None:
            self.draft.accept(pending, reply, chunk)
        elif not self.draft.has_events:
            message = f"the reply of {pending.type.name} takes {len(reply)} bytes, more than can be stored"
            pending.counts.failed += 1
            too_large = ActorFailed(message, actor=str(self._machine.actor_id))
            self._worker.note_failure(self._machine.actor_id, pending.command, too_large)
            self._refused(pending, encode_error(too_large))
        else:
            self._put_off(pending)

    def _give_up(self, pending: PendingCommand, error: bytes) -> None:
        """A tell has failed too often: store that instead of running it."""
        chunk = None
        for body in dead_letters(pending.command, error):
            chunk = self._system_event(pending, DEAD_LETTERED_EVENT, body, None)
            if chunk is not None or self.draft.has_events:
                break
        if chunk is None:
            self._put_off(pending)
            return
        self._worker.counters.tells_given_up += 1
        self.draft.refuse(pending, decided(error), chunk)

    def _store_refused(self, pending: PendingCommand, error: bytes) -> None:
        chunk = self._system_event(pending, REFUSED_EVENT, error_data(error), None)
        if chunk is not None:
            self._worker.counters.refusals_stored += 1
            self.draft.refuse(pending, decided(error), chunk)
        elif not self.draft.has_events:
            self._store_refused(pending, without_details(error))
        else:
            self._put_off(pending)

    def _system_event(self, pending: PendingCommand, type: str, body: bytes, reply: bytes | None) -> bytes | None:
        """The command's part of the commit; None when that has no room for it."""
        retention = self._retention(pending, self._worker.clock.wall_s())
        told_at = 0 if pending.told is None else pending.told.sequence
        try:
            if type != PARKED_EVENT:  # a tick that is tried again is not over
                self._set_again(pending)
        except InvalidCommand as error:
            extra = {"actor": str(self._machine.actor_id), "command_id": pending.command.id, "error": error.message}
            log.error("a schedule ends: its rule cannot be read", extra=extra)
        self.draft.emit(EmittedEvent(type, 1, body))
        bytes_max = self._worker.commit_bytes_max
        chunk = self.draft.encode_within(bytes_max, pending.command, reply, self._time(), retention, told_at)
        if chunk is not None and told_at:
            self._note_sent(pending, parked=type == PARKED_EVENT)
        return chunk

    def _note_sent(self, pending: PendingCommand, *, parked: bool = False) -> None:
        """The command is in the draft: those behind it find it applied, or parked, and the agenda as it leaves it."""
        told = ""
        if pending.told is not None:
            self._fold.applied(pending.told.sequence, parked=parked)
            self.inboxseq, told = self._fold.inboxseq, "" if parked else pending.id
        self._fold.sent(told, self.draft.sent or ())

    def _retention(self, pending: PendingCommand, now_s: float) -> IdRetention | None:
        if pending.command.attempt:  # the library made the id
            return None
        return pending.retention(now_s, self._machine.actor_type.command_window_s, self._worker.config)

    def _put_off(self, pending: PendingCommand) -> None:
        """Run the command again in the next turn, whose commit has room for it."""
        self._mailbox.put_back(pending)
        self.rebuild = True

    def _has_changed(self, checker: StateChecker, pending: PendingCommand) -> bool:
        """Whether the state was changed outside an event method; then the command has failed, or is run again."""
        change = checker.check(self._fold.state, self._worker.check_budget)
        if change is None:
            return False
        if change.certain:
            self.rebuild = True
            self._worker.counters.states_changed += 1
            error = changed_in_place(self._machine.actor_id, change.field)
            self._refused(pending, self._worker.failure(self._machine.actor_id, pending, error))
        else:
            self._rebuild_for(pending, change.field)
        return True

    def _rebuild_for(self, pending: PendingCommand, field: str) -> None:
        """Some earlier command, or code beside it, changed the state: rebuild it, and run this command on it."""
        self._worker.note_state_changed(self._machine.actor_id, field)
        self._undo()
        self._put_off(pending)

    def _undo(self) -> None:
        """Take back what the running command did to the state: from the checkpoint, else by a replay."""
        self._running = None
        self.draft.discard()
        checker = self._fold.checker
        if checker is not None and not self._touched and not self.rebuild and checker.due:
            self.rebuild = checker.changed(self._fold.state) is not None
        if self._touched:
            checkpoint, self._checkpoint = self._checkpoint, None
            if checkpoint is None:
                self.rebuild = True
            else:
                self._fold.state = self._machine.actor_type.restore(self._fold.state, checkpoint)
