"""Runs the tasks of one worker: takes starts as it has room, calls their functions, and stores what they come to.

For each task of the model one loop takes starts; each start that is taken is one `asyncio.Task` from its claim until
its result is a tell in the inbox stream, or it is put off to be tried again. Meanwhile the claim is kept alive. A start
may be handed out again at any time, here or elsewhere: the actor's agenda lets one result count. It owns the runs, the
thread pool of plain functions, and what it knows of cancelled tasks. One event loop.
"""

import asyncio
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial

from aether.background import Background
from aether.core.backoff import Backoff
from aether.errors import AetherError, InvalidCommand
from aether.log_lines import Repeated, words
from aether.model.task_type import TaskType
from aether.ports import Subscription, TaskClaim
from aether.recent import Recent
from aether.runtime.task_notes import token_of_waiting
from aether.runtime.task_room import TaskRoom
from aether.runtime.task_run import TaskRun
from aether.runtime.task_worker import TaskWorker
from aether.sends import decode_start
from aether.tracing.configured import configured_tracing
from aether.waiting_tells import RunningTask

WAIT_S = 15.0
"""How long one request waits for a start, where none is there."""

KEPT_PER_TTL = 3
"""So often within its time to live a claim is kept alive."""

UNREADABLE_AGAIN_S = 60.0
"""When a start that cannot be read is handed out again: a worker of a later version may know it."""

GIVE_BACK_S = 1.0
"""How long it may take to say of all that runs that it is given back."""

HEAR_LATE_S = 1.0
"""When it is looked whether a cancelled task waits, though who cancelled it has ended the wait of what waited then."""

DONE_KEPT = 10_000
CANCELLED_KEPT = 100_000
"""So many ids of tasks that were done or put off here, or cancelled, are known; one forgotten costs one more run."""

NO_PLACE = (
    "functions that are over and go on keep all places for a task: its starts wait until they end, or until a reload"
)

AGAIN = Backoff(first_s=0.1, cap_s=5.0)

log = logging.getLogger("aether.tasks")


class TaskRunner:
    """The tasks of one worker, from `start` until `drain` or `close`. `types`: those of its model, by name."""

    def __init__(self, worker: TaskWorker, types: Mapping[str, TaskType]) -> None:
        self._tasks = worker.tasks
        self._config = config = worker.config
        self._jitter = worker.jitter
        self._ttl_s = worker.ttl_s
        self._threads = ThreadPoolExecutor(config.task_threads_max, thread_name_prefix="aether task")
        self._worker = replace(
            worker,
            threads=self._threads,
            cancelled=lambda task_id: self._cancelled.get(task_id) or "",
            left=self._function_left,
            tracing=configured_tracing(),
        )
        self._draining = False
        self._types = types
        self._runs: dict[str, TaskRun] = {}
        self._room = TaskRoom(config)
        self._unplaced: dict[str, TaskClaim] = {}
        """By task: a start that came unasked, of which it is not known yet whether there is room for it."""
        self._done: Recent[str, bool] = Recent(DONE_KEPT)
        self._put_off: Recent[str, bool] = Recent(DONE_KEPT)
        """Tasks that were put off here: their cancellation may be heard too late."""
        self._cancelled: Recent[str, str] = Recent(CANCELLED_KEPT)
        self._following: Subscription | None = None
        self._background = Background()
        self._takers = Background()
        self._running = Background()

    def start(self) -> None:
        """Begin to take starts, in the background."""
        for task_type in self._types.values():
            self._takers.forever(f"aether task {task_type.name}", partial(self._take_for_ever, task_type))
        self._background.forever("aether cancelled tasks", self._follow_cancelled)
        self._background.forever("aether task claims", self._keep_alive)

    @property
    def running(self) -> int:
        """How many tasks run."""
        return len(self._runs)

    def lines(self) -> list[RunningTask]:
        """Which tasks run."""
        return [run.line() for run in self._runs.values()]

    async def drain(self) -> None:
        """Take no more, let what runs go on for `task_drain_s`, and give the rest back. Idempotent.

        That is half of `drain_timeout_s` at most: to give back takes a while, and so does what a worker leaves after.
        """
        if self._draining:
            return
        self._draining = True
        await self._takers.stop()
        await asyncio.gather(*map(self._leave, self._types.values()))
        if self._running.tasks:
            goes_on_s = min(self._config.task_drain_s, self._config.drain_timeout_s / 2)
            await asyncio.wait(set(self._running.tasks), timeout=goes_on_s)
        for run in list(self._runs.values()):
            run.give_back()
        if self._running.tasks:
            await asyncio.wait(set(self._running.tasks), timeout=self._config.cancel_grace_s + GIVE_BACK_S)

    async def close(self, timeout_s: float) -> None:
        """End at once: what runs is cancelled, and handed out again elsewhere when its time is over. Idempotent."""
        self._draining = True
        await self._takers.stop(timeout_s)
        await self._background.stop(timeout_s)
        await self._running.stop(timeout_s)
        following, self._following = self._following, None
        if following is not None:
            await following.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------------------------------ taking

    async def _take_for_ever(self, task_type: TaskType) -> None:
        attempt, not_taken = 0, Repeated(log, logging.INFO, "no starts of tasks can be taken now")
        while True:
            try:
                await self._tasks.open(task_type.name, self._ttl_s)
                while True:
                    await self._take(task_type)
                    attempt = 0
                    not_taken.over()
            except AetherError as error:
                not_taken.again(task=task_type.name, error=words(error))
                await asyncio.sleep(AGAIN.delay_s(attempt, self._jitter()))
                attempt += 1

    async def _take(self, task_type: TaskType) -> None:
        """Take what is there and fits; when nothing is there, wait for one, which goes back if it has no room."""
        room = await self._room.ask(task_type)
        try:
            claims = await self._tasks.take(task_type.name, room, 0.0)
            for claim in claims:
                self._begin(task_type, claim)
        finally:
            self._room.asked(task_type, room)
        if not claims:
            for claim in await self._tasks.take(task_type.name, 1, WAIT_S):
                await self._place(task_type, claim)

    async def _place(self, task_type: TaskType, claim: TaskClaim) -> None:
        """Begin a start that came after a while, in which others may have taken the room: then give it back."""
        self._unplaced[task_type.name] = claim
        has_room = await self._room.ask_for_one(task_type)
        del self._unplaced[task_type.name]
        if has_room:
            self._begin(task_type, claim)
            self._room.asked(task_type, 1)
        elif (run := self._run_of(task_type, claim)) is not None:
            back = self._running.once(f"aether task {task_type.name}", _handed_back(run))
            await asyncio.shield(back)  # to its end, though this loop is stopped meanwhile

    def _begin(self, task_type: TaskType, claim: TaskClaim) -> None:
        run = self._run_of(task_type, claim)
        if run is None:
            return
        self._runs[run.start.id] = run
        self._room.enter(task_type)
        task = self._running.once(f"aether task {task_type.name}", run.live())
        task.add_done_callback(lambda _: self._ended(run))

    def _run_of(self, task_type: TaskType, claim: TaskClaim) -> TaskRun | None:
        """The run that a claim begins; None when there is none to begin."""
        try:
            start = decode_start(claim.payload)
        except InvalidCommand as error:
            log.error("a start of a task cannot be read", extra={"sequence": claim.sequence, "error": words(error)})
            self._tasks.again(claim, UNREADABLE_AGAIN_S)
            return None
        known = self._runs.get(start.id)
        if known is not None:
            known.claim = claim
            return None
        if self._done.get(start.id):
            self._tasks.done(claim)
            return None
        return TaskRun(self._worker, task_type, start, claim)

    def _ended(self, run: TaskRun) -> None:
        self._runs.pop(run.start.id, None)
        if run.done:
            self._done.put(run.start.id, True)
        elif run.put_off:
            self._put_off.put(run.start.id, True)
        if run.left:
            self._room.leave(run.task_type)
        elif self._room.stay(run.task_type) and not self._draining:
            log.error(NO_PLACE, extra={"task": run.task_type.name})

    def _function_left(self, run: TaskRun) -> None:
        self._room.leave_thread(run.task_type)
        if self._runs.get(run.start.id) is not run:  # it was given up before, and its function went on
            self._room.leave_late(run.task_type)

    async def _leave(self, task_type: TaskType) -> None:
        """Take no more of a task; what has arrived just now is given back, within `GIVE_BACK_S`."""
        try:
            claims = await self._tasks.leave(task_type.name)
            if (unplaced := self._unplaced.pop(task_type.name, None)) is not None:
                claims = [unplaced, *claims]
            runs = [run for run in (self._run_of(task_type, claim) for claim in claims) if run is not None]
            async with asyncio.timeout(GIVE_BACK_S):
                await asyncio.gather(*(run.hand_back() for run in runs))
        except (AetherError, TimeoutError) as error:
            log.info("a worker that leaves cannot say so", extra={"task": task_type.name, "error": words(error)})

    # ------------------------------------------------------------------------------------------ in the background

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_s / KEPT_PER_TTL)
            for run in self._runs.values():
                run.keep()

    async def _follow_cancelled(self) -> None:
        attempt, not_followed = 0, Repeated(log, logging.INFO, "which tasks are cancelled cannot be followed now")
        while self._following is None:
            try:
                self._following = await self._tasks.follow_cancelled(self._hear_cancelled)
            except AetherError as error:
                not_followed.again(error=words(error))
                await asyncio.sleep(AGAIN.delay_s(attempt, self._jitter()))
                attempt += 1
        await asyncio.Event().wait()

    def _hear_cancelled(self, task_id: str, reason: str) -> None:
        self._cancelled.put(task_id, reason)
        run = self._runs.get(task_id)
        if not reason:
            return
        if run is not None and not run.put_off:
            run.cancel()
        elif run is not None or self._put_off.get(task_id):
            self._background.once("aether late cancellation", self._hear_late(task_id))

    async def _hear_late(self, task_id: str) -> None:
        """End the wait of a cancelled task, unless who cancelled it has: it may have been put off after that looked."""
        await asyncio.sleep(HEAR_LATE_S)
        with suppress(AetherError):  # then it ends when its next attempt is due
            if token := token_of_waiting(await self._tasks.row(task_id)):
                self._tasks.hurry(token)


async def _handed_back(run: TaskRun) -> None:
    try:
        await run.hand_back()
    except AetherError as error:  # it is handed out again when the time of its claim is over
        extra = {"task": run.task_type.name, "task_id": run.start.id, "error": words(error)}
        log.info("a start of a task cannot be given back now", extra=extra)
