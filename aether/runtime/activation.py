"""Activation: the coroutine that replays a machine's history, with retries, until the machine can take turns.

Coroutines of the runtime are apart from machines and turns, which are plain calls and can be compiled; a coroutine with
`try` or `with` around an `await` must not be (docs/decisions.md).
"""

import asyncio

from aether.errors import Unavailable
from aether.runtime.protocols import Machine
from aether.runtime.worker_context import WorkerContext


async def replay(machine: Machine, worker: WorkerContext, delay_s: float, *, activates: bool = False) -> None:
    """Replay until it succeeds, or no caller waits any more, or the history says that it cannot.

    How long it took is measured if it `activates` the machine: the later ones are repairs.
    """
    begun_s = worker.clock.boot_s()
    try:
        await _replay(machine, worker, delay_s)
        if activates and not machine.stopped:
            worker.counters.activation_seconds.observe(worker.clock.boot_s() - begun_s)
    except BaseException as error:
        if machine.stopped:  # and with it, this was cancelled
            raise
        machine.fault(error)


async def _replay(machine: Machine, worker: WorkerContext, delay_s: float) -> None:
    attempt = 0
    while True:
        if delay_s:
            await asyncio.sleep(delay_s)
        try:
            async with worker.activations:
                started_s, seen = worker.clock.boot_s(), machine.seen
                fold, version = await worker.replayer.replay(machine.actor_id, machine.actor_type, machine)
            machine.replayed(fold, version, seen, worker.clock.boot_s() - started_s)
            return
        except Unavailable as error:
            if not machine.still_wanted(error):
                return
            delay_s = worker.retry_delay_s(attempt)
            attempt += 1
        except Exception as error:  # whatever it is, every caller hears of it
            machine.failed(error)
            return
