"""A handler that goes on when the step that began it is over: an asynchronous one, or one in a thread.

One object a run of such a handler. It keeps the deadline, and decides when to wait no longer: its turn is then told,
and the actor is held until the handler has ended. It runs on the event loop; a thread runs the handler, nothing else.

A handler in a thread may be inside `emit` at any moment. Its `emit` and the end of waiting exclude each other.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from threading import Lock
from typing import Any

from aether.errors import ActorFailed, AetherError, DeadlineExceeded
from aether.ids import ActorId
from aether.model.proxy import ActorRef
from aether.runtime.ask_errors import refusal_to_ask
from aether.runtime.asks import HandlerAsks
from aether.runtime.handler_task import HandlerResult, innermost_frame, noted, refuse_awaitable, result_of, run_handler
from aether.runtime.pending_command import PendingCommand
from aether.runtime.protocols import RunningTurn
from aether.runtime.worker_context import WorkerContext

log = logging.getLogger("aether.turn")


class Handler:
    """Start it once, by `start_task` or `start_thread`. `in_thread` says which it was.

    `put_off` says that it is to run once more, whatever it comes to: see `ask`; `put_last`, that it is to run behind
    all commands that wait, because it and another handler wait for each other.
    """

    __slots__ = (
        "_actor_id",
        "_asks",
        "_command",
        "_deadline_s",
        "_detached",
        "_future",
        "_late",
        "_pending",
        "_task",
        "_timer",
        "_turn",
        "_worker",
        "in_thread",
        "lock",
        "put_last",
        "put_off",
    )

    def __init__(self, turn: RunningTurn, worker: WorkerContext, actor_id: ActorId, pending: PendingCommand) -> None:
        self.in_thread = False
        self.put_off = False
        self.put_last = False
        self._asks: HandlerAsks | None = None
        self.lock = Lock()
        self._turn: RunningTurn | None = turn
        self._worker = worker
        self._actor_id = actor_id
        self._pending = pending
        self._command = pending.type.name
        self._deadline_s = pending.expires_s
        self._task: asyncio.Task[HandlerResult] | None = None
        self._future: Future[HandlerResult] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._late = False
        self._detached = False

    def start_task(self, result: Awaitable[Any], timeout_s: float) -> None:
        """Await what an asynchronous handler gave; at its deadline it is cancelled."""
        note = self._worker.note
        if note is not None:
            correlation_id = self._pending.command.correlationid
            result = noted(result, note, self._actor_id, self._command, self._pending.id, correlation_id)
        task = self._task = self._worker.spawn(run_handler(result))
        task.set_name(f"{self._actor_id}.{self._command}")
        task.add_done_callback(self._task_done)
        self._timer = self._worker.loop.call_later(timeout_s, self._overdue)

    def start_thread(self, call: Callable[[], Any], timeout_s: float) -> None:
        """Call a blocking handler in one of the worker's threads, as soon as one is free."""
        self.in_thread = True
        future = self._future = self._worker.threads.submit(copy_context().run, self._called, call)
        future.add_done_callback(self._thread_done)
        self._timer = self._worker.loop.call_later(timeout_s, self._overdue)

    def ask(self, kind: ActorRef, key: str, *, alone: bool) -> Any:
        """A proxy of another actor. Raises `ActorFailed` in a thread, which cannot await.

        A handler that is not `alone` in its turn is cancelled and put off: a command before it waits for the commit,
        and what is asked may wait for the answer to that command. It runs once more in the next turn.
        """
        asks = self._worker.asks
        if self.in_thread:
            raise refusal_to_ask(self._actor_id, self._pending.type)
        asks.command_types.add(self._pending.type)
        if not alone:
            self.put_off = True
            raise asyncio.CancelledError("the handler runs once more, when the commands before it are answered")
        if self._asks is None:
            self._asks = HandlerAsks(asks, self._actor_id, self._pending, self._put_last)
        return self._asks.proxy(kind, key)

    def _put_last(self) -> None:
        """Have it run once more, behind the commands that wait: one of them is waited for by what it asks."""
        if self._task is not None and self._task.cancel():
            self.put_off = self.put_last = True

    def abandon(self) -> None:
        """Its machine has ended: cancel it, and hold the actor until it has ended."""
        self._turn = None
        self._end_asks()
        self._worker.hold(self._actor_id, self._command)
        if self._future is not None:
            self._future.cancel()  # if it has not begun
            self._cancel_timer()
        else:
            self._cancel_task()

    # ------------------------------------------------------------------------------------------ at its deadline

    def _overdue(self) -> None:
        """Its deadline has passed, unless a later delivery of its command brought a longer one.

        A tell is delivered again for as long as its handler is at work, which gives that no more time.
        """
        more_s = self._pending.expires_s - self._deadline_s
        if more_s > 0 and self._pending.told is None:
            self._deadline_s += more_s
            self._timer = self._worker.loop.call_later(more_s, self._overdue)
            return
        self._late = True
        self._worker.note_late(self._actor_id, self._pending)
        if self._future is None:
            self._cancel_task()
        elif not self._future.cancel():
            self._detach(DeadlineExceeded(f"{self._command} did not finish before its deadline", outcome_known=True))

    def _cancel_task(self) -> None:
        assert self._task is not None
        self._cancel_timer()
        self._task.cancel()
        self._timer = self._worker.loop.call_later(self._worker.config.cancel_grace_s, self._give_up)

    def _give_up(self) -> None:
        """It goes on although it was cancelled."""
        assert self._task is not None
        actor = str(self._actor_id)
        self._worker.counters.handlers_given_up += 1
        extra = {
            "actor": actor,
            "command": self._command,
            "command_id": self._pending.id,
            "at": innermost_frame(self._task),
        }
        log.error("a handler goes on although it was cancelled", extra=extra)
        message = f"{self._command} goes on although its deadline has passed; nothing of it is stored"
        self._detach(ActorFailed(message, actor=actor, command_id=self._pending.id))
        self._worker.hold(self._actor_id, self._command).given_up = True

    def _detach(self, error: AetherError) -> None:
        self._detached = True
        self._end_asks()
        self._worker.hold(self._actor_id, self._command)
        if self._turn is not None:
            self._turn.handler_detached(error)

    def _end_asks(self) -> None:
        if self._asks is not None:
            self._asks.end()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # ------------------------------------------------------------------------------------------ in its thread

    def _called(self, call: Callable[[], Any]) -> HandlerResult:
        """What a blocking handler came to; never raises."""
        notes = self._worker.notes
        note = None if notes is None else notes.of_thread()
        if note is None:
            return _called(call)
        note.begin(self._actor_id, self._command, self._pending.id, self._pending.command.correlationid)
        try:
            return _called(call)
        finally:
            note.end()

    # ------------------------------------------------------------------------------------------ its end

    def _task_done(self, task: "asyncio.Task[HandlerResult]") -> None:
        self._ended(result_of(task))

    def _thread_done(self, future: "Future[HandlerResult]") -> None:
        """In the thread, or in the loop's step that cancelled it."""
        end = HandlerResult(None, asyncio.CancelledError()) if future.cancelled() else future.result()
        try:
            self._worker.loop.call_soon_threadsafe(self._ended, end)
        except RuntimeError:  # the loop is closed, and its turn is gone
            return

    def _ended(self, end: HandlerResult) -> None:
        self._cancel_timer()
        self._end_asks()
        if self._detached or self._turn is None:
            self._worker.let_go(self._actor_id)
        else:
            self._turn.handler_ended(end, self._late)


def _called(call: Callable[[], Any]) -> HandlerResult:
    """What a blocking handler came to; never raises."""
    try:
        result = call()
        refuse_awaitable(result, "a blocking handler is a plain method")
    except BaseException as error:
        return HandlerResult(None, error)
    return HandlerResult(result, None)
