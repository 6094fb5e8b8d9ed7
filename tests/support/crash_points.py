"""Something happens at the nth step of a pool in memory: an await of any task, or an operation of its server."""

import asyncio
from collections.abc import Callable

from aether.memory.faults import FAULTS_OF, Fault, FaultPoint, StoredUnknown
from aether.testing.pool import LocalPool
from tests.support.stepping import Stepping


class Points:
    """The awaits of all tasks of the pool, and what it does at its server: something happens at the nth of them.

    `kind` says what counts: "await"; "before" an operation of the server, which is then not done if it was the dead
    worker's; "after" one, whose acknowledgement is lost.
    """

    def __init__(self, nth: int, kind: str) -> None:
        self.count = 0
        self.death: Callable[[], None] | None = None
        self._nth, self._kind = nth, kind
        Stepping(self._awaited).follow(asyncio.get_running_loop())

    def begin(self, pool: LocalPool, death: Callable[[], None]) -> None:
        self.death = death
        pool.server.faults._decide = self._operation

    def _next(self) -> bool:
        self.count += self.death is not None
        return self.death is not None and self.count == self._nth

    def _awaited(self, _: int) -> None:
        if self._kind == "await" and self._next():
            self._die()

    def _operation(self, step: FaultPoint) -> Fault | None:
        if self._kind == "await" or not self._next():
            return None
        if self._kind == "before":
            self._die()
        else:
            asyncio.get_running_loop().call_soon(self._die)
        return StoredUnknown() if self._kind == "after" and StoredUnknown in FAULTS_OF[step] else None

    def _die(self) -> None:
        if self.death is not None:
            self.death()
