"""What a run of a task needs the store for: what is written down of its failures, and its result as a tell.

Each waits until the store answers, or until its worker leaves. Stateless.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from msgspec import Raw

from aether.core.backoff import Backoff
from aether.errors import AetherError, InvalidCommand
from aether.log_lines import words
from aether.names import shard_of
from aether.runtime.task_notes import TaskNote, decode_note
from aether.runtime.task_worker import TaskWorker
from aether.sends import StartTask
from aether.tells import Tell, encode_tell

SEND_AGAIN = Backoff(first_s=0.05, cap_s=2.0)

log = logging.getLogger("aether.tasks")


async def known_note(worker: TaskWorker, task_id: str, leaves: Callable[[], bool]) -> TaskNote | None:
    """What is written down of a task, once the store answers. Raises `Unavailable` when the worker leaves before."""
    attempt = 0
    while True:
        try:
            return decode_note(await worker.tasks.row(task_id))
        except AetherError:
            if leaves():
                raise
            await asyncio.sleep(SEND_AGAIN.delay_s(attempt, worker.jitter()))
            attempt += 1


async def store_result(
    worker: TaskWorker,
    start: StartTask,
    command: str,
    args: bytes,
    traceparent: str,
    fields: Mapping[str, str],
    leaves: Callable[[], bool],
) -> bool:
    """Tell the actor that started the task, by a command; False when the worker leaves before that is stored.

    A result without a command is told, too, so that the actor knows that the task is over. Raises `InvalidCommand` for
    arguments that are too large.
    """
    actor_id = start.actor_id
    tell = Tell(
        kind=actor_id.kind,
        key=actor_id.key,
        command=command,
        args=Raw(args),
        id=start.result_id,
        correlationid=start.correlationid,
        causationid=start.causationid,
        traceparent=traceparent,
    )
    payload, target, attempt = encode_tell(tell), shard_of(actor_id, worker.shards), 0
    while True:
        try:
            await worker.inbox.send(target, payload, start.result_id)
        except InvalidCommand as error:
            if error.path != "id":
                raise
            log.info("a task was run twice, and another result of it counts", extra=fields)
            return True
        except AetherError as error:
            if leaves():
                return False
            log.info("a task's result cannot be stored now", extra={**fields, "error": words(error)})
            await asyncio.sleep(SEND_AGAIN.delay_s(attempt, worker.jitter()))
            attempt += 1
        else:
            return True
