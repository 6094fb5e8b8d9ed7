"""The transfers model for workers that shorten the inbox all the time, down to the last few tells."""

from aether.runtime import relaying, shard_inbox, telling
from tests.support.transfers import Till, model

__all__ = ["Till", "model"]

for module in (relaying, telling):
    vars(module)["RENEW_TELLS"] = 20
telling.PURGE_EVERY_S = 0.2
shard_inbox.MARK_TELLS = 1
