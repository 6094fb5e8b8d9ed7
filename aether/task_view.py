"""What a client sees of tasks and does with them: how many wait, which have failed, try one again now, cancel one.

It belongs to an `UntypedClient`, whose connection and patience it uses. It keeps nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from aether.client_node import ClientNode
from aether.errors import InvalidCommand
from aether.ids import check_id
from aether.ports import TaskBacklog
from aether.retried_request import RetriedRequest
from aether.runtime.task_notes import GIVEN_UP, RUNS, WAITS, TaskNote, decode_note, token_of_waiting

BY_OPERATOR = "operator"
"""Why a task is cancelled that its actor waits for: it is told so, as `TaskFailed`."""

Patience = Callable[[str, float | None, str], RetriedRequest]


class FailedTask(NamedTuple):
    """A task that has failed or was given back, by its id."""

    id: str
    note: TaskNote


class TaskView:
    """The tasks of one namespace."""

    def __init__(self, node: ClientNode, patience: Patience) -> None:
        self._node = node
        self._patience = patience

    async def backlog(self, deadline_s: float | None = None) -> list[TaskBacklog]:
        """Of each task that a worker has ever run: how many wait, and how many run or wait to be tried again.

        Raises `Unavailable`, `DeadlineExceeded`, `ClientUnusable`, as all here.
        """
        patience = self._patience("the tasks", deadline_s, "read")
        return await patience.ask(self._node.tasks.backlog)

    async def failed(self, deadline_s: float | None = None) -> list[FailedTask]:
        """Those that have failed within the last days and were not done since; the last one to fail last."""
        patience = self._patience("the failed tasks", deadline_s, "read")
        rows = await patience.ask(self._node.tasks.rows)
        notes = ((row.task_id, decode_note(row.payload)) for row in rows)
        return [FailedTask(task_id, note) for task_id, note in notes if note is not None]

    async def one(self, task_id: str, deadline_s: float | None = None) -> FailedTask:
        """One of them. Raises `InvalidCommand` with the path `id` when nothing is written down of it."""
        check_id(task_id, "a task's id", "id")
        patience = self._patience(f"the task {task_id}", deadline_s, "read")
        note = decode_note(await patience.ask(partial(self._node.tasks.row, task_id)))
        if note is None:
            raise InvalidCommand(f"there is no failed task {task_id}: it waits, runs, is done, or never was", path="id")
        return FailedTask(task_id, note)

    async def retry(self, task_id: str, deadline_s: float | None = None) -> FailedTask:
        """Have one that waits tried again now. Raises `InvalidCommand` with the path `id` for any other."""
        found = await self.one(task_id, deadline_s)
        if found.note.state == RUNS:
            raise InvalidCommand(f"the task {task_id} is being tried again already", path="id")
        if found.note.state != WAITS:
            raise InvalidCommand(f"the task {task_id} is given up: its actor has been told", path="id")
        if found.note.token:
            self._node.tasks.hurry(found.note.token)
        return found

    async def cancel(self, task_id: str, deadline_s: float | None = None) -> None:
        """Have one stopped: its actor is told that it has failed. It need not have failed before.

        One that is done may be let be. Raises `InvalidCommand` with the path `id` for one that is given up, for one
        whose start is not in the inbox, and for what is no id.
        """
        check_id(task_id, "a task's id", "id")
        patience, tasks = self._patience(f"the task {task_id}", deadline_s, "written"), self._node.tasks
        row = await patience.ask(partial(tasks.row, task_id))
        note = decode_note(row)
        if note is not None and note.state == GIVEN_UP:
            raise InvalidCommand(f"the task {task_id} is given up: its actor has been told", path="id")
        if row is None and not await patience.ask(partial(tasks.has_start, task_id)):
            raise InvalidCommand(f"there is no task {task_id}: it is done, not sent yet, or never was", path="id")
        await patience.ask(partial(tasks.cancel, task_id, BY_OPERATOR))
        if token := token_of_waiting(await patience.ask(partial(tasks.row, task_id))):
            tasks.hurry(token)
