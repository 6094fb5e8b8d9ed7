"""What keeps a worker from serving, by what it needs. Pure: it decides what is reported, the shell reports it."""

from collections.abc import Callable
from enum import Enum


class Need(Enum):
    """What a worker cannot do without. The value says what is wrong when it is missing."""

    APPENDS = "the store takes no events"
    ANSWERS = "the store does not say what becomes of events"
    ROW = "the member's row is not renewed"
    LAYOUT = "the namespace on the server is not as it must be"
    SNAPSHOTS = "snapshots are not stored"
    TELLS = "tells are not stored"


HELPFUL = frozenset({Need.SNAPSHOTS, Need.TELLS})
"""Without these a worker serves calls: slower, and what is told later."""


class Health:
    """Why a worker does not serve (`trouble`), if it does not.

    `changed` is called for each need that begins to be missing, with the reason, and when it is met again, without one.

    Its writers are the runtime, the cluster and the worker, on one event loop.
    """

    __slots__ = ("_changed", "_wrong", "trouble")

    def __init__(self, changed: Callable[["Health", Need, str], None] = lambda health, need, why: None) -> None:
        self._changed = changed
        self._wrong: dict[Need, str] = {}
        self.trouble = ""

    def wrong(self, need: Need, why: str) -> bool:
        """A need is missing; whether that is new."""
        new = need not in self._wrong
        self._wrong[need] = why
        self._describe()
        if new:
            self._changed(self, need, why)
        return new

    def well(self, need: Need) -> None:
        """A need is met."""
        if self._wrong.pop(need, None) is not None:
            self._describe()
            self._changed(self, need, "")

    @property
    def lacks(self) -> bool:
        """Whether anything is missing, even what it can serve without."""
        return bool(self._wrong)

    @property
    def missing(self) -> int:
        """How many needs are missing."""
        return len(self._wrong)

    def why(self, need: Need) -> str:
        """Why a need is missing, "" when it is met."""
        return self._wrong.get(need, "")

    def _describe(self) -> None:
        self.trouble = "; ".join(f"{need.value}: {why}" for need, why in self._wrong.items() if need not in HELPFUL)
