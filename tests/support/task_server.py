"""A server of tasks by hand, and a worker over it: what a run says to it, and what it answers."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

from msgspec import Raw
from msgspec.json import decode

from aether.config import RuntimeConfig
from aether.errors import AetherError, UnknownCommand
from aether.memory.clock import ManualClock
from aether.model.definition import DeclaredCommand
from aether.model.model import Model
from aether.ports import TaskBacklog, TaskClaim
from aether.runtime.counters import Counters
from aether.runtime.task_notes import TaskNote, decode_note, encode_note
from aether.runtime.task_run import TaskRun
from aether.runtime.task_worker import TaskWorker
from aether.sends import StartTask, encode_send

TTL_S = 15.0
CONFIG = RuntimeConfig(cancel_grace_s=5.0, task_drain_s=0.0)


class TaskServer:
    """Tasks and inbox in one: what it is told, in `said`, and by which errors it answers.

    `said`: ("done", sequence), ("again", sequence, delay in seconds) and ("keep", sequence), in their order.
    """

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.told: list[dict[str, Any]] = []
        self.notes: dict[str, TaskNote] = {}
        self.written: list[TaskNote] = []
        self.ended_cancelled: list[tuple[str, str]] = []
        self.said_before: list[int] = []
        """How much was said when each note was written."""
        self.row_errors: list[Exception] = []
        self.write_error: Exception | None = None
        self.send_error: Callable[[], Exception | None] = lambda: None
        self.opened: list[str] = []
        self.asked: list[tuple[str, int, float]] = []
        self.take_errors: list[Exception] = []
        self.follow_errors: list[Exception] = []
        self.leave_error: Exception | None = None
        self.arrived: list[TaskClaim] = []
        self.receive: Callable[[str, str], None] | None = None
        self.stopped = 0
        self.waiting: dict[str, deque[TaskClaim]] = {}
        self.during_take: Callable[[str], Awaitable[None]] | None = None
        self.during_leave: Callable[[str], object] = lambda _: None
        self.left_tasks: list[str] = []
        self.looked = 0
        self.backlog_errors: list[Exception] = []
        self.backlogs: list[TaskBacklog] = []
        self.starts: dict[str, list[bytes]] = {}
        self._changed = asyncio.Event()

    def give(self, task: str, *claims: TaskClaim) -> None:
        """Have claims that a worker is handed when it asks."""
        self.waiting.setdefault(task, deque()).extend(claims)
        self._changed.set()

    async def open(self, task: str, _ttl_s: float) -> None:
        self.opened.append(task)

    async def take(self, task: str, most: int, wait_s: float) -> list[TaskClaim]:
        self.asked.append((task, most, wait_s))
        if self.during_take is not None:
            await self.during_take(task)
        if self.take_errors:
            raise self.take_errors.pop()
        waiting = self.waiting.setdefault(task, deque())
        while wait_s > 0 and not waiting:
            self._changed.clear()
            await self._changed.wait()
        return [waiting.popleft() for _ in range(min(most, len(waiting)))]

    async def leave(self, task: str) -> list[TaskClaim]:
        self.left_tasks.append(task)
        self.during_leave(task)
        if self.leave_error is not None:
            raise self.leave_error
        arrived, self.arrived = self.arrived, []
        return arrived

    async def follow_cancelled(self, receive: Callable[[str, str], None]) -> "TaskServer":
        if self.follow_errors:
            raise self.follow_errors.pop()
        self.receive = receive
        return self

    async def stop(self) -> None:
        self.stopped += 1

    async def row(self, task_id: str) -> bytes | None:
        if self.row_errors:
            raise self.row_errors.pop()
        note = self.notes.get(task_id)
        return None if note is None else encode_note(note)

    async def write_row(self, task_id: str, payload: bytes) -> None:
        if self.write_error is not None:
            raise self.write_error
        note = decode_note(payload)
        assert note is not None
        self.written.append(note)
        self.said_before.append(len(self.said))
        self.notes[task_id] = note

    async def drop_row(self, task_id: str) -> None:
        if self.write_error is not None:
            raise self.write_error
        del self.notes[task_id]

    async def end_cancelled(self, task_id: str, reason: str) -> None:
        if self.write_error is not None:
            raise self.write_error
        self.ended_cancelled.append((task_id, reason))

    async def send(self, _shard: int, payload: bytes, _message_id: str) -> int:
        error = self.send_error()
        if error is not None:
            raise error
        self.told.append(decode(payload))
        return len(self.told)

    async def backlog(self) -> list[TaskBacklog]:
        self.looked += 1
        if self.backlog_errors:
            raise self.backlog_errors.pop()
        return self.backlogs

    async def stored(self, task: str) -> list[bytes]:
        return self.starts.get(task, [])

    def done(self, claim: TaskClaim) -> None:
        self.said.append(("done", claim.sequence))

    def again(self, claim: TaskClaim, delay_s: float) -> None:
        self.said.append(("again", claim.sequence, delay_s))

    def hurry(self, token: str) -> None:
        self.said.append(("hurry", token))

    def keep(self, claim: TaskClaim) -> None:
        self.said.append(("keep", claim.sequence))


def start_of(task: str, args: bytes = b"{}", then: str = "came", failed: str = "failed", id: str = "t1") -> StartTask:
    """As `errand/a` starts it."""
    return StartTask(id=id, task=task, args=Raw(args), then=then, failed=failed, source="errand/a", position=1,
                     correlationid="together", causationid="first")  # fmt: skip


def claim_of(start: StartTask, deliveries: int = 1, sequence: int = 7) -> TaskClaim:
    """As the server hands it out."""
    return TaskClaim(sequence, encode_send(start), deliveries, f"token-{deliveries}")


class TaskSide:
    """One worker of a model over a server by hand."""

    def __init__(self, model: Model, threads: Executor | None = None) -> None:
        self.model = model
        self.server = TaskServer()
        self.clock = ManualClock()
        self.counters = Counters()
        self.cancelled: dict[str, str] = {}
        self.left: list[TaskRun] = []
        self.resources_error: Exception | None = None
        self.foreign_error: AetherError | None = None
        """What is said of what the model does not take, instead of that itself."""
        server: Any = self.server
        self.worker = TaskWorker(
            tasks=server,
            inbox=server,
            shards=4,
            clock=self.clock,
            config=CONFIG,
            counters=self.counters,
            jitter=lambda: 0.0,
            ttl_s=TTL_S,
            threads=threads or Executor(),
            resources=self._resources,
            command_type=self.command_type,
            foreign=self._foreign,
            cancelled=lambda task_id: self.cancelled.get(task_id, ""),
            left=self.left.append,
        )

    def _resources(self) -> str:
        if self.resources_error is not None:
            raise self.resources_error
        return "a client"

    def _foreign(self, error: AetherError) -> AetherError:
        return self.foreign_error or error

    def command_type(self, kind: str, name: str) -> DeclaredCommand:
        found = self.model.actor_type(kind).commands.get(name)
        if found is None:
            raise UnknownCommand(f"no {name}")
        return found

    def run_of(self, start: StartTask, deliveries: int = 1) -> TaskRun:
        return TaskRun(self.worker, self.model.task_types[start.task], start, claim_of(start, deliveries))
