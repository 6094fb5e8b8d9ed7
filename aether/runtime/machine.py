"""The virtual machine: one active actor, one turn at a time.

It owns the actor's mailbox and fold, and runs entirely on the event loop: every step between awaits is synchronous, so
it is atomic. `aether.core.actor.lifecycle` says which steps there are. It never decides what is stored: a conflict
or an unknown outcome sends it back to the history.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from aether.aio import Waiters
from aether.core.actor.lifecycle import Phase, Trigger, advance
from aether.errors import ActorFailed, AetherError, Unavailable
from aether.ids import ActorId, Position, Version
from aether.model.definition import ActorType
from aether.names import event_source
from aether.ports import AppendOutcome, Committed, Conflict, Fenced, Refused, StoredCommit
from aether.runtime import machine_waits
from aether.runtime.activation import replay, send_once_ready
from aether.runtime.commit_answers import answer_committed, answer_not_stored
from aether.runtime.fold import Fold
from aether.runtime.handler import Handler
from aether.runtime.machine_scope import MachineScope
from aether.runtime.mailbox import Mailbox
from aether.runtime.pending_command import PendingCommand
from aether.runtime.turn import Turn
from aether.runtime.worker_context import WorkerContext
from aether.sends import Send, placed
from aether.wire import Event

log = logging.getLogger("aether.machine")


class VirtualMachine(MachineScope):
    """One active actor. Made by a `Runtime`; `id` is unique in the worker's life, `actor_id` says which actor.

    `last_used_s`, and its neighbours `older` and `newer` in the order of use, are its registry's.
    """

    __slots__ = (
        "_idle",
        "_mailbox",
        "_number",
        "_seen",
        "actor_type",
        "last_used_s",
        "newer",
        "older",
        "shard",
        "snapshot_version",
    )

    def __init__(
        self, number: int, actor_id: ActorId, actor_type: ActorType, shard: int, worker: WorkerContext
    ) -> None:
        super().__init__(actor_id, worker)
        self.actor_type = actor_type
        self.shard = shard
        self.last_used_s = 0.0
        self.older: VirtualMachine | None = None
        self.newer: VirtualMachine | None = None
        self.snapshot_version = Version(0)
        self._number = number
        self._mailbox: Mailbox | None = None
        self._seen = 0
        self._idle: Waiters | None = None

    # ------------------------------------------------------------------------------------------ what others see

    @property
    def id(self) -> str:
        """The machine's own name: an actor that is passivated and used again gets another machine."""
        return f"{self.actor_id}#{self._number}"

    @property
    def source(self) -> str:
        """The CloudEvents source of the actor's events."""
        return event_source(self._worker.namespace, self.actor_id)

    @property
    def idle(self) -> bool:
        """Whether nothing is open: no turn, no commit, no replay, no command that waits."""
        return self._phase is Phase.IDLE and not self._waiting

    @property
    def _waiting(self) -> int:
        """How many commands wait for a turn."""
        return 0 if self._mailbox is None else self._mailbox.waiting

    @property
    def handler(self) -> Handler | None:
        """The handler that its turn awaits."""
        return None if self._turn is None else self._turn.handler

    @property
    def unsaved(self) -> bool:
        """Whether a snapshot would save something."""
        return self._fold is not None and self._fold.version != self.snapshot_version

    # ------------------------------------------------------------------------------------------ commands

    def receive(self, pending: PendingCommand) -> None:
        """Take a command: it is answered once, after whatever came before it. Raises `Overloaded` at a bound."""
        if self._mailbox is not None and self._mailbox.is_full:
            self.run_turn()  # it may only be the pipeline that it waits for
        mailbox = self._mailbox
        if mailbox is None:
            mailbox = Mailbox(self.actor_id, self._worker)
        if mailbox.receive(pending):
            self._mailbox = mailbox
            if self._phase is Phase.IDLE and mailbox.waiting == 1:
                self._worker.pipeline.turns.add(self)

    # ------------------------------------------------------------------------------------------ turns

    def run_turn(self) -> None:
        """Run the commands that wait, if nothing else was begun since the worker was asked for the turn."""
        mailbox, worker = self._mailbox, self._worker
        if self._phase is not Phase.IDLE or mailbox is None or not mailbox.waiting:
            return
        if worker.detached and self.actor_id in worker.detached:
            held = worker.detached[self.actor_id]
            mailbox.refuse_waiting(held.refusal(self.actor_id), held.later(self.actor_id))
            self._schedule()
            return
        self._phase = advance(self._phase, Trigger.TURN_BEGUN)
        self._turn = turn = Turn(self, worker, self.fold, mailbox)
        turn.run()

    def _schedule(self) -> None:
        """Ask for a turn if there is something to do and nothing is open."""
        if self._phase is not Phase.IDLE:
            return
        if self._seen > self.fold.position:
            self._replay_again()
        elif self._waiting:
            self._worker.pipeline.turns.add(self)
        else:
            if self._mailbox is not None and not self._mailbox.has_open:
                self._mailbox = None
            self._wake()

    def turn_over(self) -> None:
        """Called by the turn when its handlers have run: commit what they emitted, or go on."""
        turn = self._turn
        assert turn is not None
        if turn.draft.has_events:
            payload = turn.draft.payload()
            self._phase = advance(self._phase, Trigger.COMMIT_SENT)
            if turn.draft.sends is not None and not self._may_send():
                self._worker.spawn(send_once_ready(self, self._worker, payload))
            else:
                self.commit(payload)
            return
        self._turn = None
        if turn.rebuild:
            self._replay_again()
            return
        self._phase = advance(self._phase, Trigger.TURN_EMPTY)
        self._schedule()

    def _may_send(self) -> bool:
        """Whether the shard's tells are relayed: before that is so no commit may send any."""
        telling = self._worker.telling
        return telling is not None and telling.may_send(self.shard)

    def commit(self, payload: bytes) -> None:
        """Append what the turn has decided."""
        self._worker.committer.commit(self.actor_id, self.shard, payload, self.fold.position, self.take_outcome)

    # ------------------------------------------------------------------------------------------ outcomes

    def take_outcome(self, outcome: AppendOutcome) -> None:
        """Go on with what came of the commit. Never raises."""
        if self.stopped:
            return
        try:
            self._take_outcome(outcome)
        except BaseException as error:
            self._phase = Phase.COMMITTING  # wherever it had come: some may not have heard the outcome
            self.fault(error)

    def _take_outcome(self, outcome: AppendOutcome) -> None:
        turn, self._turn, mailbox = self._turn, None, self._mailbox
        assert turn is not None
        assert mailbox is not None
        if isinstance(outcome, Committed):
            mailbox.attempts = 0
            self._committed(turn, mailbox, outcome.position)
            return
        if isinstance(outcome, Fenced):
            for reply in turn.draft.replies:
                mailbox.drop(reply.pending)
            self._replay_again()
            return
        worker = self._worker
        if isinstance(outcome, Conflict):
            worker.counters.conflicts += 1
        elif isinstance(outcome, Refused):
            worker.store_health.refused(outcome.reason)
            if not mailbox.attempts:  # else an append before it may still arrive, and the history has the last word
                self._replay_again()
                answer_not_stored(turn.draft, mailbox, outcome.reason)
                return
        else:
            worker.store_health.unknown(self.actor_id, outcome)
            for reply in turn.draft.replies:
                reply.pending.fresh = False  # it may be stored already
        mailbox.put_back_all(reply.pending for reply in turn.draft.replies)
        mailbox.attempts += 1
        at_once = isinstance(outcome, Conflict) and mailbox.attempts == 1
        self._replay_again(0.0 if at_once else worker.retry_delay_s(mailbox.attempts - 1))

    def _committed(self, turn: Turn, mailbox: Mailbox, position: Position) -> None:
        fold, config = self.fold, self._worker.config
        if self._worker.store_health.unsure:
            self._worker.store_health.stored()
        if turn.draft.sends is not None:
            self._sent(turn.draft.sends, position, fold.read_to)
        if turn.inboxseq:
            fold.inboxseq = turn.inboxseq
        answer_committed(turn.draft, position, fold, mailbox, config.command_log_margin_s)
        if turn.rebuild:
            self._replay_again()
            return
        self._phase = advance(self._phase, Trigger.COMMITTED)
        every = config.snapshot_every_events
        if every and fold.version - self.snapshot_version >= every:
            self.snapshot()
        self._schedule()

    def _sent(self, sends: list[Send], position: Position, read_to: Position) -> None:
        telling = self._worker.telling
        assert telling is not None
        telling.committed(self.shard, position, placed(sends, self.actor_id, position), read_to)

    # ------------------------------------------------------------------------------------------ replay

    def begin(self) -> None:
        """Start the first replay. Called once, by the registry."""
        self._worker.spawn(replay(self, self._worker, 0.0, activates=True))

    def _replay_again(self, delay_s: float = 0.0) -> None:
        self._phase = advance(self._phase, Trigger.REPLAY_NEEDED)
        self._worker.spawn(replay(self, self._worker, delay_s))

    @property
    def seen(self) -> int:
        """The latest position that was heard of and not applied."""
        return self._seen

    def still_wanted(self, why: Unavailable) -> bool:
        """The history cannot be read now: whether a caller still waits. If not, the machine has ended."""
        if self.stopped:
            return False
        self._worker.store_health.unread(self.actor_id, why)
        mailbox = self._mailbox
        if mailbox is not None:
            mailbox.expire(why)
        # No append of its commands is under way, so callers who wait for a history that is gone can be told at once.
        if mailbox is None or not mailbox.waiting or (not mailbox.attempts and why.details.get("gone")):
            self.failed(why)
        return not self.stopped

    def replayed(self, fold: Fold, snapshot_version: Version, seen: int, took_s: float) -> None:
        """Go on with this fold. `seen` is what had been heard of when the read began. Raises `HistoryRegressed`."""
        if self._fold is not None:
            fold.check_continues(self._fold)
        if self.stopped:  # abandoned meanwhile
            return
        fold.watch(self._worker.config.state_checks)
        self._fold, self.snapshot_version = fold, snapshot_version
        if self._seen == seen:
            self._seen = 0
        self._phase = advance(self._phase, Trigger.REPLAYED)
        slow_s = self._worker.config.snapshot_after_replay_s
        if slow_s and took_s > slow_s:
            self.snapshot()
        self._schedule()

    def failed(self, error: AetherError) -> None:
        """The history cannot be folded: answer every caller and end. The next command makes a new machine."""
        if self.stopped:
            return
        self._phase = advance(self._phase, Trigger.REPLAY_FAILED)
        mailbox, self._mailbox = self._mailbox, None
        self._end()  # before the answers: who hears one may ask again at once, and needs another machine
        if mailbox is not None:
            mailbox.refuse_unactivated(error)

    # ------------------------------------------------------------------------------------------ events from outside

    def stored(self, commit: StoredCommit) -> None:
        """A commit of this actor was stored, by this machine or by another writer: apply it if it is news."""
        try:
            self._apply_stored(commit)
        except BaseException as error:
            self.fault(error)

    def _apply_stored(self, commit: StoredCommit) -> None:
        fold = self._fold
        if fold is not None and commit.position <= fold.position:
            return
        if self._phase is not Phase.IDLE or fold is None:
            self._seen = max(self._seen, commit.position)
            return
        worker = self._worker
        try:
            events = fold.follow(commit, worker.clock.wall_s(), worker.config.command_log_margin_s)
        except Exception:  # the replay says what it is
            self._replay_again()
            return
        worker.counters.events_followed += events

    def process_event(self, event: Event) -> Coroutine[Any, Any, None]:
        """Bring the machine to at least the version of a stored event: it replays when it is behind."""
        return machine_waits.process_event(self, event.version)

    def catch_up(self, version: Version) -> None:
        """Replay when idle and behind a version."""
        if self._phase is Phase.IDLE and self.fold.version < version:
            self._replay_again()

    # ------------------------------------------------------------------------------------------ start and stop

    def start(self) -> Coroutine[Any, Any, None]:
        """Wait until the machine has replayed and nothing is open. Raises `Unavailable` when it could not."""
        return machine_waits.start(self)

    def wait_idle(self) -> Coroutine[Any, Any, None]:
        """Wait until the machine is idle or has stopped."""
        return machine_waits.wait_idle(self)

    def waiters(self) -> Waiters:
        """What is woken when the machine is idle or has stopped."""
        if self._idle is None:
            self._idle = Waiters()
        return self._idle

    def snapshot(self) -> "asyncio.Task[None] | None":
        """Write a snapshot of the fold in the background; None when there is nothing new, no room, or an open turn."""
        fold = self.fold
        if self._turn is not None or fold.version == self.snapshot_version:
            return None
        room, task = self._worker.snapshots.room, self._worker.snapshots.write(fold)
        if room:  # what cannot be stored is tried again after as many events, and not at each commit
            self.snapshot_version = fold.version
        return task

    def retire(self) -> "asyncio.Task[None] | None":
        """End an idle machine at once, with a snapshot in the background."""
        assert self.idle, f"{self.id} is not idle"
        task = self.snapshot()
        self._phase = advance(self._phase, Trigger.STOPPED)
        self._end()
        return task

    def abandon(self) -> tuple[list[PendingCommand], list[PendingCommand]]:
        """End at once and answer no caller: what is open has no known outcome here, and its callers ask again.

        Gives the commands that get no answer: those of the turn, and those that waited.
        """
        self._phase = advance(self._phase, Trigger.ABANDONED)
        unanswered = ([], []) if self._mailbox is None else self._mailbox.abandon()
        if self._turn is not None:
            self._turn.cancel()
        self._end()
        return unanswered

    def fault(self, error: BaseException) -> None:
        """Something within the runtime raised on behalf of this actor: end, and leave it to another machine.

        The commands of an open turn failed, and nothing of them is stored; those that wait are told to ask again. But
        if a commit was sent, its callers and those behind it hear nothing: they ask again, and the history knows.
        """
        actor, phase = str(self.actor_id), self._phase
        extra = {"actor": actor, "machine": self.id, "phase": phase.value}
        log.error("a machine has failed within the runtime and is given up", exc_info=error, extra=extra)
        if self.stopped:
            return
        self._worker.counters.machines_given_up += 1
        in_turn, waiting = self.abandon()
        if phase is Phase.COMMITTING or self._mailbox is None:
            return
        what = f"a fault of the worker, not of the handler: {type(error).__name__}; see its log"
        self._mailbox.refuse(in_turn, ActorFailed(what, actor=actor))
        self._mailbox.refuse(waiting, Unavailable(f"{actor} was given up for a fault of its worker"))

    def stop(self) -> Coroutine[Any, Any, None]:
        """Answer everything taken, snapshot, and end."""
        return machine_waits.stop(self)

    def _end(self) -> None:
        self._worker.discard(self)
        self._fold = None  # the state knows its machine: together they would wait for the garbage collector
        self._wake()

    def _wake(self) -> None:
        waiters, self._idle = self._idle, None
        if waiters is not None:
            waiters.wake()
