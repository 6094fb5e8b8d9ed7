"""Hands the tells to one shard that were read to the machines of their actors, and hears what becomes of them.

An actor's tells are handed over in order, several at once; one that fails is tried again, with back-off, and those
behind it wait, while other actors go on. Where a kind's tells need not be in order the actor stores that one has
failed, and then it has a line of its own. What fails too often is given up: that is written down first, so that it
is found again (`aether.runtime.dead_letter_rows`), and then the actor commits it. All of it runs in the event loop's
callbacks. It owns the lines of tells of its shard.
"""

import logging
from collections.abc import Callable
from functools import partial

from aether.config import RuntimeConfig
from aether.core.backoff import Backoff
from aether.errors import AetherError
from aether.ids import ActorId
from aether.log_lines import Repeated, words
from aether.ports import Clock, Delivery, TellPlace
from aether.runtime.call_later import call_later_by
from aether.runtime.counters import Counters
from aether.runtime.dead_letter_rows import DeadLetterRows
from aether.runtime.tell_line import (
    DONE,
    NOT_RUN,
    PendingTell,
    TellLine,
    TellRoom,
    command_of,
    counts,
    error_of,
    handed_over,
    is_hopeless,
    last_answer,
    pause_s,
    unknown_of,
    waiting_of,
    why_it_stays,
)
from aether.tells import Tell
from aether.waiting_tells import WaitingTells
from aether.wire import PARKED_END, decided, decode_answer, encode_error

WINDOW = 64
"""So many tells of one actor are handed over at once."""

UNANSWERED_S = 5.0
"""A tell without an answer for so long is handed over again: the lease may have lapsed, and the machine dropped it."""

STAYS_EVERY_S = 600.0
"""How often a shard says that a tell waits for long."""

log = logging.getLogger("aether.inbox")


class TellDelivery:
    """What was read of one shard and is not done, until `close`. `applied` is called with the sequence of what is."""

    def __init__(
        self,
        shard: int,
        *,
        receive: Callable[[Delivery], None],
        applied: Callable[[int], None],
        clock: Clock,
        config: RuntimeConfig,
        counters: Counters,
        dead_letters: DeadLetterRows,
        jitter: Callable[[], float],
        room: TellRoom,
    ) -> None:
        self._shard = shard
        self._receive = receive
        self._applied = applied
        self._clock = clock
        self._attempts_max = config.tell_attempts_max
        self._retry = Backoff(first_s=config.tell_retry_first_s, cap_s=config.tell_retry_max_s)
        self._counters = counters
        self._dead_letters = dead_letters
        self._jitter = jitter
        self._room = room
        self._call_later = call_later_by(clock)
        self._lines: dict[ActorId, TellLine] = {}
        self._parked: dict[int, tuple[ActorId, TellLine]] = {}
        self._closed = False
        self._hand_overs = 0
        self._stays = Repeated(log, logging.WARNING, "a tell waits and has not failed", every_s=STAYS_EVERY_S)

    def lines(self) -> list[WaitingTells]:
        """What waits, actor by actor."""
        now_s = self._clock.wall_s()
        return [waiting_of(actor_id, line, self._shard, now_s) for actor_id, line in self._all_lines()]

    def take(self, sequence: int, tell: Tell, target: ActorId) -> None:
        """The next tell of the shard that was read."""
        line = self._lines.get(target)
        if line is None:
            line = self._lines[target] = TellLine()
        line.tells.append(PendingTell(sequence, tell, self._clock.wall_s()))
        self._hand_over(target, line)

    def connected(self) -> None:
        """What was handed over may have been dropped with the connection: hand it over again."""
        for actor_id, line in self._all_lines():
            self._again(actor_id, line)

    def look(self) -> None:
        """Hand over again what has had no answer for too long; say which tell waits for long. Now and then."""
        now_s = self._clock.wall_s()
        for actor_id, line in self._all_lines():
            if line.open and line.since_s < now_s - UNANSWERED_S:
                self._again(actor_id, line)
            elif (error := why_it_stays(line, now_s)) is not None:
                head = line.tells[0]
                fields = {"actor": str(actor_id), "sequence": head.sequence, "tells": len(line.tells)}
                self._stays.again(**fields, waits_s=round(now_s - head.read_s), error=words(error))

    def give_up(self, actor_id: ActorId, until: int | None) -> int:
        """Have what waits for an actor given up without another try, up to this sequence or all; how many that are.

        What its actor has in hand just now may yet be applied.
        """
        count = 0
        for line in [line for one, line in self._all_lines() if one == actor_id]:
            for pending in list(line.tells):
                if pending.done or (until is not None and pending.sequence > until):
                    continue
                count += 1
                if not pending.given_up:
                    pending.given_up = last_answer(pending)
                if not pending.hand_over:
                    self._bury(actor_id, line, pending)
        log.warning("tells are given up at an operator's wish", extra={"actor": str(actor_id), "tells": count})
        return count

    def close(self) -> None:
        """Hand over nothing more, and hear no more answers."""
        self._closed = True
        for _, line in self._all_lines():
            self._room.came_back(line.open)
            if line.timer is not None:
                line.timer.cancel()

    def _all_lines(self) -> list[tuple[ActorId, TellLine]]:
        return [*self._lines.items(), *self._parked.values()]

    # ------------------------------------------------------------------------------------------ hand over

    def _hand_over(self, actor_id: ActorId, line: TellLine, in_turn: bool = False) -> None:
        """Hand over what may be; one tell where it is the line's turn. It goes on with the answers, or in its turn."""
        if self._closed:
            return
        now_s, room = self._clock.wall_s(), self._room
        while not line.failed and line.handed < min(len(line.tells), WINDOW):
            if not in_turn and not room.is_free:
                if not line.open and not line.waits:
                    line.waits = True
                    room.wait(partial(self._in_turn, actor_id, line))
                return
            in_turn = False
            pending = line.tells[line.handed]
            if pending.given_up and not pending.buried:
                self._bury(actor_id, line, pending)
                return  # it goes on when its row is written
            before = next((one.sequence for one in handed_over(line) if not one.done), 0)
            line.handed += 1
            if pending.done:
                continue
            line.open += 1
            room.in_hand += 1
            line.since_s = now_s
            self._hand_overs += 1
            pending.hand_over = self._hand_overs
            command, tell = command_of(pending.tell, now_s), pending.tell
            place = TellPlace(command, pending.sequence, before, pending.given_up, tell.due)
            respond = partial(self._answered, actor_id, line, pending, pending.hand_over)
            self._receive(Delivery(self._shard, actor_id, b"", respond, place))

    def _in_turn(self, actor_id: ActorId, line: TellLine) -> None:
        line.waits = False
        self._hand_over(actor_id, line, in_turn=True)

    def _again(self, actor_id: ActorId, line: TellLine) -> None:
        if line.timer is not None:
            line.timer.cancel()
        for one in handed_over(line):
            one.hand_over = 0
        self._room.came_back(line.open)
        line.timer, line.failed, line.handed, line.open = None, False, 0, 0
        head = line.tells[0] if line.tells else None
        if head is not None and head.given_up and not head.buried:
            self._bury(actor_id, line, head)
        else:
            self._hand_over(actor_id, line)

    # ------------------------------------------------------------------------------------------ answers

    def _answered(self, actor_id: ActorId, line: TellLine, pending: PendingTell, hand_over: int, answer: bytes) -> None:
        """One attempt may be handed over several times, and all have its answer: that of the last one counts."""
        if self._closed or pending.hand_over != hand_over:
            return
        pending.hand_over = 0
        line.open -= 1
        self._room.came_back(1)
        error = None if answer.startswith(DONE) else error_of(decode_answer(answer))
        if error is None:
            if answer.startswith(NOT_RUN) and not pending.given_up:
                extra = {"actor": str(actor_id), "sequence": pending.sequence, "command_id": pending.tell.id}
                log.error("a tell is not run: its id was given to another command, or to other arguments", extra=extra)
            if pending.given_up:
                self._dead_letters.over(pending.sequence, committed=answer == decided(pending.given_up))
            self._done(actor_id, line, pending)
        elif answer.endswith(PARKED_END) and not line.parked:
            self._park(actor_id, line, pending, error)
        else:
            self._failed(line, pending, error)
        if line.failed and line.tells and not line.open:
            self._later(actor_id, line)
        elif not line.failed:
            self._hand_over(actor_id, line)

    def _park(self, actor_id: ActorId, line: TellLine, pending: PendingTell, error: AetherError) -> None:
        """It has failed, and has a line of its own from now on: those behind it go on."""
        gone = PendingTell(pending.sequence, pending.tell, pending.read_s)
        gone.done = True
        line.tells[line.tells.index(pending)] = gone
        self._shorten(actor_id, line)
        own = TellLine(parked=pending.sequence)
        own.tells.append(pending)
        self._parked[pending.sequence] = (actor_id, own)
        self._failed(own, pending, error)
        self._later(actor_id, own)

    def _done(self, actor_id: ActorId, line: TellLine, pending: PendingTell) -> None:
        pending.done = True
        line.tries = 0
        self._shorten(actor_id, line)
        self._applied(pending.sequence)

    def _shorten(self, actor_id: ActorId, line: TellLine) -> None:
        while line.tells and line.tells[0].done:
            line.tells.popleft()
            line.handed = max(0, line.handed - 1)
        if line.tells:
            return
        if line.parked:
            self._parked.pop(line.parked, None)
        else:
            self._lines.pop(actor_id, None)

    def _failed(self, line: TellLine, pending: PendingTell, error: AetherError) -> None:
        line.failed = True
        if pending is not line.tells[0]:
            return
        pending.error = error
        if pending.given_up or not counts(error):
            return
        pending.failures += 1
        self._counters.tells_failed += 1
        extra = {"actor": str(pending.tell.target), "sequence": pending.sequence, "failures": pending.failures}
        if pending.failures < self._attempts_max and not is_hopeless(line, pending.tell, error):
            log.warning("a tell has failed and is tried again", extra={**extra, "error": words(error)})
            return
        log.error("a tell has failed too often and is given up", extra={**extra, "error": words(error)})
        pending.given_up, line.gone = encode_error(error), unknown_of(pending.tell, error) or line.gone

    def _later(self, actor_id: ActorId, line: TellLine) -> None:
        """All that was handed over has come back: hand it over again after a while."""
        head = line.tells[0]
        if head.given_up and not head.buried:
            self._bury(actor_id, line, head)
            return
        delay_s = pause_s(line, self._retry, self._jitter())
        line.tries += 1
        line.timer = self._call_later(delay_s, partial(self._again, actor_id, line))

    def _bury(self, actor_id: ActorId, line: TellLine, pending: PendingTell) -> None:
        """Write down that it is given up, and then have its actor commit it."""

        def written() -> None:
            pending.buried = True
            if not line.open:
                self._again(actor_id, line)

        if pending.dying:
            return
        pending.dying = True
        error = decode_answer(pending.given_up).error
        assert error is not None
        self._dead_letters.give_up(pending.sequence, pending.tell, pending.failures, error, written)
