"""What a worker's log says of its health. A line when it lacks something, with the reason, and one when it is over.

Troubles come together: a server without room takes neither events nor rows. Only the first is logged as an error.
"""

import logging

from aether.core.health import HELPFUL, Health, Need

log = logging.getLogger("aether.health")


def log_health(health: Health, need: Need, why: str) -> None:
    """A need is missing for a reason, or, without one, met again."""
    if why:
        level = logging.ERROR if health.missing == 1 else logging.WARNING
        log.log(level, "not ready: %s" if need not in HELPFUL else "%s", need.value, extra={"error": why})
    else:
        level = logging.INFO if health.lacks else logging.WARNING
        log.log(level, "that is over: %s", need.value)
