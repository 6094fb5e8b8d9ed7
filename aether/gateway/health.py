"""Whether the pool answers, and whether it is whole. What was found is kept a moment, so that asking costs nothing."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from aether.core.cluster.overview import ShardState
from aether.errors import AetherError
from aether.gateway.routes import Exchange
from aether.ids import ActorId
from aether.model.model import Model
from aether.untyped_client import UntypedClient

KEPT_S = 1.0
CANARY_DEADLINE_S = 2.0
CANARIES = 16
"""Actors that are asked in turn, of various shards. They are never used, so they have no history."""


class Health:
    """`/healthz` and `/readyz`."""

    def __init__(self, model: Model, client: UntypedClient) -> None:
        self._client = client
        kind = next(iter(model)).kind
        self._canaries = itertools.cycle(ActorId(kind, f"aether-canary-{number}") for number in range(CANARIES))
        self.healthy = CachedFinding(self._canary_answers)
        self.ready = CachedFinding(self._pool_is_whole)

    async def answer_health(self, exchange: Exchange) -> None:
        """200 when the state of some actor could be read just now, else 503."""
        await _answer(exchange, await self.healthy.value())

    async def answer_readiness(self, draining: bool, exchange: Exchange) -> None:
        """200 when every shard has a worker that serves it and this gateway is not stopping, else 503."""
        await _answer(exchange, "the gateway is stopping" if draining else await self.ready.value())

    async def _canary_answers(self) -> str:
        try:
            await self._client.state(next(self._canaries), deadline_s=CANARY_DEADLINE_S)
        except AetherError:
            return "no worker answers"
        return ""

    async def _pool_is_whole(self) -> str:
        try:
            found = await self._client.overview(deadline_s=CANARY_DEADLINE_S)
        except AetherError:
            return "the table of workers cannot be read"
        orphaned = sum(shard.state in (ShardState.FREE, ShardState.ORPHANED) for shard in found.shards)
        return f"{orphaned} of {len(found.shards)} shards have no worker" if orphaned else ""


Ask: TypeAlias = Callable[[], Awaitable[str]]
"""Finds out what is wrong; "" when nothing is."""


class CachedFinding:
    """What `ask` found, "" or what is wrong, for `KEPT_S`; one asks at a time."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._found = ""
        self._until_s = float("-inf")

    async def value(self) -> str:
        """What is wrong now, or was a moment ago."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._until_s:
            async with self._asking:
                if loop.time() >= self._until_s:
                    self._found = await self._ask()
                    self._until_s = loop.time() + KEPT_S
        return self._found


async def _answer(exchange: Exchange, why: str) -> None:
    if why:
        await exchange.answer_json({"status": "unavailable", "why": why}, status=503)
    else:
        await exchange.answer_json({"status": "ok"})
