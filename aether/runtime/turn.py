"""A turn of one machine: runs the handlers of the commands that wait, and keeps what they decided.

Made when a turn begins, gone when it is over. It runs on the event loop; a synchronous handler runs within one step,
an asynchronous one holds the turn, and with it the actor. It never stores anything: its machine commits it. This is
the only place where users' command handlers run.

A turn is one object in three modules: here, how its commands run one after the other; in `turn_scope`, what it keeps
and what the running handler does with it; in `turn_decisions`, what becomes of each command.
"""

import asyncio
from functools import partial
from typing import Any

from aether.core.actor.commit_draft import EmittedEvent
from aether.errors import AetherError, DeadlineExceeded, Unavailable
from aether.runtime.earlier_answer import earlier_answer
from aether.runtime.handler import Handler
from aether.runtime.handler_task import HandlerResult
from aether.runtime.pending_command import PendingCommand
from aether.runtime.running import running as running_command
from aether.runtime.turn_decisions import TurnDecisions
from aether.wire import TOLD_EVENT, encode_answer, encode_error

TURN_BYTES_MAX = 128 * 1024
"""A turn of several commands ends when its commit has grown to this; one command may take all the store allows."""


class Turn(TurnDecisions):
    """One turn. `rebuild` says that the state must be replayed after it: a handler was undone the slow way."""

    __slots__ = ()

    @property
    def handler(self) -> Handler | None:
        """The asynchronous handler that runs, or the one in a thread."""
        return self._handler

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

    def cancel(self) -> None:
        """Its machine has ended: a handler that runs is cancelled, and its actor held until it ends."""
        if self._handler is not None:
            self._detach_handler(self._handler)
            self._handler.abandon()

    def fault(self, error: BaseException) -> None:
        """Something that is no handler raised: the machine is given up, and the turn with it."""
        self._machine.fault(error)

    def _begin(self, pending: PendingCommand) -> bool:
        """Run one command; False when the turn goes on later: its handler has to be awaited, or its events encoded."""
        now_s = self._now_s = self._worker.wall_s()
        self._now = None
        answer = earlier_answer(self._fold, pending, self._worker, now_s, len(self.draft.replies))
        if pending.told is not None:
            answer = self._answer_to_tell(pending, pending.told, answer)
        if answer is not None:
            self._answer_unrun(pending, answer)
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
            note.begin(self._machine.actor_id, pending.type.name, pending.id, pending.command.correlationid)
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

    def _handler_for(self, pending: PendingCommand) -> Handler:
        self._awaited = pending
        self._handler = handler = Handler(self, self._worker, self._machine.actor_id, pending)
        return handler

    def _detach_handler(self, handler: Handler) -> None:
        """What it still emits is refused. A thread may be at work on the state: that is left to it."""
        with handler.lock:
            self._running = None
            if handler.in_thread:
                self.draft.discard()
                self._touched, self.rebuild = False, True

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
            self._run_again(pending, last=handler.put_last)
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

    def _run_again(self, pending: PendingCommand, *, last: bool) -> None:
        """Its handler was put off. Where others have to make way for it, and the shard is left, its next owner runs it.

        Here it would ask again what waits for it, and what it makes way for cannot arrive.
        """
        self._undo()
        if not last:
            self._mailbox.put_back(pending)
        elif self._worker.asks.has_left(self._machine.shard):
            why = Unavailable(f"{self._machine.actor_id} is given to another worker")
            pending.counts.refused(why)
            self._mailbox.answer(pending, encode_error(why))
        else:
            self._mailbox.put_last(pending)
