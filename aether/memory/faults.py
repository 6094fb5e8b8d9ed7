"""What can go wrong on the way to a server, as values that a test decides from outside.

At each step the plan is asked once and answers with a fault or None, so a run with the same plan is the same run:
nothing here is random. `FAULTS_OF` says which fault can happen where; the adapters say what each one does there.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, unique
from typing import TypeAlias


@unique
class FaultPoint(Enum):
    """Where the plan is asked."""

    APPEND = "append"
    LAST = "last"
    READ = "read"
    SNAPSHOT_READ = "snapshot read"
    SNAPSHOT_WRITE = "snapshot write"
    TABLE_READ = "table read"
    TABLE_WRITE = "table write"
    NOTICE = "notice"
    REQUEST = "request"
    ANSWER = "answer"
    TELL = "tell"
    TELL_READ = "tell read"
    TIMER = "timer"
    TIMER_READ = "timer read"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class Late:
    """It happens; its outcome arrives `delay_s` seconds later."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Lost:
    """It does not happen, and its outcome is unknown."""


@dataclass(frozen=True, slots=True)
class StoredUnknown:
    """It happens; the acknowledgement is lost."""


@dataclass(frozen=True, slots=True)
class StoredLater:
    """The acknowledgement is lost at once, and the write lands `delay_s` seconds after."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Stale:
    """A direct read is answered by a replica that does not have the last write yet."""


@dataclass(frozen=True, slots=True)
class Again:
    """A request is delivered twice."""


@dataclass(frozen=True, slots=True)
class NoResponders:
    """A request finds no worker, as between two owners."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A notice does not arrive; the gap shows at the next one, or at the rescan."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection breaks before the step: all in flight is unknown; it is back after `down_s` seconds."""

    down_s: float


Fault: TypeAlias = (
    Late | Lost | StoredUnknown | StoredLater | Stale | Again | NoResponders | Dropped | Disconnected
)  # fmt: skip

FAULTS_OF: Mapping[FaultPoint, frozenset[type[Fault]]] = {
    FaultPoint.APPEND: frozenset({Late, Lost, StoredUnknown, StoredLater, Disconnected}),
    FaultPoint.LAST: frozenset({Late, Lost, Disconnected}),
    FaultPoint.READ: frozenset({Late, Lost, Stale, Disconnected}),
    FaultPoint.SNAPSHOT_READ: frozenset({Late, Lost, Stale, Disconnected}),
    FaultPoint.SNAPSHOT_WRITE: frozenset({Late, Lost, StoredUnknown, Disconnected}),
    FaultPoint.TABLE_READ: frozenset({Late, Lost, Disconnected}),
    FaultPoint.TABLE_WRITE: frozenset({Late, Lost, StoredUnknown, Disconnected}),
    FaultPoint.NOTICE: frozenset({Late, Dropped}),
    FaultPoint.REQUEST: frozenset({Late, Lost, Again, NoResponders, Disconnected}),
    FaultPoint.ANSWER: frozenset({Late, Lost}),
    FaultPoint.TELL: frozenset({Late, Lost, StoredUnknown, StoredLater, Disconnected}),
    FaultPoint.TELL_READ: frozenset({Late, Lost, Disconnected}),
    FaultPoint.TIMER: frozenset({Late, Lost, StoredUnknown, StoredLater, Disconnected}),
    FaultPoint.TIMER_READ: frozenset({Late, Lost, Disconnected}),
    FaultPoint.TASK: frozenset({Lost}),
}
"""Which fault can happen at which step."""


class Faults:
    """A plan: `decide` is asked once at each step."""

    def __init__(self, decide: Callable[[FaultPoint], Fault | None]) -> None:
        self._decide = decide

    @classmethod
    def none(cls) -> "Faults":
        """Nothing goes wrong."""
        return cls(lambda step: None)

    @classmethod
    def script(cls, script: Iterable[tuple[FaultPoint, Fault | None]]) -> "Faults":
        """The nth entry of a step is the fate of its nth occurrence, None lets it pass; afterwards all goes well."""
        waiting: dict[FaultPoint, deque[Fault | None]] = {}
        for step, fault in script:
            waiting.setdefault(step, deque()).append(fault)
        return cls(lambda step: waiting[step].popleft() if waiting.get(step) else None)

    def at(self, step: FaultPoint) -> Fault | None:
        """The fault of this occurrence of `step`. Raises ValueError for one that cannot happen there."""
        fault = self._decide(step)
        if fault is not None and type(fault) not in FAULTS_OF[step]:
            raise ValueError(f"{fault} cannot happen at {step.value}")
        return fault
