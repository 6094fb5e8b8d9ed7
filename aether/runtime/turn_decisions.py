"""What becomes of a command in its turn: its part of the commit, an answer without one, or another run.

It runs on the event loop and within one step. A command that is decided has its part in the turn's draft, or its answer
at the mailbox; one that is put off waits in the mailbox again. What a handler did to the state is taken back here.
"""

import logging

from aether.core.actor.agenda import is_bare_result
from aether.core.actor.commit_draft import EmittedEvent, IdRetention
from aether.errors import ActorFailed, InvalidCommand, Rejected, StateChangedOutsideEvent, Unavailable
from aether.model.schedules import is_zone_known
from aether.ports import TellPlace
from aether.runtime.fold import LOST_ONCE
from aether.runtime.giving_up import dead_letters
from aether.runtime.pending_command import PendingCommand
from aether.runtime.sent_schedule import is_too_late, next_setting, tick_for_another
from aether.runtime.state_checker import StateChecker, changed_in_place
from aether.runtime.turn_scope import TurnScope
from aether.runtime.untaken_command import UntakenCommand
from aether.sends import SetSchedule
from aether.wire import (
    DEAD_LETTERED_EVENT,
    HANDLED_EVENT,
    NULL,
    PARKED_EVENT,
    REFUSED_EVENT,
    SENDS_FORMAT,
    Command,
    decided,
    encode_answer,
    encode_error,
    error_data,
    parked,
    without_details,
)

log = logging.getLogger("aether.turn")

PARKED_MAX = 1_000
"""So many tells of an actor may be tried again beside those behind them; one more that fails holds them back."""


class TurnDecisions(TurnScope):
    """The part of a `Turn` that ends each of its commands, or puts it off."""

    __slots__ = ()

    def _answer_to_tell(self, pending: PendingCommand, told: TellPlace, known: bytes | None) -> bytes | None:
        """The answer to a tell that was applied, or that comes too early: the one before it has failed; or a known one.

        That it has ended workers is no answer to one that is given up: it has to be stored that it is.
        """
        if told.sequence <= self.inboxseq and told.sequence not in self._fold.parked:
            return encode_answer(NULL, self.draft.version, self._fold.position)
        if told.after > self.inboxseq:
            return encode_error(Unavailable("a tell before it is not applied"))
        return None if known is not None and told.given_up and self._has_ended_workers(pending) else known

    def _has_ended_workers(self, pending: PendingCommand) -> bool:
        log = self._fold.command_log
        return log is not None and log.get(f"{LOST_ONCE}{pending.id}") is not None

    def _ends_unrun(self, pending: PendingCommand, told: TellPlace) -> bool:
        """Whether a tell ends without a handler: it is given up, or is a tick or a result that is not waited for."""
        agenda = self._fold.agenda
        tick = None if agenda is None else agenda.firing(pending.id)
        if told.given_up:
            self._give_up(pending, told.given_up)
        elif tick is not None and not is_zone_known(tick.zone):
            self._wait_for_zone(pending, told, tick)
        elif not self._is_to_run(pending.command) or self._passes_on(pending.command, tick):
            self._store_handled(pending, NULL)
        elif isinstance(pending.type, UntakenCommand):
            pending.counts.refused(pending.type.error)
            self._tell_failed(pending, told.sequence, encode_error(pending.type.error))
        else:
            return False
        return True

    def _is_to_run(self, told: Command) -> bool:
        """Whether a handler is to be run for a command that was told."""
        return self._fold.expects(told.id) and not is_bare_result(told.id, told.command)

    def _wait_for_zone(self, pending: PendingCommand, told: TellPlace, tick: SetSchedule) -> None:
        """It is tried again until a worker can say when the next tick is: without that the schedule would end."""
        self._worker.zone_unknown.again(actor=str(self._machine.actor_id), schedule=tick.name, zone=tick.zone)
        error = Unavailable(f"the time zone {tick.zone!r} is not known here; install tzdata")
        self._tell_failed(pending, told.sequence, encode_error(error))

    def _passes_on(self, told: Command, tick: SetSchedule | None) -> bool:
        """Whether a command is a tick that is too late, or for another actor, which is told."""
        if tick is None:
            return False
        if is_too_late(tick, self._time(), self._worker.config.schedule_late_s):
            self._worker.counters.ticks_skipped += 1
            return True
        tell = tick_for_another(tick, self._machine.actor_id, told.traceparent)
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

    def _answer_unrun(self, pending: PendingCommand, answer: bytes) -> None:
        """It has an answer already. Of a tell that is parked, another send of which was done, that is stored."""
        log, told = self._fold.command_log, pending.told
        known = log is not None and log.get(pending.id) is not None and not self._has_ended_workers(pending)
        if told is None or not known or told.sequence not in self._fold.parked:
            self._mailbox.answer(pending, answer)
            return
        chunk = self._system_event(pending, HANDLED_EVENT, b"{}", None)
        if chunk is None:
            self._put_off(pending)
        else:
            self.draft.refuse(pending, answer, chunk, final=False)

    def _give_up(self, pending: PendingCommand, error: bytes) -> None:
        """A tell has failed too often: store that instead of running it."""
        chunk, body = None, b""
        for body in dead_letters(pending.command, error):
            chunk = self._system_event(pending, DEAD_LETTERED_EVENT, body, None)
            if chunk is not None or self.draft.has_events:
                break
        else:
            extra = {"actor": str(self._machine.actor_id), "command_id": pending.command.id}
            log.error("a schedule ends: a commit has no room for its next tick", extra=extra)
            chunk = self._system_event(pending, DEAD_LETTERED_EVENT, body, None, goes_on=False)
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

    def _system_event(
        self, pending: PendingCommand, type: str, body: bytes, reply: bytes | None, *, goes_on: bool = True
    ) -> bytes | None:
        """The command's part of the commit; None when that has no room for it. A tick's schedule `goes_on`."""
        retention = self._retention(pending, self._worker.clock.wall_s())
        told_at = 0 if pending.told is None else pending.told.sequence
        try:
            if goes_on and type != PARKED_EVENT:  # a tick that is tried again is not over
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
