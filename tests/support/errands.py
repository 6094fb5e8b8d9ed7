"""Actors that start tasks, and tasks that succeed, fail, wait, break out and say what they were called with."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from aether import Actor, Model, Retry, TaskContext, TaskFailed, command, event, query, task

log = logging.getLogger("shop.errands")

CALLS = "AETHER_TEST_CALLS"
"""Names a file to which each call of `noted` is appended."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An errand was started."""

    id: str


@dataclass(frozen=True, slots=True)
class Back:
    """One came back, with what."""

    what: str


@dataclass(frozen=True, slots=True)
class Lost:
    """One failed for good."""

    why: str
    error_type: str
    attempts: int


class World:
    """What tasks of this process have done. A test makes a new one."""

    def __init__(self) -> None:
        self.calls: list[TaskContext] = []
        self.running = 0
        self.most = 0
        self.gate = threading.Event()
        self.opened = asyncio.Event()
        self.ended: list[str] = []
        self.breaks: Callable[[], object] = lambda: None


world = World()


def renew() -> World:
    """Forget what was done before."""
    global world  # noqa: PLW0603 - tasks find it here
    world = World()
    return world


QUICK = Retry(first_s=1, cap_s=4, attempts=3)


@task(retry=QUICK)
async def echo(context: TaskContext, text: str) -> str:
    """Give back what it got."""
    world.calls.append(context)
    log.info("at work")
    return text


@task(retry=QUICK)
async def fails(context: TaskContext, times: int) -> str:
    """Fail so many times."""
    world.calls.append(context)
    if context.attempt <= times:
        raise ConnectionError(f"no {context.attempt}")
    return f"after {context.attempt}"


@task(retry=Retry(first_s=3600, cap_s=3600, attempts=2))
async def fails_for_an_hour(context: TaskContext) -> None:
    """Fail, and be tried again much later."""
    world.calls.append(context)
    raise ConnectionError("no")


@task(retry=QUICK, max_running=2)
async def waits(context: TaskContext) -> str:
    """Wait until the test opens the gate."""
    world.calls.append(context)
    world.running += 1
    world.most = max(world.most, world.running)
    try:
        await world.opened.wait()
        return "opened"
    except asyncio.CancelledError:
        world.ended.append(context.task_id)
        raise
    finally:
        world.running -= 1


@task(retry=QUICK)
def blocks(context: TaskContext) -> str:
    """The same in a thread."""
    world.calls.append(context)
    log.info("in a thread")
    world.gate.wait(10)
    return "unblocked"


@task(retry=QUICK, max_running=1)
def blocks_alone(context: TaskContext) -> str:
    """The same, one at a time."""
    return blocks.function(context)  # type: ignore[no-any-return]


@task(retry=Retry(attempts=1), timeout_s=0.05)
async def overdue() -> None:
    """Take too long."""
    await asyncio.sleep(60)


@task(retry=Retry(attempts=1), timeout_s=0.05)
def overdue_in_thread() -> None:
    """Take too long, where it cannot be cancelled."""
    world.gate.wait(10)


@task(retry=Retry(attempts=1))
async def breaks() -> str:
    """Do what the test says."""
    return str(world.breaks())


@task(retry=Retry(attempts=1))
def breaks_in_thread() -> str:
    """Do what the test says."""
    return str(world.breaks())


@task(retry=QUICK)
async def lies() -> int:
    """Return something else than it declares."""
    return "a text"  # type: ignore[return-value]  # what is tested


@task(retry=Retry(first_s=0.05, cap_s=0.1, attempts=3))
def noted(context: TaskContext, text: str, seconds: float = 0.0, fail: int = 0) -> str:
    """Note the call in a file, take a while, fail the first so many times."""
    line = f"{context.task_id} {context.attempt} {os.getpid()} {text}\n".encode()
    with Path(os.environ[CALLS]).open("ab", buffering=0) as calls:
        calls.write(line)
    time.sleep(seconds)
    if context.attempt <= fail:
        raise ConnectionError(f"no {context.attempt}")
    return text


@task(retry=Retry(first_s=0.05, attempts=3))
async def noted_async(context: TaskContext, text: str, seconds: float = 0.0) -> str:
    """The same on the event loop."""
    line = f"{context.task_id} {context.attempt} {os.getpid()} {text}\n".encode()
    with Path(os.environ[CALLS]).open("ab", buffering=0) as calls:  # noqa: ASYNC230 - a line
        calls.write(line)
    await asyncio.sleep(seconds)
    return text


@task(retry=Retry(first_s=0.05, attempts=2))
async def ends_its_worker(context: TaskContext) -> str:
    """End the process, as a bug in a C library does."""
    with Path(os.environ[CALLS]).open("ab", buffering=0) as calls:  # noqa: ASYNC230 - a line
        calls.write(f"{context.task_id} {context.attempt} {os.getpid()} end\n".encode())
    os._exit(9)


@task(retry=Retry(first_s=0.05, attempts=3))
async def ends_workers(context: TaskContext) -> str:
    """The same, a moment after others have begun beside it."""
    await asyncio.sleep(0.2)
    return await ends_its_worker.function(context)  # type: ignore[no-any-return]


@task(retry=Retry(first_s=0.05, attempts=1))
async def blocks_the_loop(context: TaskContext) -> str:
    """Block the event loop of its worker, as a bug does."""
    with Path(os.environ[CALLS]).open("ab", buffering=0) as calls:  # noqa: ASYNC230 - a line
        calls.write(f"{context.task_id} {context.attempt} {os.getpid()} block\n".encode())
    time.sleep(600)  # noqa: ASYNC251 - what is tested
    return ""


@task(retry=QUICK)
async def gives_a_text() -> str:
    """What the command for numbers does not take."""
    return "a text"


@task(retry=QUICK)
async def large(size: int) -> str:
    """A result of so many characters."""
    return "x" * size


@task
def nothing() -> None:
    """Nothing."""


class Errand(Actor):
    """Starts tasks and notes what comes back."""

    open: list[str] = field(default_factory=list[str])
    back: list[str] = field(default_factory=list[str])
    lost: list[Lost] = field(default_factory=list[Lost])

    @command
    def echo(self, text: str) -> str:
        return self._sent(self.start_task(echo(text), then=Errand.came, failed=Errand.failed))

    @command
    def fail(self, times: int) -> str:
        return self._sent(self.start_task(fails(times), then=Errand.came, failed=Errand.failed))

    @command
    def wait(self) -> str:
        return self._sent(self.start_task(waits(), then=Errand.came, failed=Errand.failed))

    @command
    def block(self) -> str:
        return self._sent(self.start_task(blocks(), then=Errand.came, failed=Errand.failed))

    @command
    def block_alone(self) -> str:
        return self._sent(self.start_task(blocks_alone(), then=Errand.came, failed=Errand.failed))

    @command
    def note(self, text: str, seconds: float = 0.0, fail: int = 0) -> str:
        return self._sent(self.start_task(noted(text, seconds, fail), then=Errand.came, failed=Errand.failed))

    @command
    def note_async(self, text: str, seconds: float = 0.0) -> str:
        return self._sent(self.start_task(noted_async(text, seconds), then=Errand.came, failed=Errand.failed))

    @command
    def end_worker(self) -> str:
        return self._sent(self.start_task(ends_its_worker(), then=Errand.came, failed=Errand.failed))

    @command
    def end_workers(self) -> str:
        return self._sent(self.start_task(ends_workers(), then=Errand.came, failed=Errand.failed))

    @command
    def block_worker(self) -> str:
        return self._sent(self.start_task(blocks_the_loop(), failed=Errand.failed))

    @command
    def run(self, name: str) -> str:
        """One of those without arguments."""
        call = {
            "overdue": overdue,
            "overdue_in_thread": overdue_in_thread,
            "breaks": breaks,
            "breaks_in_thread": breaks_in_thread,
            "fails_for_an_hour": fails_for_an_hour,
        }[name]()
        return self._sent(self.start_task(call, failed=Errand.failed))

    @command
    def lie(self) -> str:
        return self._sent(self.start_task(lies(), failed=Errand.failed))

    @command
    def mistake(self) -> str:
        """Start one whose result the command does not take."""
        return self._sent(self.start_task(gives_a_text(), then=cast(Any, Errand.numbered), failed=Errand.failed))

    @command
    def numbered(self, number: Literal["one", "two"]) -> None:
        self.emit(Back(number))

    @command
    def enlarge(self, size: int) -> str:
        return self._sent(self.start_task(large(size), then=Errand.came, failed=Errand.failed))

    @command
    def forget(self) -> str:
        """Start one whose result no command takes."""
        return self._sent(self.start_task(nothing()))

    @command
    def many(self, count: int) -> None:
        """Start a lot of them."""
        for _ in range(count):
            self.start_task(nothing(), then=Errand.counted)

    @command
    def start_and_fail(self) -> None:
        self.start_task(echo("never"), then=Errand.came)
        raise ValueError("after all not")

    @command
    def cancel(self, task_id: str) -> None:
        self.cancel_task(task_id)

    @command
    def start_and_cancel(self) -> str:
        """Both in one turn."""
        started = self._sent(self.start_task(echo("cancelled"), then=Errand.came))
        self.cancel_task(started)
        return started

    @command
    def came(self, what: str) -> None:
        self.emit(Back(what))

    @command
    def failed(self, failed: TaskFailed) -> None:
        self.emit(Lost(failed.message, failed.error_type, failed.attempts))

    @command
    def counted(self, nothing: None) -> None:
        self.emit(Back(""))

    def _sent(self, task_id: str) -> str:
        self.emit(Sent(task_id))
        return task_id

    @event
    def was_sent(self, e: Sent) -> None:
        self.open = [*self.open, e.id]

    @event
    def was_back(self, e: Back) -> None:
        self.back = [*self.back, e.what]

    @event
    def was_lost(self, e: Lost) -> None:
        self.lost = [*self.lost, e]

    @query
    def results(self) -> list[str]:
        return self.back

    @query
    def losses(self) -> list[Lost]:
        return self.lost


@asynccontextmanager
async def lifespan() -> AsyncIterator[str]:
    """A resource."""
    yield "a client"


model = Model(
    "errands",
    actors=[Errand],
    tasks=[echo, fails, waits, blocks, blocks_alone, overdue, overdue_in_thread, breaks, breaks_in_thread, lies, noted,
           noted_async, ends_its_worker, ends_workers, blocks_the_loop, nothing, fails_for_an_hour, gives_a_text,
           large],
    lifespan=lifespan,
)  # fmt: skip
