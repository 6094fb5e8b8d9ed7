"""Starts of tasks, handed out to workers one by one, and what is known of tasks that failed or were cancelled."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from aether.ports.bus import Subscription


class TaskClaim(NamedTuple):
    """A start of a task that was handed out to this worker, which is to say in time that it is still at it.

    - `sequence` and `payload`: the message of the inbox stream. `deliveries`: how often it was handed out, at least 1.
    - `token`: by which the server knows it; it stays valid for who keeps it, over other connections too.
    """

    sequence: int
    payload: bytes
    deliveries: int
    token: str


class TaskRow(NamedTuple):
    """What is written down of a task that has failed, by the task's id."""

    task_id: str
    payload: bytes


class TaskBacklog(NamedTuple):
    """How many starts of a task no worker has taken yet, and how many were handed out and are not done."""

    task: str
    waiting: int
    taken: int


class Tasks(Protocol):
    """The starts of tasks of a namespace. A start that is handed out is kept, done, or handed out again.

    What is coroutine raises `Unavailable`. What is not is best effort, and never raises: a start whose `done` is lost
    is handed out again.
    """

    async def open(self, task: str, ttl_s: float) -> None:
        """Begin to take starts of a task. One that was handed out and not kept for `ttl_s` is handed out again."""
        ...

    async def take(self, task: str, most: int, wait_s: float) -> list[TaskClaim]:
        """Some starts, at most `most` and in about their order; empty when none came within `wait_s`.

        One call at a time for each task, after `open`. Raises `Unavailable`, and then it is to be opened again.
        """
        ...

    async def leave(self, task: str) -> list[TaskClaim]:
        """Take no more; what has arrived and was not given out by `take`. Idempotent."""
        ...

    def keep(self, claim: TaskClaim) -> None:
        """Say that it is still worked at: it is ours for the whole of its time to live from now."""
        ...

    def done(self, claim: TaskClaim) -> None:
        """It is not to be handed out again."""
        ...

    def again(self, claim: TaskClaim, delay_s: float) -> None:
        """Hand it out again after a while."""
        ...

    def hurry(self, token: str) -> None:
        """Hand one that waits to be handed out again out now."""
        ...

    async def stored(self, task: str) -> list[bytes]:
        """The payloads of the starts of a task that the stream has, open or done; a replica may lack the last ones."""
        ...

    async def has_start(self, task_id: str) -> bool:
        """Whether the stream has the start of a task, open or done; a replica may lack the last ones."""
        ...

    async def first_open(self) -> int:
        """The sequence of the first start of any task that may be handed out, now or again; 0 when there is none."""
        ...

    async def row(self, task_id: str) -> bytes | None:
        """What is written down of a task that has failed."""
        ...

    async def write_row(self, task_id: str, payload: bytes) -> None:
        """Write down that it has failed; kept for some days."""
        ...

    async def drop_row(self, task_id: str) -> None:
        """Remove what is written down of it."""
        ...

    async def rows(self) -> list[TaskRow]:
        """All that is written down."""
        ...

    async def cancel(self, task_id: str, reason: str) -> None:
        """Say to all workers that a task is cancelled; kept for some days. Idempotent."""
        ...

    async def end_cancelled(self, task_id: str, reason: str) -> None:
        """A cancelled task is over: say once more that it is cancelled; kept for some minutes, instead of days."""
        ...

    async def follow_cancelled(self, receive: Callable[[str, str], None]) -> Subscription:
        """First every task that is cancelled, then each one that is: its id and the reason; "" when it is forgotten."""
        ...

    async def backlog(self) -> list[TaskBacklog]:
        """Of each task that some worker has taken starts of: how many there are."""
        ...
