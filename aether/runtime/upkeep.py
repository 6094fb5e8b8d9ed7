"""What a runtime does by itself: passivates idle actors, and asks a store that refuses events whether it still does."""

import asyncio

from aether.core.health import Health, Need
from aether.errors import AetherError
from aether.ports import EventStore
from aether.runtime.registry import Registry
from aether.runtime.worker_context import WorkerContext

SWEEP_S = 1.0
"""Seconds between two looks for idle actors, at most."""

SWEEP_MAX = 64
"""Actors that are passivated between two iterations of the event loop."""

APPENDS_ASK_S = 0.5
"""Seconds between two questions to a store that refuses events."""


async def passivate_idle(worker: WorkerContext, registry: Registry) -> None:
    """For ever: passivate what has been unused for `idle_passivation_s`, a bounded number at a time."""
    idle_s = worker.config.idle_passivation_s
    while True:
        await asyncio.sleep(min(SWEEP_S, idle_s / 4))
        since_s = worker.clock.boot_s() - idle_s
        while unused := registry.unused_since(since_s, most=SWEEP_MAX):
            for machine in unused:
                if machine.unsaved:
                    await worker.snapshots.until_room()
                if machine.idle and machine.last_used_s < since_s:  # still so, after the wait
                    machine.retire()
                    worker.counters.passivations += 1
            await asyncio.sleep(0)


async def ask_whether_appends_are_taken(store: EventStore, health: Health) -> None:
    """For ever: while the store refuses events no command is tried, so the store has to be asked."""
    while True:
        await asyncio.sleep(APPENDS_ASK_S)
        if not health.why(Need.APPENDS):
            continue
        try:
            why = await store.appends_refused()
        except AetherError:
            continue  # the store says nothing: what it said last holds
        if why:
            health.wrong(Need.APPENDS, why)
        else:
            health.well(Need.APPENDS)
