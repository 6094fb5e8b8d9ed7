"""The bank's model in workers that shorten the inbox all the time: `tests.chaos.bank.shortened:model`.

Another name of `WITHOUT` leaves a need out: a check that passes such a run would find nothing.
"""

import sys
from collections.abc import Mapping

from aether import Model, inbox_needs
from aether.core.inbox_floor import Need
from tests.chaos.bank.model import model
from tests.support.shortening import shorten_all_the_time

WITHOUT: Mapping[str, str] = {"tells": "tell_need", "marks": "relay_need", "starts": "start_need"}


def _nothing(*_: object) -> Need:
    return Need(sys.maxsize, "nothing")


def __getattr__(name: str) -> Model:
    if name != "model" and name not in WITHOUT:
        raise AttributeError(name)
    shorten_all_the_time()
    if name in WITHOUT:
        vars(inbox_needs)[WITHOUT[name]] = _nothing
    return model
