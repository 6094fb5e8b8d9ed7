"""Answers what an actor's state was at an earlier version: a fold of its history, beside its machine.

Owns the readings that are under way. They count as waiting commands, so the worker's bound holds for them too, and a
drain waits for them. They run on the event loop and touch no machine.
"""

import asyncio
import logging
from typing import Any

from aether.errors import ActorFailed, AetherError, DeadlineExceeded, UnreadableEvent
from aether.log_lines import shown
from aether.model.definition import ActorType, State
from aether.ports import Delivery, EventStore
from aether.runtime.counters import CommandCounts
from aether.runtime.replay import fold_until
from aether.runtime.state_query import encode_state_reply, not_there_yet
from aether.runtime.worker_context import WorkerContext
from aether.wire import encode_answer, encode_error

log = logging.getLogger("aether.state")


class StateAtVersion:
    """The readings of one runtime."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._readings: set[asyncio.Task[Any]] = set()

    def answer(
        self,
        delivery: Delivery,
        actor_type: ActorType,
        version: int,
        within_s: float,
        worker: WorkerContext,
        counts: CommandCounts,
    ) -> None:
        """Answer with the state at `version`, in the background. Raises `Overloaded` at `waiting_max`."""
        worker.admission.admit()
        reading = worker.spawn(self._answer(delivery, actor_type, version, within_s, worker, counts))
        self._readings.add(reading)
        reading.add_done_callback(self._readings.discard)

    async def wait_idle(self) -> None:
        """Wait until none is under way."""
        if self._readings:
            await asyncio.wait(self._readings)

    async def _answer(
        self,
        delivery: Delivery,
        actor_type: ActorType,
        version: int,
        within_s: float,
        worker: WorkerContext,
        counts: CommandCounts,
    ) -> None:
        failure: AetherError | None = None
        answer = b""
        try:
            async with asyncio.timeout(within_s), worker.activations:
                fold = await fold_until(self._store, delivery.actor_id, actor_type, version)
            if fold.version < version:
                raise not_there_yet(delivery.actor_id, version, fold.version)
            reply = encode_state_reply(delivery.actor_id, fold.version, _encoded(actor_type, fold.state))
            answer = encode_answer(reply, fold.version, fold.position)
            counts.ok += 1
        except TimeoutError:
            failure = DeadlineExceeded("the history was not read in time", outcome_known=True)
        except AetherError as error:
            failure = worker.foreign(error) if isinstance(error, UnreadableEvent) else error
        except Exception as error:
            log.exception("an earlier state cannot be shown", extra={"actor": str(delivery.actor_id)})
            failure = ActorFailed(shown(error), actor=str(delivery.actor_id))
        finally:
            worker.admission.release()
        if failure is not None:
            counts.refused(failure)
            answer = encode_error(failure)
        worker.respond(delivery, answer)


def _encoded(actor_type: ActorType, state: State) -> bytes:
    try:
        return actor_type.encode_state(state)
    except BaseException as error:  # users' code: nothing of it may end the task, or the loop
        raise ActorFailed(f"the state cannot be shown: {shown(error)}") from error
