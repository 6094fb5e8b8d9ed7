"""Starts of tasks in memory: `Tasks`. The server's clock says when one is handed out again."""

import asyncio
from collections import deque
from collections.abc import Callable

from aether.memory.faults import FaultPoint, Lost
from aether.memory.feed import Feed
from aether.memory.link import Link
from aether.memory.task_queue import TaskQueue
from aether.names import Names
from aether.ports import Subscription, TaskBacklog, TaskClaim, TaskRow
from aether.sends import is_start_of

ROWS_KEPT_S = 7 * 24 * 3600.0
CANCELLED_KEPT_S = 600.0


class InMemoryTasks:
    """The starts of tasks of a namespace, as one node takes them."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._space = link.space
        self._names = Names(link.namespace, link.shards)
        self._queues: dict[str, TaskQueue] = {}
        self._unsent: deque[Callable[[], None]] = deque()
        link.on_up[self._send_unsent] = None

    # ---------------------------------------------------------------------------------------- starts

    async def open(self, task: str, ttl_s: float) -> None:
        """Take part in the task's queue. Raises `Unavailable`."""

        def join(_: bool) -> None:
            queue = self._queues[task] = self._space.task_queue(task, self._names.task_starts(task))
            queue.ttl_s = ttl_s

        await self._link.call(FaultPoint.TELL_READ, join)

    async def take(self, task: str, most: int, wait_s: float) -> list[TaskClaim]:
        """What is there, or the first that comes. Raises `Unavailable`.

        The wait is in real time: a clock that is moved forward by days need not stop at the end of each.
        """
        claims = await self._take(task, most)
        if claims or wait_s <= 0:
            return claims
        woken, queue = asyncio.Event(), self._queues[task]
        queue.wakers[woken.set] = None
        self._link.on_down[woken.set] = None
        ended: list[None] = []

        def end() -> None:
            ended.append(None)
            woken.set()

        patience = asyncio.get_running_loop().call_later(wait_s, end)
        try:
            while not ended:
                claims = await self._take(task, 1)
                if claims:
                    return claims
                await woken.wait()
                woken.clear()
        finally:
            patience.cancel()
            queue.wakers.pop(woken.set, None)
            self._link.on_down.pop(woken.set, None)
        return []

    async def _take(self, task: str, most: int) -> list[TaskClaim]:
        """Cancelled on its way back, what was handed out is handed out again when its time is over."""
        return await self._link.call(FaultPoint.TELL_READ, lambda _: self._queues[task].take(most))

    async def leave(self, task: str) -> list[TaskClaim]:
        """Take no more: nothing has arrived that was not given out."""
        self._queues.pop(task, None)
        return []

    def keep(self, claim: TaskClaim) -> None:
        """Begin its time anew."""
        if self._link.up and not isinstance(self._link.fault(FaultPoint.TASK), Lost):
            queue = self._space.queue_of_start(claim.sequence)
            queue.put_off(claim.sequence, queue.ttl_s)

    def done(self, claim: TaskClaim) -> None:
        """It is over."""
        self._say(lambda: self._space.queue_of_start(claim.sequence).done(claim.sequence))

    def again(self, claim: TaskClaim, delay_s: float) -> None:
        """Hand it out again after a while."""
        self._say(lambda: self._space.queue_of_start(claim.sequence).put_off(claim.sequence, delay_s))

    def hurry(self, token: str) -> None:
        """Hand it out again now."""
        if token.isdecimal():
            self._say(lambda: self._space.queue_of_start(int(token)).put_off(int(token), 0.0))

    def _say(self, do: Callable[[], None]) -> None:
        if not self._link.up:
            self._unsent.append(do)
        elif not isinstance(self._link.fault(FaultPoint.TASK), Lost):
            do()

    def _send_unsent(self) -> None:
        while self._unsent:
            self._unsent.popleft()()

    async def stored(self, task: str) -> list[bytes]:
        """The payloads of the starts of a task that the stream has. Raises `Unavailable`."""
        return await self._link.call(
            FaultPoint.TELL_READ,
            lambda _: [one.payload for one in self._space.tells if self._names.task_of_start(one.subject) == task],
        )

    async def has_start(self, task_id: str) -> bool:
        """Whether the stream has the start of a task. Raises `Unavailable`."""
        starts = self._names.task_of_start
        return await self._link.call(
            FaultPoint.TELL_READ,
            lambda _: any(starts(one.subject) and is_start_of(one.payload, task_id) for one in self._space.tells),
        )

    async def first_open(self) -> int:
        """The first start that is not done, or 0. Raises `Unavailable`."""
        return await self._link.call(
            FaultPoint.TELL_READ, lambda _: self._space.first_open_start(self._names.task_of_start)
        )

    # ---------------------------------------------------------------------------------------- rows

    async def row(self, task_id: str) -> bytes | None:
        """What is written down of a failed task. Raises `Unavailable`."""
        return await self._link.call(FaultPoint.TABLE_READ, lambda _: self._space.failed_tasks.get(task_id))

    async def write_row(self, task_id: str, payload: bytes) -> None:
        """Write down that a task has failed. Raises `Unavailable`."""

        def put(_: bool) -> None:
            self._space.failed_tasks.pop(task_id, None)
            self._space.failed_tasks[task_id] = payload

        await self._link.call(FaultPoint.TABLE_WRITE, put)

    async def drop_row(self, task_id: str) -> None:
        """Remove what is written down of it. Raises `Unavailable`."""
        await self._link.call(FaultPoint.TABLE_WRITE, lambda _: self._space.failed_tasks.pop(task_id, None))

    async def rows(self) -> list[TaskRow]:
        """All failed tasks, the last one to fail last. Raises `Unavailable`."""
        return await self._link.call(
            FaultPoint.TABLE_READ, lambda _: [TaskRow(*one) for one in self._space.failed_tasks.items()]
        )

    async def cancel(self, task_id: str, reason: str) -> None:
        """Say that a task is cancelled. Raises `Unavailable`."""
        await self._cancel(task_id, reason, ROWS_KEPT_S)

    async def end_cancelled(self, task_id: str, reason: str) -> None:
        """Say so once more, for a shorter time. Raises `Unavailable`."""
        await self._cancel(task_id, reason, CANCELLED_KEPT_S)

    async def _cancel(self, task_id: str, reason: str, kept_s: float) -> None:
        await self._link.call(FaultPoint.TABLE_WRITE, lambda _: self._space.cancel_task(task_id, reason))
        self._link.clock.call_after(kept_s, lambda: self._space.cancel_task(task_id, ""))

    async def follow_cancelled(self, receive: Callable[[str, str], None]) -> Subscription:
        """What is cancelled, and what will be. Raises `Unavailable`."""
        followed: list[CancelledFollowed] = []
        await self._link.call(FaultPoint.TABLE_READ, lambda _: followed.append(CancelledFollowed(self._link, receive)))
        return followed[0]

    async def backlog(self) -> list[TaskBacklog]:
        """What the queues hold. Raises `Unavailable`."""
        return await self._link.call(
            FaultPoint.TELL_READ,
            lambda _: sorted(
                TaskBacklog(task, one.waiting, one.taken) for task, one in self._space.task_queues.items()
            ),
        )


class CancelledFollowed:
    """One node's knowledge of what is cancelled; it catches up when its connection is back."""

    def __init__(self, link: Link, receive: Callable[[str, str], None]) -> None:
        self._link = link
        self._feed: Feed[tuple[str, str]] = Feed(
            lambda row: receive(*row), lambda feed: link.space.cancel_followers.pop(feed, None)
        )
        link.on_down[self._pause] = None
        link.on_up[self._catch_up] = None
        self._catch_up()

    async def stop(self) -> None:
        """Receive no more. Idempotent."""
        self._link.on_down.pop(self._pause, None)
        self._link.on_up.pop(self._catch_up, None)
        await self._feed.stop()

    def _pause(self) -> None:
        self._link.space.cancel_followers.pop(self._feed, None)
        self._feed.discard()

    def _catch_up(self) -> None:
        for row in self._link.space.cancelled_tasks.items():
            self._feed.push(row)
        self._link.space.cancel_followers[self._feed] = None
