"""Waiting for what can be observed of other processes, with a guard. The only place that polls."""

import asyncio
from collections.abc import Awaitable, Callable

LOOK_AGAIN_S = 0.05


class NotObserved(AssertionError):
    """What should have come to pass did not, within its guard."""


async def until(observed: Callable[[], bool], within_s: float, what: str) -> None:
    """Return when it is observed; `NotObserved` when that takes longer than the guard."""

    async def ask() -> bool:
        return observed()

    await until_answered(ask, within_s, what)


async def until_answered(observed: Callable[[], Awaitable[bool]], within_s: float, what: str) -> None:
    """As `until`, for what somebody must be asked for."""
    try:
        async with asyncio.timeout(within_s):
            while not await observed():  # noqa: ASYNC110 - other processes set no event of ours
                await asyncio.sleep(LOOK_AGAIN_S)
    except TimeoutError:
        raise NotObserved(f"{what}: not within {within_s:.0f} s") from None
