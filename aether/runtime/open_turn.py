"""The open turn of one machine: runs the handlers of the commands that wait, and keeps what they decided.

Made when a turn begins, gone when it is over. It runs on the event loop; a synchronous handler runs within one step,
an asynchronous one holds the turn, and with it the actor. It never stores anything: its machine commits it. This is
the only place where users' command handlers run.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from aether.codec import digest
from aether.core.actor.turn import Emitted, Kept, Turn
from aether.errors import (
    ActorFailed,
    AetherError,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    Rejected,
    StateChangedOutsideEvent,
)
from aether.ids import ActorId
from aether.model.definition import ActorType, CommandType, Context, Scope
from aether.ports import Delivery
from aether.runtime.activation import Ended, noted
from aether.runtime.counters import Outcomes
from aether.runtime.fold import LOST_ONCE, Fold
from aether.runtime.handler import Handler
from aether.runtime.host import Host
from aether.runtime.running import running as running_command
from aether.runtime.witness import StateWitness, changed_in_place
from aether.wire import (
    HANDLED_EVENT,
    REFUSED_EVENT,
    Command,
    decided,
    encode_answer,
    encode_error,
    error_data,
    instant,
    without_details,
)

log = logging.getLogger("aether.turn")

TURN_BYTES_MAX = 128 * 1024
"""A turn of several commands ends when its commit has grown to this; one command may take all the store allows."""


class Waiting:
    """A command in a mailbox or an open turn, and the callers who wait for its answer.

    - `expires_s`: the latest deadline of its deliveries, Unix seconds.
    - `fresh`: its deliveries were the first send of its id, and no append that may be stored holds it.
    - `outcomes`: where the outcome is counted; `late`: its handler was still at work at its deadline, which is counted.
    - `digest`: of an id that the caller gave, what it was given to; `kept_until_s`: until when that id is remembered.
    """

    __slots__ = ("args", "command", "deliveries", "digest", "expires_s", "fresh", "kept_until_s", "late", "outcomes",
                 "type")  # fmt: skip

    def __init__(
        self,
        command: Command,
        type_: CommandType,
        args: Any,
        delivery: Delivery,
        expires_s: float,
        outcomes: Outcomes,
        digest: str = "",
    ) -> None:
        self.command = command
        self.type = type_
        self.args = args
        self.deliveries = [delivery]
        self.expires_s = expires_s
        self.fresh = command.attempt == 1
        self.digest = digest
        self.kept_until_s = 0.0
        self.outcomes = outcomes
        self.late = False

    def merge(self, other: "Waiting") -> None:
        """Another delivery of the same command: its callers get the same answer, and it has their longest deadline."""
        self.deliveries.extend(other.deliveries)
        self.fresh = self.fresh and other.fresh
        self.expires_s = max(self.expires_s, other.expires_s)

    def is_same(self, other: "Waiting") -> bool:
        """Whether another command with this id is this command, with the same arguments."""
        if self.command.command != other.command.command:
            return False
        if bytes(self.command.args) == bytes(other.command.args):
            return True
        return digest(self.type.name, self.args) == digest(other.type.name, other.args)


def other_command(waiting: Waiting) -> bytes:
    """The answer to a command whose id belongs to another one."""
    message = f"the command id {waiting.command.id} was given to another command, or to other arguments"
    return decided(encode_error(InvalidCommand(message, path="id")))


class Owner(Scope, Protocol):
    """What a turn asks of its machine."""

    actor_id: ActorId
    actor_type: ActorType
    shard: int

    @property
    def source(self) -> str:
        """The CloudEvents source of the actor's events."""
        ...

    def answer(self, waiting: Waiting, answer: bytes) -> None:
        """Answer a command for good."""
        ...

    def drop(self, waiting: Waiting) -> None:
        """Forget a command without an answer: its callers ask the shard's owner."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether the machine has ended without waiting for the turn."""
        ...

    def turn_over(self, turn: "OpenTurn") -> None:
        """The handlers have run: commit, or go on."""
        ...

    def fault(self, error: BaseException) -> None:
        """Something that is no handler raised: end, with the turn."""
        ...


class OpenTurn:
    """One turn. `rebuild` says that the state must be replayed after it: a handler was undone the slow way."""

    __slots__ = ("_awaited", "_broken", "_checkpoint", "_fold", "_handler", "_host", "_mailbox", "_now",
                 "_now_s", "_owner", "_reply", "_running", "_touched", "rebuild", "turn")  # fmt: skip

    def __init__(self, owner: Owner, host: Host, fold: Fold, mailbox: deque[Waiting]) -> None:
        self.turn: Turn[Waiting] = Turn(owner.source, fold.version)
        self.rebuild = False
        self._owner = owner
        self._host = host
        self._fold = fold
        self._mailbox = mailbox
        self._running: Waiting | None = None
        self._reply = b""
        self._now_s = 0.0
        self._now: datetime | None = None
        self._handler: Handler | None = None
        self._awaited: Waiting | None = None
        self._broken: BaseException | None = None
        self._checkpoint: object | None = None
        self._touched = False

    @property
    def context(self) -> Context:
        """The command that runs now. Raises RuntimeError outside a handler."""
        running = self._running or self._awaited
        if running is None:
            raise RuntimeError("there is no command to tell of outside a command handler")
        command = running.command
        return Context(
            command_id=command.id,
            correlation_id=command.correlationid or command.id,
            caller=command.caller,
            deadline=command.deadline,
            now=self._time(),
            traceparent=command.traceparent,
        )

    def _time(self) -> datetime:
        """When the running command began: the time of its events."""
        now = self._now
        if now is None:
            now = self._now = self._host.time_of(self._now_s)
        return now

    def emit(self, event: object) -> None:
        """Record the event and apply it at once. Raises `ActorFailed` in a query or for an event nobody takes.

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

    def _apply(self, running: Waiting, event: object) -> None:
        fold = self._fold
        if running.type.query:
            raise ActorFailed(f"the query {running.type.name} emitted an event", actor=str(self._owner.actor_id))
        event_type = self._owner.actor_type.event_type_of(event)
        body, same = event_type.record(event)
        if not self._touched:
            self._checkpoint = self._owner.actor_type.checkpoint(fold.state)
            self._touched = True
        fold.state = self._owner.actor_type.evolve(fold.state, same)
        if fold.witness is not None:
            fold.witness.applied(event_type, body, event_type.schema_version)
        emitted = Emitted(event_type.name, event_type.schema_version, body)
        handler = self._handler
        if handler is None or not handler.in_thread:
            self.turn.emit(emitted)
            return
        with handler.lock:  # it may be left just now
            if self._running is not running:
                raise RuntimeError("the handler's command is over: nothing of it is stored any more")
            self.turn.emit(emitted)

    def cancel(self) -> None:
        """Its machine has ended: a handler that runs is cancelled, and its actor held until it ends."""
        if self._handler is not None:
            self._leave_handler(self._handler)
            self._handler.abandon()

    def _leave_handler(self, handler: Handler) -> None:
        """What it still emits is refused. A thread may be at work on the state: that is left to it."""
        with handler.lock:
            self._running = None
            if handler.in_thread:
                self.turn.discard()
                self._touched, self.rebuild = False, True

    def run(self) -> None:
        """Run the commands that wait, then tell the owner.

        Returns early while an asynchronous handler runs, and when the last command has emitted within a cohort's run:
        its host calls `finish` in the same synchronous step.
        """
        turn, mailbox, host, shard = self.turn, self._mailbox, self._host, self._owner.shard
        commands_max = host.config.turn_commands_max
        while mailbox and commands_max > 0 and turn.bytes < TURN_BYTES_MAX and not self.rebuild:
            commands_max -= 1
            if not host.owns(shard):
                self._owner.drop(mailbox.popleft())
            elif not self._begin(mailbox.popleft()):
                return
        self._owner.turn_over(self)

    def finish(self, now_s: float) -> None:
        """Encode what the last command has emitted, and end the turn. `now_s`: Unix seconds."""
        waiting = self._running
        if waiting is not None and not self._owner.stopped:
            self._join_commit(waiting, self._reply, now_s)
            self._owner.turn_over(self)

    def fault(self, error: BaseException) -> None:
        """Something that is no handler raised: the machine is given up, and the turn with it."""
        self._owner.fault(error)

    def _begin(self, waiting: Waiting) -> bool:
        """Run one command; False when the turn goes on later: its handler has to be awaited, or its events encoded."""
        now_s = self._now_s = self._host.clock.wall_s()
        self._now = None
        answer = self._lost_before(waiting) if waiting.type.query else self._answered_before(waiting, now_s)
        if answer is not None:
            self._owner.answer(waiting, answer)
            return True
        if waiting.expires_s <= now_s:
            waiting.outcomes.timed_out += 1
            expired = DeadlineExceeded(f"the deadline of {waiting.type.name} passed before its turn")
            self._owner.answer(waiting, encode_error(expired))
            return True
        if self._fold.witness is not None and not self._is_witnessed(self._fold.witness, waiting):
            return True
        self._running = waiting
        running_command.set(waiting)
        self._touched = False
        self._broken = None
        if waiting.type.blocking:
            self._call_in_thread(waiting, waiting.expires_s - now_s)
            return False
        note = self._host.note
        if note is not None:
            note.begin(self._owner.actor_id, waiting.type.name, waiting.command.id)
        try:
            result = waiting.type.invoke(self._fold.state, self._owner, waiting.args)
            awaitable = hasattr(result, "__await__")  # which may be users' code too
        except BaseException as error:  # SystemExit and CancelledError too: here they end and cancel nothing of ours
            if note is not None:
                note.end()
            self._failed(waiting, error)
            return True
        if note is not None:
            note.end()
        if awaitable:
            self._await_handler(waiting, result, waiting.expires_s - now_s)
            return False
        return self._succeeded(waiting, result)

    def _answered_before(self, waiting: Waiting, now_s: float) -> bytes | None:
        record = self._fold.record
        if record is None:
            return None
        record.forget_expired(now_s)
        known = record.get(waiting.command.id)
        if known is not None:
            self._host.counters.duplicates += 1
            noted = record.digest(waiting.command.id)
            return known if noted in ("", waiting.digest) or not waiting.digest else other_command(waiting)
        if len(record) + len(self.turn.answered) >= self._host.config.record_max:
            self._host.counters.overloaded += 1
            message = f"{self._owner.actor_id} remembers {len(record)} commands, the most it may"
            return encode_error(Overloaded(message, limit="record_max"))
        return None

    def _lost_before(self, waiting: Waiting) -> bytes | None:
        """The answer to a query that has ended workers: nothing else of queries is remembered."""
        record = self._fold.record
        if record is None or record.get(f"{LOST_ONCE}{waiting.command.id}") is None:
            return None
        return record.get(waiting.command.id)

    def _await_handler(self, waiting: Waiting, result: Awaitable[Any], timeout_s: float) -> None:
        note = self._host.note
        if note is not None:
            result = noted(result, note, self._owner.actor_id, waiting.type.name, waiting.command.id)
        self._awaited, self._handler = waiting, self._handler_of(waiting)
        self._handler.start_task(result, timeout_s)

    def _call_in_thread(self, waiting: Waiting, timeout_s: float) -> None:
        self._time()  # here, because the handler asks for it in its thread
        self._awaited, self._handler = waiting, self._handler_of(waiting)
        self._handler.start_thread(partial(waiting.type.invoke, self._fold.state, self._owner, waiting.args), timeout_s)

    def _handler_of(self, waiting: Waiting) -> Handler:
        return Handler(self, self._host, self._owner.actor_id, waiting, waiting.type.name, waiting.command.id)

    def handler_left(self, error: AetherError) -> None:
        """The handler goes on, and is waited for no longer: `error` is its caller's answer. Never raises."""
        try:
            waiting, handler = self._awaited, self._handler
            assert waiting is not None
            assert handler is not None
            self._leave_handler(handler)
            self._awaited = self._handler = None
            if isinstance(error, DeadlineExceeded):
                waiting.outcomes.timed_out += 1
            else:
                waiting.outcomes.failed += 1
            self._refused(waiting, encode_error(error))
            self._owner.turn_over(self)
        except BaseException as fault:
            self._owner.fault(fault)

    def handler_ended(self, end: Ended, late: bool) -> None:
        """The handler has ended, past its deadline if it was `late`. Never raises."""
        try:
            self._take_end(end, late)
        except BaseException as fault:
            self._owner.fault(fault)

    def _take_end(self, end: Ended, late: bool) -> None:
        waiting, self._awaited, self._handler = self._awaited, None, None
        assert waiting is not None
        error = end.error
        if error is None:
            if not self._succeeded(waiting, end.result):
                return
        elif late and isinstance(error, asyncio.CancelledError):
            waiting.outcomes.timed_out += 1
            too_late = DeadlineExceeded(f"{waiting.type.name} did not finish before its deadline", outcome_known=True)
            self._refused(waiting, encode_error(too_late))
        else:
            self._failed(waiting, error)
        self.run()

    def _succeeded(self, waiting: Waiting, result: Any) -> bool:
        """Whether the turn goes on now."""
        turn = self.turn
        if self._broken is not None:
            self._failed(waiting, self._broken)
            return True
        if self._fold.witness is not None and self._has_changed(self._fold.witness, waiting):
            return True
        try:
            reply = waiting.type.encode_reply(result)
        except BaseException as error:
            self._failed(waiting, error)
            return True
        if turn.emitted:
            if not self._mailbox and self._host.decided.running:  # else the next one needs to know the commit's size
                self._reply = reply
                self._host.decided.add(self)
                return False
            self._join_commit(waiting, reply, self._host.clock.wall_s())
            return True
        self._running = None
        if self._host.clock.wall_s() > waiting.expires_s:
            self._late(waiting)
        if not self._may_leave_unstored(waiting):
            self._store_handled(waiting, reply)
        elif turn.stores:
            turn.accept(waiting, reply, b"", fresh=waiting.fresh and not waiting.type.query)
        else:
            waiting.outcomes.ok += 1
            self._owner.answer(waiting, encode_answer(reply, turn.version, self._fold.position))
        return True

    def _late(self, waiting: Waiting) -> None:
        """Its handler has ended well, and after its deadline."""
        if not waiting.late:
            waiting.late = True
            self._host.late(self._owner.actor_id, waiting.type.name, waiting.command.id)

    def _join_commit(self, waiting: Waiting, reply: bytes, now_s: float) -> None:
        turn = self.turn
        if now_s > waiting.expires_s:
            self._late(waiting)
        kept = None if waiting.command.attempt else self._kept(waiting, now_s)
        chunk = turn.encoded(waiting.command, reply, self._time(), kept)
        bytes_max = self._host.commit_bytes_max
        if len(chunk) + 2 > bytes_max:
            what = f"the events and the reply of {waiting.type.name}"
            message = f"{what} take {len(chunk)} bytes, a commit at most {bytes_max}; nothing was stored"
            self._refused(waiting, encode_error(InvalidCommand(message)))
        elif turn.bytes + len(chunk) + 1 > bytes_max:
            self._undo()
            self._mailbox.appendleft(waiting)
            self.rebuild = True
        else:
            self._running = None
            turn.accept(waiting, reply, chunk)

    def _failed(self, waiting: Waiting, error: BaseException) -> None:
        """The handler raised."""
        witness = self._fold.witness
        known = self._broken is not None or isinstance(error, StateChangedOutsideEvent)
        if witness is not None and not known and self._has_changed(witness, waiting):
            return
        self._refused(waiting, self._failure(waiting, error))

    def _refused(self, waiting: Waiting, error: bytes) -> None:
        """The command is decided: none of its events is stored, and this error is its answer."""
        self._undo()
        if not self._may_leave_unstored(waiting):
            self._store_refused(waiting, error)
            return
        final = waiting.fresh or waiting.type.query  # else some member cannot read what would make it final
        answer = decided(error) if final else error
        if self.turn.stores:
            self.turn.refuse(waiting, answer, fresh=waiting.fresh and not waiting.type.query)
        else:
            self._owner.answer(waiting, answer)

    # ------------------------------------------------------------------------------- what else has to be stored

    def _may_leave_unstored(self, waiting: Waiting) -> bool:
        """Whether the outcome of a command without events may leave although nothing of it is stored.

        It must not when the command may be carried out all the same: by another send of it that arrives late, or by an
        append that is late. The one finds what is stored, the other finds its position taken (docs/decisions.md, "When
        a refusal is stored").
        """
        return waiting.type.query or waiting.fresh or self._host.lease.stored_format < 1

    def _store_handled(self, waiting: Waiting, reply: bytes) -> None:
        chunk = self._system_event(waiting, HANDLED_EVENT, b"{}", reply)
        if chunk is not None:
            self.turn.accept(waiting, reply, chunk)
        elif not self.turn.stores:
            message = f"the reply of {waiting.type.name} takes {len(reply)} bytes, more than can be stored"
            self._refused(waiting, encode_error(ActorFailed(message, actor=str(self._owner.actor_id))))
        else:
            self._put_off(waiting)

    def _store_refused(self, waiting: Waiting, error: bytes) -> None:
        chunk = self._system_event(waiting, REFUSED_EVENT, error_data(error), None)
        if chunk is not None:
            self._host.counters.refusals_stored += 1
            self.turn.refuse(waiting, decided(error), chunk)
        elif not self.turn.stores:
            self._store_refused(waiting, without_details(error))
        else:
            self._put_off(waiting)

    def _system_event(self, waiting: Waiting, type: str, body: bytes, reply: bytes | None) -> bytes | None:
        """The command's part of the commit; None when that has no room for it."""
        turn, now_s = self.turn, self._host.clock.wall_s()
        turn.emit(Emitted(type, 1, body))
        chunk = turn.encoded(waiting.command, reply, self._time(), self._kept(waiting, now_s))
        if turn.bytes + len(chunk) + 1 <= self._host.commit_bytes_max:
            return chunk
        turn.discard()
        return None

    def _put_off(self, waiting: Waiting) -> None:
        """Run the command again in the next turn, whose commit has room for it."""
        self._mailbox.appendleft(waiting)
        self.rebuild = True

    def _kept(self, waiting: Waiting, now_s: float) -> Kept | None:
        """What is stored of an id that the caller gave; None for one that the client library made."""
        if waiting.command.attempt:
            return None
        config, own_s = self._host.config, self._owner.actor_type.command_window_s
        window_s = config.command_window_s if own_s is None else own_s
        until_s = max(now_s + window_s, waiting.expires_s + config.record_margin_s)
        waiting.kept_until_s = until_s
        return Kept(instant(until_s), waiting.digest)

    def _is_witnessed(self, witness: StateWitness, waiting: Waiting) -> bool:
        """Begin a command before a witness. False when the state is not the fold: it is rebuilt before the command."""
        if witness.always and (field := witness.changed(self._fold.state)) is not None:
            self._rebuild_for(waiting, field)
            return False
        witness.begun()
        return True

    def _has_changed(self, witness: StateWitness, waiting: Waiting) -> bool:
        """Whether the state was changed outside an event method; then the command has failed, or is run again."""
        budget = self._host.check_budget
        if not witness.due and not (witness.sampled and budget.pays()):
            return False
        certain, began_s = witness.certain, self._host.clock.boot_s()
        field = witness.changed(self._fold.state)
        budget.spend(began_s)
        if field is None:
            return False
        if certain:
            self.rebuild = True
            self._host.counters.states_changed += 1
            error = changed_in_place(self._owner.actor_id, field)
            self._refused(waiting, self._failure(waiting, error))
        else:
            self._rebuild_for(waiting, field)
        return True

    def _rebuild_for(self, waiting: Waiting, field: str) -> None:
        """Some earlier command, or code beside it, changed the state: rebuild it, and run this command on it."""
        self._host.counters.states_changed += 1
        log.error("a state was changed outside an event method by an earlier command or a task; it is rebuilt",
                  extra={"actor": str(self._owner.actor_id), "field": field})  # fmt: skip
        self._undo()
        self._put_off(waiting)

    def _undo(self) -> None:
        """Take back what the running command did to the state: from the checkpoint, else by a replay."""
        self._running = None
        self.turn.discard()
        witness = self._fold.witness
        if witness is not None and not self._touched and not self.rebuild and witness.due:
            self.rebuild = witness.changed(self._fold.state) is not None
        if self._touched:
            checkpoint, self._checkpoint = self._checkpoint, None
            if checkpoint is None:
                self.rebuild = True
            else:
                self._fold.state = self._owner.actor_type.restore(self._fold.state, checkpoint)

    def _failure(self, waiting: Waiting, error: BaseException) -> bytes:
        try:
            return encode_error(self._described(waiting, error))
        except BaseException as unspeakable:  # users' code too: the error's text, its details, its class
            name, why = type(error).__name__, type(unspeakable).__name__
            message = f"{waiting.command.command} failed with {name}, which cannot be described: {why}"
            log.error(message, exc_info=unspeakable, extra={"actor": str(self._owner.actor_id)})
            return encode_error(ActorFailed(message, actor=str(self._owner.actor_id), command_id=waiting.command.id))

    def _described(self, waiting: Waiting, error: BaseException) -> AetherError:
        """What a handler's error is to the caller: a decision is passed on, everything else is the handler's failure.

        A handler cannot speak for the runtime: callers retry `Unavailable`, and believe what `DeadlineExceeded` says.
        """
        if isinstance(error, Rejected | InvalidCommand):
            self._host.counters.commands_rejected += 1
            waiting.outcomes.rejected += 1
            return error
        self._host.counters.handlers_failed += 1
        waiting.outcomes.failed += 1
        command = waiting.command
        log.error(
            "a handler failed",
            exc_info=error,
            extra={"actor": str(self._owner.actor_id), "command": command.command, "command_id": command.id},
        )
        if isinstance(error, StateChangedOutsideEvent):
            return error
        what = f"{type(error).__name__}: {error}"
        if isinstance(error, ActorFailed):
            what = error.message
        elif isinstance(error, asyncio.CancelledError):
            what = "CancelledError: its own code cancelled it, or something that it waited for"
        return ActorFailed(f"{command.command} failed: {what}", actor=str(self._owner.actor_id), command_id=command.id)
