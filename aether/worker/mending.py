"""What a worker does about a namespace that is not whole: streams that were deleted, settings that were changed."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

from aether.background import Background
from aether.core.health import Health, Need
from aether.errors import AetherError, ConfigError
from aether.log_lines import words
from aether.worker.node import Node

MEND_EVERY_S = 1.0
"""How often a worker that lacks something looks whether its namespace is whole."""

STUCK_ROUNDS = 3
"""After so many times without an answer to writes the supervisor is notified."""

MEND_SELDOM_ROUNDS = 5
"""One that lacks what it can serve without looks only every so many times."""

LOOK_SELDOM_ROUNDS = 20
"""And one that lacks nothing seldom: a setting may have been changed on the server."""

log = logging.getLogger("aether.worker")


@asynccontextmanager
async def mending(node: Node, health: Health, stuck: Callable[[], None]) -> AsyncIterator[None]:
    """Meanwhile what is deleted of the namespace is made anew, and what is changed on the server is named."""
    background = Background()
    background.forever("aether mending", partial(_mend, node, health, stuck))
    try:
        yield
    finally:
        await background.stop()


async def _mend(node: Node, health: Health, stuck: Callable[[], None]) -> None:
    rounds = unanswered = 0
    while True:
        await asyncio.sleep(MEND_EVERY_S)
        rounds += 1
        unanswered = unanswered + 1 if health.why(Need.ANSWERS) else 0
        if unanswered >= STUCK_ROUNDS:
            stuck()
        if rounds % (1 if health.trouble else MEND_SELDOM_ROUNDS if health.lacks else LOOK_SELDOM_ROUNDS):
            continue
        try:
            made = await node.restore()
        except ConfigError as error:
            health.wrong(Need.LAYOUT, words(error))
        except AetherError as error:
            log.debug("the namespace cannot be read", extra={"error": words(error)})
        else:
            health.well(Need.LAYOUT)
            for stream in made:
                log.error("a stream was gone and was made anew, empty", extra={"stream": stream})
