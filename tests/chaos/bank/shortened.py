"""The bank's model in workers that shorten the inbox all the time: `tests.chaos.bank.shortened:model`.

`WITHOUT` leaves a need out: a check that passes such a run would find nothing.
"""

import sys
from collections.abc import Mapping

from aether import Model, inbox_needs
from aether.core.inbox_floor import InboxNeed
from aether.jetstream import adapters
from tests.chaos.bank import model as bank
from tests.support.shortening import shorten_all_the_time

UNSYNCED_S = 0.5
"""So long a schedule that was set keeps its shard's mark back: no power is cut here."""

WITHOUT: Mapping[str, str] = {"starts": "start_need"}
"""The needs of tells and of marks are found to be missing by simulation: `tests/property/test_inbox_purge_laws.py`."""


def _nothing(*_: object) -> InboxNeed:
    return InboxNeed(sys.maxsize, "nothing")


def __getattr__(name: str) -> Model:
    if name != "model" and name not in WITHOUT:
        raise AttributeError(name)
    shorten_all_the_time()
    vars(adapters)["UNSYNCED_S"] = UNSYNCED_S
    if name in WITHOUT:
        vars(inbox_needs)[WITHOUT[name]] = _nothing
    return bank.model
