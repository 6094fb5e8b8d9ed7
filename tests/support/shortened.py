"""The transfers model for workers that shorten the inbox all the time, down to the last few tells."""

from aether.runtime import relaying, telling
from tests.support.transfers import Till, model

__all__ = ["Till", "model"]

for module in (relaying, telling):
    vars(module)["RENEW_TELLS"] = 20
telling.PURGE_EVERY_S = 0.2
