"""How many tasks a worker may run at once, and whose turn it is to take more.

Each task of the model has one loop that takes its starts. Where there is not room for all, the loops take turns: a long
backlog of one task does not keep the others from running. It owns the counts of what runs and of what is asked for. One
event loop.
"""

import asyncio
from collections.abc import Mapping

from aether.config import RuntimeConfig
from aether.model.task_type import TaskType


class _Turn:
    """A loop that waits. One with a start in its hand needs room for that; it is told 0 when there is none."""

    __slots__ = ("given", "has_start", "task_type")

    def __init__(self, task_type: TaskType, *, has_start: bool) -> None:
        self.task_type = task_type
        self.has_start = has_start
        self.given: asyncio.Future[int] = asyncio.get_running_loop().create_future()


class TaskRoom:
    """The places of one worker. What is asked for at the server has its place until `asked` says what came of it."""

    def __init__(self, config: RuntimeConfig) -> None:
        self._config = config
        self._taken: dict[TaskType, int] = {}
        """Runs, functions that go on after the end of theirs, and what is asked for."""
        self._threads = 0
        """Plain functions that run, and those that are asked for."""
        self._staying: dict[TaskType, int] = {}
        """Of those that are taken, functions that go on after the end of their runs."""
        self._asked = 0
        self._turns: list[_Turn] = []

    async def ask(self, task_type: TaskType) -> int:
        """Wait for its turn; for how many starts it may ask then, at least one. To be ended with `asked`."""
        return await self._wait(_Turn(task_type, has_start=False))

    async def ask_for_one(self, task_type: TaskType) -> bool:
        """Whether there is room for a start that came unasked. To be ended with `asked` of one if there is."""
        return await self._wait(_Turn(task_type, has_start=True)) > 0

    def asked(self, task_type: TaskType, count: int) -> None:
        """So much that was asked for has come, and is entered, or has not."""
        self._asked -= count
        self._add(task_type, -count)
        self._give_turns()

    def enter(self, task_type: TaskType) -> None:
        """One runs."""
        self._add(task_type, 1)

    def leave_thread(self, task_type: TaskType) -> None:
        """The function of one has ended, or was not called; what comes of it may not be stored yet."""
        if task_type.blocking:
            self._threads -= 1
            self._give_turns()

    def leave(self, task_type: TaskType) -> None:
        """One is over, and its function has ended."""
        self._taken[task_type] -= 1
        self._give_turns()

    def stay(self, task_type: TaskType) -> bool:
        """One is over, and its function goes on. Whether no place for that task is left but those of such functions."""
        self._staying[task_type] = self._staying.get(task_type, 0) + 1
        threads = sum(count for one, count in self._staying.items() if one.blocking)
        return self._left(task_type, self._staying, threads) <= 0

    def leave_late(self, task_type: TaskType) -> None:
        """A function that went on has ended."""
        self._staying[task_type] -= 1
        self.leave(task_type)

    async def _wait(self, turn: _Turn) -> int:
        self._turns.append(turn)
        self._give_turns()
        try:
            return await turn.given
        except asyncio.CancelledError:
            if turn in self._turns:
                self._turns.remove(turn)
            elif not turn.given.cancelled():
                self.asked(turn.task_type, turn.given.result())
            raise

    def _give_turns(self) -> None:
        for turn in [one for one in self._turns if not one.given.cancelled()]:
            room = self._room(turn.task_type)
            if room > 0:
                self._give(turn, 1 if turn.has_start else room)
            elif turn.has_start and not self._asked:  # else there may be room in a moment
                self._give(turn, 0)

    def _give(self, turn: _Turn, count: int) -> None:
        self._turns.remove(turn)
        self._add(turn.task_type, count)
        self._asked += count
        turn.given.set_result(count)

    def _add(self, task_type: TaskType, count: int) -> None:
        self._taken[task_type] = self._taken.get(task_type, 0) + count
        if task_type.blocking:
            self._threads += count

    def _room(self, task_type: TaskType) -> int:
        """How many more of a task may run."""
        return self._left(task_type, self._taken, self._threads)

    def _left(self, task_type: TaskType, taken: Mapping[TaskType, int], threads: int) -> int:
        """How many more of a task may run beside those."""
        room = self._config.tasks_running_max - sum(taken.values())
        if task_type.max_running is not None:
            room = min(room, task_type.max_running - taken.get(task_type, 0))
        if task_type.blocking:
            room = min(room, self._config.task_threads_max - threads)
        return room
