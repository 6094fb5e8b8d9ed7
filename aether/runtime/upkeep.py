"""What a runtime does by itself: passivate idle actors, ask a store that refuses events, measure its event loop, and
look for starts of tasks that its model has not.
"""

import asyncio

from aether.background import Background
from aether.core.health import Health, Need
from aether.core.metrics.histogram import Histogram
from aether.errors import AetherError
from aether.model.model import Model
from aether.ports import EventStore
from aether.runtime.assembly import make_unknown_tasks
from aether.runtime.registry import Registry
from aether.runtime.surroundings import Surroundings
from aether.runtime.worker_context import WorkerContext

SWEEP_S = 1.0
"""Seconds between two looks for idle actors, at most."""

SWEEP_MAX = 64
"""Actors that are passivated between two iterations of the event loop."""

APPENDS_ASK_S = 0.5
"""Seconds between two questions to a store that refuses events."""

LAG_LOOK_S = 0.25
"""Seconds between two measurements of the event loop's lag."""


def begin_upkeep(
    background: Background, around: Surroundings, model: Model, worker: WorkerContext, registry: Registry
) -> None:
    """Do all of it in the background, for the runtime of this worker."""
    store, health = around.event_store, around.health
    if worker.config.idle_passivation_s:
        background.forever("aether passivation", lambda: passivate_idle(worker, registry))
    background.forever("aether refused appends", lambda: ask_whether_appends_are_taken(store, health))
    background.forever("aether loop lag", lambda: measure_loop_lag(worker.counters.loop_lag_seconds))
    unknown = make_unknown_tasks(around, model, worker)
    if unknown is not None:
        background.forever("aether unknown tasks", unknown.run)


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


async def measure_loop_lag(seconds: Histogram) -> None:
    """For ever: measure how late a timer of the event loop is."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + LAG_LOOK_S
        await asyncio.sleep(LAG_LOOK_S)
        seconds.observe(max(0.0, loop.time() - due_s))
