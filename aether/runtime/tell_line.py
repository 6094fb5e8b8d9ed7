"""The tells to one actor that are not done, in their order; what a tell is as a command, and what its answer means.

Plain records and functions: `aether.runtime.tell_delivery` owns the lines and changes them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from aether.core.actor.agenda import is_tick_or_result
from aether.core.backoff import Backoff
from aether.errors import (
    ActorFailed,
    AetherError,
    DeadlineExceeded,
    Overloaded,
    Unavailable,
    UnknownActor,
    UnknownCommand,
)
from aether.ids import COMMAND_ID_CHARS_MAX, ORIGIN_CHARS_MAX, ActorId
from aether.log_lines import words
from aether.ports import Alarm
from aether.tells import RETRY, Tell
from aether.waiting_tells import MESSAGE_CHARS_MAX, WaitingTells
from aether.wire import (
    ENDED_WORKERS,
    NOT_ACTIVATED,
    NOT_TAKEN,
    Answer,
    Command,
    ErrorBody,
    answer_error,
    encode_error,
    instant,
)

DELIVERY_S = 30.0
"""How long a handler may take for a tell."""

ROOM_BYTES_MAX = 256 * 1024 * 1024
"""So many bytes of tells are in the memory of a worker; beyond that a shard reads on only while it has few."""

TELL_BYTES = 2048
"""A tell takes so much more memory than its message: what of it is an object of its own, and the line of its actor."""

SHARD_BYTES_MIN = 1024 * 1024
"""So many bytes of tells each shard reads, however many the others have."""

IN_HAND_MAX = 2_048
"""So many tells have been handed over by a worker and have no answer: a part of the commands that it admits."""

IN_TURN_AT_ONCE = 256
"""So many lines go on in one turn of the event loop."""

AGAIN = Backoff(first_s=0.05, cap_s=2.0)
"""How long to wait for what the worker or the time lacks."""

STAYS_S = 60.0
"""A tell that has waited for so long, and has not failed, is logged: its actor cannot be activated, for instance."""

DONE = b'{"ok":true'

NOT_RUN = b'{"error":{"code":"invalid_command"'
"""So begins a final answer that says that the id was given to another command."""


class TellRoom:
    """What of tells is in the memory of one worker, of all its shards: their bytes, and how many actors have in hand.

    Half of those in hand are for any line with tells; the other half is for lines with nothing in hand, one tell each,
    in turn. So a backlog does not take all commands that a worker admits, and slow actors hold up no others.
    """

    __slots__ = ("_due", "_waiting", "bytes", "in_hand")

    def __init__(self) -> None:
        self.bytes = 0
        self.in_hand = 0
        self._waiting: deque[Callable[[], None]] = deque()
        self._due = False

    @property
    def is_free(self) -> bool:
        """Whether a tell may be handed over out of turn."""
        return self.in_hand < IN_HAND_MAX // 2

    def wait(self, go_on: Callable[[], None]) -> None:
        """Call `go_on` once when it is its turn to hand over one tell."""
        self._waiting.append(go_on)
        self._go_on_soon()

    def came_back(self, count: int) -> None:
        """So many are not in hand any more."""
        self.in_hand -= count
        self._go_on_soon()

    def _go_on_soon(self) -> None:
        if self._waiting and self.in_hand < IN_HAND_MAX and not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._due = False
        for _ in range(min(len(self._waiting), IN_TURN_AT_ONCE)):
            if self.in_hand < IN_HAND_MAX:
                self._waiting.popleft()()
        self._go_on_soon()


class OpenTells:
    """The tells of one shard that are read and not done, in their order: by sequence, with their sizes in bytes."""

    __slots__ = ("_bytes", "_room", "_sizes")

    def __init__(self, room: TellRoom) -> None:
        self._room = room
        self._bytes = 0
        self._sizes: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def first(self) -> int:
        """The sequence of the first one; there has to be one."""
        return next(iter(self._sizes))

    def is_full(self, most: int) -> bool:
        """Whether no more is to be read: there are so many, or they take too much of the worker's memory."""
        too_large = self._bytes >= SHARD_BYTES_MIN and self._room.bytes >= ROOM_BYTES_MAX
        return too_large or len(self._sizes) >= most

    def add(self, sequence: int, size: int) -> None:
        """One was read, in a message of so many bytes."""
        size += TELL_BYTES
        self._sizes[sequence] = size
        self._bytes += size
        self._room.bytes += size

    def remove(self, sequence: int, most: int) -> bool:
        """One is done, perhaps once more; whether there is room again, of `most`."""
        was_full = self.is_full(most)
        size = self._sizes.pop(sequence, 0)
        self._bytes -= size
        self._room.bytes -= size
        return was_full and not self.is_full(most)

    def release(self) -> None:
        """The shard is left: its tells are not counted any more."""
        self._room.bytes -= self._bytes
        self._room = TellRoom()


class PendingTell:
    """A tell that is not done: `failures` counts how often its handler failed, the last time with `error`.

    `given_up` is that answer once it is not tried any more; `dying` says that its row as a dead letter is being
    written, and `buried` that it is. `hand_over` is the number of the one that has no answer yet, 0 for none.
    """

    __slots__ = (
        "buried", "done", "dying", "error", "failures", "given_up", "hand_over", "read_s", "sequence", "tell",
    )  # fmt: skip

    def __init__(self, sequence: int, tell: Tell, read_s: float) -> None:
        self.sequence = sequence
        self.tell = tell
        self.read_s = read_s
        self.failures = 0
        self.error: AetherError | None = None
        self.given_up = b""
        self.dying = self.buried = False
        self.done = False
        self.hand_over = 0


class TellLine:
    """The tells of one actor that are not done, in order. The first `handed` of them are with its machine.

    `open` of these have no answer yet; the last was handed over at `since_s` (Unix seconds). `failed`: one has failed,
    so nothing is handed over until all are back. `tries`: how often it went on after that, since a tell was done.
    `parked` is the sequence of the one tell of a line of its own, 0 for the line of all others. `gone` is what one was
    given up for that no worker has: see `unknown_of`. `waits` says that it is to have its turn: see `TellRoom`.
    """

    __slots__ = ("failed", "gone", "handed", "open", "parked", "since_s", "tells", "timer", "tries", "waits")

    def __init__(self, parked: int = 0) -> None:
        self.parked = parked
        self.tells: deque[PendingTell] = deque()
        self.handed = 0
        self.open = 0
        self.since_s = 0.0
        self.failed = False
        self.gone = ""
        self.tries = 0
        self.timer: Alarm | None = None
        self.waits = False


def handed_over(line: TellLine) -> Iterator[PendingTell]:
    """Those that were handed over, the last one first."""
    return (line.tells[index] for index in range(line.handed - 1, -1, -1))


def command_of(tell: Tell, now_s: float) -> Command:
    """The tell as a command. One whose id no caller gave is known by its place: no attempt of it is the first.

    Whatever another program has told has to fit into a commit, if only into the one that gives it up: what says where
    it comes from is cut, and an id that is too long stays too long.
    """
    return Command(
        id=tell.command_id[: COMMAND_ID_CHARS_MAX + 1],
        command=tell.command,
        args=tell.args,
        deadline=instant(now_s + DELIVERY_S),
        correlationid=tell.correlationid[:ORIGIN_CHARS_MAX],
        causationid=tell.causationid[:ORIGIN_CHARS_MAX],
        traceparent=tell.traceparent[:ORIGIN_CHARS_MAX],
        caller=(tell.source or tell.caller)[:ORIGIN_CHARS_MAX],
        attempt=2 if not tell.id or is_tick_or_result(tell.id) or tell.id.startswith(RETRY) else 0,
    )


def error_of(answer: Answer) -> AetherError | None:
    """Why the tell is not done, or None when it is: it has succeeded, or that it was refused is stored."""
    if answer.ok or answer.error is None:
        return None
    error = answer_error(answer.error)
    return None if answer.decided and not error.details.get(ENDED_WORKERS) else error


def is_hopeless(line: TellLine, tell: Tell, error: AetherError) -> bool:
    """Whether another try would change nothing: it has ended two workers, or one before it has waited for the same."""
    gone = unknown_of(tell, error)
    return bool(error.details.get(ENDED_WORKERS)) or (gone != "" and gone == line.gone)


def unknown_of(tell: Tell, error: AetherError) -> str:
    """What of a tell no worker takes: its command, "*" for its kind, or "". The next one that needs it has one try."""
    if isinstance(error, UnknownActor):
        return "*"
    return tell.command if isinstance(error, UnknownCommand) or error.details.get(NOT_TAKEN) else ""


def counts(error: AetherError) -> bool:
    """Whether it is the tell that has failed, and not the worker or the time."""
    if isinstance(error, DeadlineExceeded):
        return error.outcome_known
    return not isinstance(error, Unavailable | Overloaded)


def pause_s(line: TellLine, retry: Backoff, jitter: float) -> float:
    """How long a line waits whose first tell is not done. `retry` is for tells that have failed; `jitter` is in [0, 1).

    An actor that cannot be activated is seldom looked at: each time its history is read for nothing.
    """
    head = line.tells[0]
    if head.error is not None and head.error.details.get(NOT_ACTIVATED):
        return retry.delay_s(line.tries, jitter)
    return retry.delay_s(head.failures - 1, jitter) if head.failures else AGAIN.delay_s(line.tries, jitter)


def why_it_stays(line: TellLine, now_s: float) -> AetherError | None:
    """What its first tell waits for, if it has waited for long and for something else than its next try."""
    head = line.tells[0]
    waits = head.error is not None and not counts(head.error) and now_s - head.read_s >= STAYS_S
    return head.error if waits else None


def last_answer(pending: PendingTell) -> bytes:
    """How a tell has failed the last time, for one that an operator has given up; it may not have been tried."""
    untried = "an operator had it given up before it was tried"
    return encode_error(pending.error or ActorFailed(untried, actor=str(pending.tell.target)))


def waiting_of(actor_id: ActorId, line: TellLine, shard: int, now_s: float) -> WaitingTells:
    """What a worker says of a line when it is asked what waits."""
    head = line.tells[0]
    error = head.error
    return WaitingTells(
        actor=str(actor_id),
        shard=shard,
        count=sum(not one.done for one in line.tells),
        first=head.sequence,
        command=head.tell.command,
        waits_s=max(0.0, now_s - head.read_s),
        failures=head.failures,
        error=None if error is None else ErrorBody(error.code, words(error)[:MESSAGE_CHARS_MAX]),
    )
