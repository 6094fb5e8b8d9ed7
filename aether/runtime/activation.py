"""Activation: the coroutine that replays a machine's history, with retries, until the machine can take turns.

Coroutines of the runtime are apart from machines and turns, which are plain calls and can be compiled; a coroutine with
`try` or `with` around an `await` must not be (docs/decisions/compiled-hot-path.md).
"""

import asyncio
import logging
from contextlib import suppress

from msgspec.structs import replace

from aether.core.sustained import Sustained
from aether.errors import ActorFailed, AetherError, HistoryRegressed, Unavailable, UnreadableEvent
from aether.log_lines import shown
from aether.ports import Fenced
from aether.runtime.fold import Fold
from aether.runtime.protocols import Machine
from aether.runtime.worker_context import WorkerContext

log = logging.getLogger("aether.machine")

OVERDUE_S = 60.0
"""A schedule that is due for so long and has not ticked is armed again when its actor is activated."""

SEND_WAIT_S = 5.0
"""How long the first commit of a shard that sends something waits until it may."""


async def send_once_ready(machine: Machine, worker: WorkerContext, payload: bytes) -> None:
    """Let a machine commit what its turn has decided, once a commit of its shard may send something.

    When that takes too long nothing is sent, as if the lease had ended: its callers ask again.
    """
    try:
        ready = False
        with suppress(TimeoutError):
            async with asyncio.timeout(SEND_WAIT_S):
                ready = worker.telling is not None and await worker.telling.ready(machine.shard)
        if machine.stopped:
            return
        if ready:
            machine.commit(payload)
        else:
            machine.take_outcome(Fenced())
    except BaseException as error:
        if machine.stopped:
            raise
        machine.fault(error)


async def replay(machine: Machine, worker: WorkerContext, delay_s: float, *, activates: bool = False) -> None:
    """Replay until it succeeds, or no caller waits any more, or the history says that it cannot.

    How long it took is measured if it `activates` the machine: the later ones are repairs.
    """
    begun_s = worker.clock.boot_s()
    try:
        fold = await _replay(machine, worker, delay_s)
        if activates and fold is not None and not machine.stopped:
            worker.counters.activation_seconds.observe(worker.clock.boot_s() - begun_s)
            _arm_overdue(fold, worker)
    except BaseException as error:
        if machine.stopped:  # and with it, this was cancelled
            raise
        machine.fault(error)


def _arm_overdue(fold: Fold, worker: WorkerContext) -> None:
    """Its ticks may be lost, with the end of a stream. To give one out twice does no harm."""
    agenda, telling = fold.agenda, worker.telling
    if agenda is None or telling is None:
        return
    since_s, actor = worker.clock.wall_s() - OVERDUE_S, str(fold.actor_id)
    overdue = [replace(one, source=actor) for one in agenda.schedules.values() if one.at.timestamp() < since_s]
    if overdue:
        worker.armed_again.again(actor=actor, count=len(overdue))
        telling.arm_again(overdue)


async def _replay(machine: Machine, worker: WorkerContext, delay_s: float) -> Fold | None:
    """The fold with which the machine goes on; None when it has ended."""
    attempt, regressed = 0, Sustained(worker.stale_s)
    while True:
        if delay_s:
            await asyncio.sleep(delay_s)
        try:
            async with worker.activations:
                started_s, seen = worker.clock.boot_s(), machine.seen
                fold, version = await worker.replayer.replay(machine.actor_id, machine.actor_type, machine)
            machine.replayed(fold, version, seen, worker.clock.boot_s() - started_s)
            return fold
        except Exception as error:
            again = _passing(error, regressed, worker)
            if again is None:  # whatever it is, every caller hears of it
                if not machine.stopped:
                    machine.failed(_not_loaded(machine, worker, error))
                return None
            if not machine.still_wanted(again):
                return None
            delay_s = worker.retry_delay_s(attempt)
            attempt += 1


def _passing(error: Exception, regressed: Sustained, worker: WorkerContext) -> Unavailable | None:
    """Why the history is read again; None when that is of no use. A replaced leader gives one without its end."""
    if isinstance(error, HistoryRegressed) and not regressed.observed(worker.clock.boot_s()):
        return Unavailable(f"{error.message}; a leader that was replaced may say so", **error.details)
    return error if isinstance(error, Unavailable) else None


def _not_loaded(machine: Machine, worker: WorkerContext, error: Exception) -> AetherError:
    """What the callers of an actor hear whose history cannot be folded; it is counted and logged."""
    if isinstance(error, UnreadableEvent):
        error = worker.foreign(error)
    if isinstance(error, Unavailable):  # the history is another version's: no fault of ours
        return error
    actor = str(machine.actor_id)
    worker.counters.actors_not_loaded += 1
    log.error("an actor cannot be activated", exc_info=error, extra={"actor": actor})
    if isinstance(error, AetherError):
        return error
    return ActorFailed(f"{actor} cannot be activated: {shown(error)}", actor=actor)
