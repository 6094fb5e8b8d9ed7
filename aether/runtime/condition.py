"""What a worker's log says of its health. A line when it lacks something, with the reason, and one when it is over."""

import logging

from aether.core.health import HELPFUL, Need

log = logging.getLogger("aether.health")


def told(need: Need, why: str) -> None:
    """A need is missing for a reason, or, without one, met again."""
    if why:
        log.error("not ready: %s" if need not in HELPFUL else "%s", need.value, extra={"error": why})
    else:
        log.warning("that is over: %s", need.value)
