"""A machine and its turn as the rest of the runtime sees them: what may be asked of them from below.

`VirtualMachine` and `Turn` are what they describe; the modules that both of these use know them by these protocols.
"""

from typing import Protocol

from aether.errors import AetherError, Unavailable
from aether.ids import ActorId, Version
from aether.model.definition import ActorType, Scope
from aether.ports import AppendOutcome
from aether.runtime.fold import Fold
from aether.runtime.handler_task import HandlerResult


class Machine(Scope, Protocol):
    """A virtual machine."""

    actor_id: ActorId
    actor_type: ActorType
    shard: int

    @property
    def id(self) -> str:
        """Its name in the log."""
        ...

    @property
    def source(self) -> str:
        """The CloudEvents source of the actor's events."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether it has ended, perhaps in the midst of a turn or a replay."""
        ...

    @property
    def seen(self) -> int:
        """The latest position that was heard of and not applied."""
        ...

    def run_turn(self) -> None:
        """Run the commands that wait."""
        ...

    def turn_over(self) -> None:
        """The handlers of its turn have run: commit, or go on."""
        ...

    def commit(self, payload: bytes) -> None:
        """Append what its turn has decided."""
        ...

    def take_outcome(self, outcome: AppendOutcome) -> None:
        """What came of that."""
        ...

    def still_wanted(self, why: Unavailable) -> bool:
        """Its history cannot be read now: whether a caller still waits, so that it is read again."""
        ...

    def replayed(self, fold: Fold, snapshot_version: Version, seen: int, took_s: float) -> None:
        """Go on with this fold. `seen` is what had been heard of when the read began. Raises `HistoryRegressed`."""
        ...

    def failed(self, error: AetherError) -> None:
        """Its history cannot be folded: answer its callers and end."""
        ...

    def fault(self, error: BaseException) -> None:
        """Something within the runtime raised on its behalf: end, and leave the actor to another machine."""
        ...


class RunningTurn(Protocol):
    """A turn that has begun."""

    def finish(self, now_s: float) -> None:
        """Encode what its last command has emitted, and end; `now_s` is the time, Unix seconds."""
        ...

    def handler_ended(self, end: HandlerResult, late: bool) -> None:
        """The handler that it awaits has ended; `late` says that it was past its deadline."""
        ...

    def handler_detached(self, error: AetherError) -> None:
        """The handler goes on, and is not waited for any longer: `error` is its caller's answer."""
        ...

    def fault(self, error: BaseException) -> None:
        """Something that is no handler raised: its machine is given up."""
        ...
