"""What its appends and reads tell a worker of the store: whether it takes events, and whether it answers.

One object a runtime, on its event loop; machines report to it. It decides nothing for them: it tells `Health`, by which
the worker says whether it is ready, and the log.
"""

import logging

from aether.core.health import Health, Need
from aether.errors import Unavailable
from aether.ids import ActorId
from aether.log_lines import Repeated, words
from aether.ports import Unknown
from aether.runtime.counters import Counters

UNANSWERED_IN_ROW_MAX = 4
"""After so many appends without an answer and none that was stored between the worker says that it is not ready."""

log = logging.getLogger("aether.worker")


class StoreHealth:
    """`unsure`: the last append was refused or has no known outcome, so that a stored one is news."""

    def __init__(self, health: Health, counters: Counters) -> None:
        self.unsure = False
        self._health = health
        self._counters = counters
        self._unanswered_in_row = 0
        self._unread = Repeated(log, logging.INFO, "histories cannot be read now")
        self._unknown_outcomes = Repeated(log, logging.WARNING, "appends have no known outcome")

    def refused(self, reason: str) -> None:
        """The store takes no events now: until one is stored, or it says that it would take one, none is tried."""
        self._counters.appends_refused += 1
        self.unsure = True
        self._health.wrong(Need.APPENDS, reason)

    def unknown(self, actor_id: ActorId, outcome: Unknown) -> None:
        """An append has no known outcome; so many in a row and the store counts as one that does not answer."""
        self._counters.unknown_outcomes += 1
        self.unsure = True
        self._unknown_outcomes.again(actor=str(actor_id), reason=outcome.reason)
        self._unanswered_in_row += outcome.unanswered
        if self._unanswered_in_row >= UNANSWERED_IN_ROW_MAX:
            self._health.wrong(Need.ANSWERS, outcome.reason)

    def unread(self, actor_id: ActorId, why: Unavailable) -> None:
        """A history cannot be read now; when that is because its stream is gone, nothing can be stored either."""
        self._unread.again(actor=str(actor_id), error=words(why))
        if why.details.get("gone"):
            self.unsure = True
            self._health.wrong(Need.APPENDS, words(why))

    def stored(self) -> None:
        """The first append after some that were not."""
        self.unsure = False
        self._unanswered_in_row = 0
        self._unknown_outcomes.over()
        self._health.well(Need.APPENDS)
        self._health.well(Need.ANSWERS)
