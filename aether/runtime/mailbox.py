"""The mailbox of one actor: its commands that have no answer yet, those that wait and those of the turn under way.

It owns the queue, the command ids by which a command that comes again is known, and the bounds of both. One writer at a
time, on the event loop: the machine, and its turn while that runs. It never runs a command and keeps nothing of an
answered one: that is the command log's.
"""

from collections import deque
from collections.abc import Iterable

from aether.errors import AetherError, DeadlineExceeded, Unavailable
from aether.ids import ActorId
from aether.log_lines import words
from aether.runtime.pending_command import PendingCommand, other_command
from aether.runtime.worker_context import WorkerContext
from aether.wire import NOT_ACTIVATED, encode_error


class Mailbox:
    """Made when a command comes to an actor that has none open; let go when the last is answered, to save memory.

    `attempts` counts the appends of its commands in a row after which none was known to be stored; its machine counts.
    """

    __slots__ = ("_actor_id", "_open", "_queue", "_worker", "attempts")

    def __init__(self, actor_id: ActorId, worker: WorkerContext) -> None:
        self._actor_id = actor_id
        self._worker = worker
        self._queue: deque[PendingCommand] = deque()
        self._open: dict[str, PendingCommand] = {}
        self.attempts = 0

    @property
    def waiting(self) -> int:
        """How many commands wait for a turn."""
        return len(self._queue)

    @property
    def has_open(self) -> bool:
        """Whether a command has no answer yet: it waits, or is in the turn under way."""
        return bool(self._open)

    @property
    def is_full(self) -> bool:
        """Whether as many commands wait as may."""
        return len(self._queue) >= self._worker.mailbox_max

    # ------------------------------------------------------------------------------------------ in

    def receive(self, pending: PendingCommand) -> bool:
        """Let a command wait; False when its id is open already: then it shares that one's answer.

        Raises `Overloaded` at a bound.
        """
        command_id, worker = pending.id, self._worker
        twin = self._open.get(command_id)
        if twin is not None:
            self._join(twin, pending)
            return False
        if self.is_full:
            what = f"{self._actor_id} has {worker.config.mailbox_max} commands waiting"
            raise worker.admission.refusal(what, "mailbox_max")
        worker.admission.admit(pending.command.chain)
        self._open[command_id] = pending
        self._queue.append(pending)
        return True

    def _join(self, twin: PendingCommand, pending: PendingCommand) -> None:
        worker = self._worker
        if len(twin.deliveries) >= worker.config.mailbox_max:
            what = f"{worker.config.mailbox_max} deliveries of one command wait for its answer"
            raise worker.admission.refusal(what, "mailbox_max")
        if not twin.is_same(pending):
            pending.counts.invalid += 1
            worker.respond(pending.deliveries[0], other_command(pending))
            return
        worker.counters.duplicates += 1
        pending.counts.duplicate += 1
        twin.merge(pending)

    def put_back(self, pending: PendingCommand) -> None:
        """Let a command of the turn wait again, before all others."""
        self._queue.appendleft(pending)

    def put_last(self, pending: PendingCommand) -> None:
        """Let a command of the turn wait again, behind all others."""
        self._queue.append(pending)

    def put_back_all(self, commands: Iterable[PendingCommand]) -> None:
        """Let commands of the turn wait again, before all others and in this order."""
        self._queue.extendleft(reversed(list(commands)))

    # ------------------------------------------------------------------------------------------ out

    @property
    def first(self) -> PendingCommand:
        """The command that has waited longest. Raises IndexError when none waits."""
        return self._queue[0]

    def next(self) -> PendingCommand:
        """The command that has waited longest, for the turn. Raises IndexError when none waits."""
        return self._queue.popleft()

    def answer(self, pending: PendingCommand, answer: bytes) -> None:
        """Answer a command of the turn for good, to every caller who sent it."""
        self._close(pending)
        measured: PendingCommand | None = pending
        for delivery in pending.deliveries:
            self._worker.respond(delivery, answer, measured)
            measured = None  # once, however many callers wait for it

    def drop(self, pending: PendingCommand) -> None:
        """Forget a command of the turn without an answer, because the lease has ended: its callers ask the owner."""
        self._close(pending)
        self._worker.counters.answers_fenced += len(pending.deliveries)

    def refuse_waiting(self, error: AetherError, of_tells: AetherError | None = None) -> None:
        """Answer all that wait with an error that came before they ran; tells with another one, if that is given."""
        while self._queue:
            pending = self._queue.popleft()
            why = error if of_tells is None or pending.told is None else of_tells
            self._count_refused(pending, why)
            self.answer(pending, encode_error(why))

    def refuse_unactivated(self, error: AetherError) -> None:
        """Answer all that wait with why the actor cannot be activated. Tells have not failed by that: they wait."""
        later = Unavailable(f"{self._actor_id} cannot be activated: {words(error)}", **{NOT_ACTIVATED: True})
        while self._queue:
            pending = self._queue.popleft()
            self._count_refused(pending, error)
            waits = pending.told is not None and not isinstance(error, Unavailable)
            self.answer(pending, encode_error(later if waits else error))

    def expire(self, why: AetherError) -> None:
        """Answer those that wait beyond their deadline; `why` says what they waited for."""
        now_s = self._worker.clock.wall_s()
        waiting = list(self._queue)
        self._queue = deque(one for one in waiting if one.expires_s > now_s)
        for one in waiting:
            if one.expires_s <= now_s:
                one.counts.timed_out += 1
                self.answer(one, encode_error(DeadlineExceeded(f"the history could not be read in time: {why}")))

    def abandon(self) -> tuple[list[PendingCommand], list[PendingCommand]]:
        """Forget all commands without an answer: those of the turn, and those that waited."""
        waiting = list(self._queue)
        queued = {one.id for one in waiting}
        in_turn = [one for command_id, one in self._open.items() if command_id not in queued]
        self._worker.admission.release(len(self._open))
        self._open.clear()
        self._queue.clear()
        return in_turn, waiting

    def refuse(self, abandoned: list[PendingCommand], error: AetherError) -> None:
        """Answer commands that were abandoned all the same: nothing of them is stored."""
        answer = encode_error(error)
        for pending in abandoned:
            self._count_refused(pending, error)
            for delivery in pending.deliveries:
                self._worker.respond(delivery, answer)

    def _count_refused(self, pending: PendingCommand, error: AetherError) -> None:
        pending.counts.refused(error)
        self._worker.note_failure(self._actor_id, pending.command, error)

    def _close(self, pending: PendingCommand) -> None:
        del self._open[pending.id]
        self._worker.admission.release()
