"""What an actor's page asks of others: it waits a moment for it, and says what did not come."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from aether.errors import AetherError

ACTOR_WAIT_S = 0.5
"""How long the page of an actor waits for what the workers or the store say of it."""

T = TypeVar("T")


async def soon(asked: Awaitable[T]) -> T | None:
    """What comes of it within `ACTOR_WAIT_S`; None when nothing does, or when it cannot be known now."""
    try:
        async with asyncio.timeout(ACTOR_WAIT_S):
            return await asked
    except (AetherError, TimeoutError):
        return None
