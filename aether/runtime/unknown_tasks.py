"""Starts of tasks that the model has lost, or has under another name: no loop of this worker takes them.

They are kept, and run once a model has the task again; the operator hears of them. One that is cancelled ends all the
same: to have its start, what is open of its task is taken, and what is not cancelled goes back, which is no attempt.
While workers of another version are there, which may have the task, nothing is done. One asyncio task; it owns what it
knows of cancelled tasks.
"""

import asyncio
import logging
from collections.abc import Container
from dataclasses import replace

from aether.errors import AetherError, InvalidCommand, Unavailable, UnknownCommand
from aether.model.task_type import TaskType
from aether.model.tasks import Retry, task
from aether.ports import Subscription, TaskBacklog, TaskClaim
from aether.recent import Recent
from aether.runtime.task_run import TaskRun
from aether.runtime.task_worker import TaskWorker
from aether.sends import decode_start

FIRST_LOOK_S = 10.0
LOOK_EVERY_S = 60.0

BACK_S = 10.0
"""When what was taken and is not cancelled is handed out again: later than all that is open was taken."""

TAKE_MAX = 64
CANCELLED_KEPT = 100_000

log = logging.getLogger("aether.tasks")


class UnknownTasks:
    """Looks for such starts, from `run` until that is cancelled. `known`: the model's tasks."""

    def __init__(self, worker: TaskWorker, known: Container[str]) -> None:
        self._worker = replace(worker, cancelled=lambda task_id: self._cancelled.get(task_id) or "")
        self._known = known
        self._told: set[str] = set()
        self._cancelled: Recent[str, str] = Recent(CANCELLED_KEPT)
        self._over: Recent[str, bool] = Recent(CANCELLED_KEPT)
        """Cancelled tasks of which no start is open."""
        self._following: Subscription | None = None

    async def run(self) -> None:
        """Look for ever. What the server does not answer is asked at the next look."""
        delay_s = FIRST_LOOK_S
        try:
            while True:
                await asyncio.sleep(delay_s * (1 - self._worker.jitter() / 2))
                delay_s = LOOK_EVERY_S
                try:
                    await self._look()
                except AetherError as error:
                    log.debug("starts of unknown tasks cannot be looked for now", exc_info=error)
        finally:
            await self._unfollow()

    async def _look(self) -> None:
        waiting = [one for one in await self._backlog() if one.task not in self._known]
        if waiting and isinstance(self._worker.foreign(UnknownCommand("the model lacks these tasks")), Unavailable):
            return
        self._tell(waiting)
        if not waiting:
            await self._unfollow()
            return
        if self._following is None:
            self._following = await self._worker.tasks.follow_cancelled(self._cancelled.put)
        for one in waiting:
            await self._end_cancelled(one)

    async def _backlog(self) -> list[TaskBacklog]:
        return [one for one in await self._worker.tasks.backlog() if one.waiting + one.taken]

    def _tell(self, waiting: list[TaskBacklog]) -> None:
        for one in waiting:
            if one.task not in self._told:
                text = "starts of a task wait that the model does not have: give it a task of that name, or cancel them"
                log.error(text, extra={"task": one.task, "starts": one.waiting + one.taken})
        self._told = {one.task for one in waiting}

    async def _end_cancelled(self, backlog: TaskBacklog) -> None:
        cancelled = await self._cancelled_starts(backlog.task)
        if not cancelled:
            return
        put_back = await self._go_through(backlog)
        left = [one for one in await self._backlog() if one.task == backlog.task]
        if all(not one.waiting and one.taken <= put_back for one in left):  # all that is open was in our hands
            for task_id in cancelled:
                self._over.put(task_id, True)

    async def _cancelled_starts(self, name: str) -> list[str]:
        """Which starts of the task are cancelled, and not known to be over."""
        found: list[str] = []
        for payload in await self._worker.tasks.stored(name):
            try:
                task_id = decode_start(payload).id
            except InvalidCommand:
                continue
            if self._worker.cancelled(task_id) and not self._over.get(task_id):
                found.append(task_id)
        return found

    async def _go_through(self, backlog: TaskBacklog) -> int:
        """Take what is open, and end what is cancelled; how many are put back."""
        tasks, put_back, left = self._worker.tasks, 0, backlog.waiting + backlog.taken
        stand_in = TaskType(_unknown)
        stand_in.name = backlog.task
        await tasks.open(backlog.task, self._worker.ttl_s)
        try:
            while left > 0 and (claims := await tasks.take(backlog.task, min(left, TAKE_MAX), 0.0)):
                left -= len(claims)
                runs = await asyncio.gather(*(self._see_to(stand_in, claim) for claim in claims))
                put_back += runs.count(False)
        finally:
            for claim in await tasks.leave(backlog.task):
                put_back += not await self._see_to(stand_in, claim)
        return put_back

    async def _see_to(self, stand_in: TaskType, claim: TaskClaim) -> bool:
        """End a start if it is cancelled, else put it back; whether it has ended."""
        try:
            run = _UnknownRun(self._worker, stand_in, decode_start(claim.payload), claim)
        except InvalidCommand:  # a later version may read it
            self._worker.tasks.again(claim, BACK_S)
            return False
        await run.live()
        return run.done

    async def _unfollow(self) -> None:
        following, self._following = self._following, None
        if following is not None:
            await following.stop()


@task(retry=Retry(attempts=2**53))
async def _unknown() -> None:
    """Stands for the function that the model has not. It is never called."""


class _UnknownRun(TaskRun):
    """A start without a function: it ends if it is cancelled, else it goes back."""

    __slots__ = ()

    async def _try(self) -> None:
        await self._hand_back(BACK_S)
