"""Says which starts of tasks no worker takes: those of a task that the model has lost, or has under another name.

They are kept, and run once a model has the task again; but the operator is to hear of them. Only looks and logs.
"""

import asyncio
import logging
from collections.abc import Callable, Container

from aether.errors import AetherError, Unavailable, UnknownCommand
from aether.ports import Tasks

FIRST_LOOK_S = 10.0
LOOK_EVERY_S = 60.0

log = logging.getLogger("aether.tasks")


async def tell_unknown_tasks(
    tasks: Tasks, known: Container[str], foreign: Callable[[AetherError], AetherError]
) -> None:
    """Look for ever, and log each such task once, until there is nothing of it any more.

    `known`: the model's tasks. `foreign` gives `Unavailable` while workers of another version are there, which may have
    the others.
    """
    told: set[str] = set()
    delay_s = FIRST_LOOK_S
    while True:
        await asyncio.sleep(delay_s)
        delay_s = LOOK_EVERY_S
        try:
            backlog = await tasks.backlog()
        except AetherError:  # it is looked for again
            continue
        found = {one.task: one.waiting + one.taken for one in backlog if one.task not in known}
        waiting = {task: count for task, count in found.items() if count}
        if waiting and isinstance(foreign(UnknownCommand("the model does not have these tasks")), Unavailable):
            continue
        for task in sorted(waiting.keys() - told):
            log.error(
                "starts of a task wait that the model does not have: give it a task of that name until they are done",
                extra={"task": task, "starts": waiting[task]},
            )
        told = set(waiting)
