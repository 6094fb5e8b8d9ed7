"""What a worker answers when it is asked which tells wait at it, and which tasks it runs.

Tells are told per actor, what fails first and then the oldest; of tasks, those that have run longest come first.

Nothing is decided from it. The answer is bounded; what is left out is counted. Pure.
"""

from collections.abc import Awaitable, Callable, Iterable

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace

from aether.wire import ErrorBody

LINES_MAX = 200
"""So many actors, and so many tasks, one worker tells of."""

MESSAGE_CHARS_MAX = 200


class WaitingTells(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The tells that wait for one actor, as its owner knows them.

    - `count`: how many. `first`: the sequence of the first one in the inbox stream, which is its id; `command`: what
      it runs; `waits_s`: how long ago, in seconds, this worker has read it.
    - `failures`, `error`: how often the first one has failed here, and why the last time.
    """

    actor: str
    shard: int
    count: int
    first: int
    command: str
    waits_s: float
    failures: int = 0
    error: ErrorBody | None = None
    member: str = ""


class RunningTask(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task that a worker runs: its id, its name, the actor that has started it as `kind/key`.

    `attempt`: which one it is, from 1. `runs_s`: since when this worker has it, in seconds.
    """

    id: str
    task: str
    actor: str
    attempt: int
    runs_s: float
    member: str = ""


class _Answer(Struct, frozen=True, kw_only=True):
    member: str
    waiting: list[WaitingTells]
    left_out: int = 0
    running: list[RunningTask] = []
    not_told: int = 0


_Ask = Callable[[Callable[[bytes], bool], float], Awaitable[None]]


_encoder = Encoder()
_decoder = Decoder(_Answer)


def encode_waiting(member: str, waiting: Iterable[WaitingTells], running: Iterable[RunningTask] = ()) -> bytes:
    """A worker's answer."""
    found = sorted(waiting, key=lambda one: (-one.failures, -one.waits_s))
    tasks = sorted(running, key=lambda one: -one.runs_s)
    answer = _Answer(
        member=member,
        waiting=found[:LINES_MAX],
        left_out=max(0, len(found) - LINES_MAX),
        running=tasks[:LINES_MAX],
        not_told=max(0, len(tasks) - LINES_MAX),
    )
    return _encoder.encode(answer)


async def ask_waiting(ask: _Ask, members: frozenset[str], timeout_s: float) -> tuple[list[WaitingTells], int]:
    """What waits at the workers that answer in time, and for how many more actors something waits."""
    told = await _answers(ask, members, timeout_s)
    lines = [replace(line, member=member) for member, answer in told.items() for line in answer.waiting]
    found = sorted(lines, key=lambda one: (-one.failures, -one.waits_s))
    return found, sum(answer.left_out for answer in told.values())


async def ask_running(ask: _Ask, members: frozenset[str], timeout_s: float) -> tuple[list[RunningTask], int]:
    """The tasks that the workers run that answer in time, and how many more they run."""
    told = await _answers(ask, members, timeout_s)
    lines = [replace(line, member=member) for member, answer in told.items() for line in answer.running]
    return sorted(lines, key=lambda one: -one.runs_s), sum(answer.not_told for answer in told.values())


async def _answers(ask: _Ask, members: frozenset[str], timeout_s: float) -> dict[str, _Answer]:
    told: dict[str, _Answer] = {}

    def heard(raw: bytes) -> bool:
        try:
            answer = _decoder.decode(raw)
        except (DecodeError, ValidationError):
            return False
        told[answer.member] = answer
        return bool(members) and told.keys() >= members

    await ask(heard, timeout_s)
    return told
