"""A desk of which one command does all that a turn can: it asks, emits, tells, schedules and starts tasks.

Another one cancels. What it asks and tells goes to a shelf. Each thing leaves one line in a log.
"""

import asyncio
from dataclasses import dataclass, field
from typing import ClassVar

from aether import (
    Actor,
    After,
    Every,
    Model,
    PolicyContext,
    Retry,
    TaskContext,
    TaskFailed,
    command,
    event,
    policy,
    query,
    task,
)

CALLS: list[tuple[str, str, int]] = []
"""Which tasks were called: name, id and attempt. A test clears it."""

BROKEN: set[str] = set()
"""Lines that a shelf cannot take now."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A line of a log."""

    line: str


@dataclass(frozen=True, slots=True)
class Worked:
    """Work has begun, and a task that is to be cancelled."""

    shelf: str
    task: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """What goes on is cancelled."""


@task(retry=Retry(first_s=1, cap_s=2, attempts=9))
async def fetch(context: TaskContext, what: str) -> str:
    """Fail the first time."""
    CALLS.append(("fetch", context.task_id, context.attempt))
    if context.attempt == 1:
        raise ConnectionError("not yet")
    return f"fetched {what}"


@task(retry=Retry(first_s=1, cap_s=2, attempts=2))
async def breaks(context: TaskContext) -> str:
    """Fail each time."""
    CALLS.append(("breaks", context.task_id, context.attempt))
    raise ConnectionError("never")


@task(retry=Retry(first_s=1, cap_s=2, attempts=9))
async def waits(context: TaskContext) -> str:
    """Wait until it is cancelled."""
    CALLS.append(("waits", context.task_id, context.attempt))
    await asyncio.Event().wait()
    return "waited"


class Shelf(Actor):
    """Is asked and told."""

    log: list[str] = field(default_factory=list[str])

    @command
    def take(self, what: str) -> int:
        """Asked."""
        self.emit(Noted(f"asked for {what}"))
        return len(self.log)

    @command
    def note(self, line: str) -> None:
        """Told."""
        if line in BROKEN:
            raise ValueError(f"{line} is broken")
        self.emit(Noted(line))

    @event
    def noted(self, e: Noted) -> None:
        """One line more."""
        self.log = [*self.log, e.line]

    @query
    def lines(self) -> list[str]:
        """What has reached it."""
        return self.log


class Tray(Shelf):
    """Takes what it is told in any order."""

    tells_in_order: ClassVar[bool] = False


class Desk(Actor):
    """Does everything at once."""

    log: list[str] = field(default_factory=list[str])
    waiting: str = ""

    @command
    async def work(self, shelf: str) -> int:
        """All that a turn can do."""
        waiting = self.start_task(waits(), then=Desk.note, failed=Desk.lost)
        self.emit(Worked(shelf, waiting))
        self.tell(Shelf.note, shelf, "told")
        taken = await self.ask(Shelf, shelf).take("paper")
        self.schedule("soon", After(seconds=5), Desk.note, self.id.key, "soon")
        self.schedule("there", After(seconds=5), Shelf.note, shelf, "there")
        self.schedule("again", Every(seconds=2), Desk.again, self.id.key)
        self.schedule("never", After(seconds=40), Desk.note, self.id.key, "never")
        self.start_task(fetch("paper"), then=Desk.note, failed=Desk.lost)
        self.start_task(breaks(), then=Desk.note, failed=Desk.lost)
        return taken

    @command
    def pass_on(self, key: str, lines: list[str], in_order: bool) -> None:
        """Tell a shelf or a tray."""
        for line in lines:
            if in_order:
                self.tell(Shelf.note, key, line)
            else:
                self.tell(Tray.note, key, line)

    @command
    def stop(self) -> None:
        """Cancel what would go on."""
        self.cancel_schedule("never")
        self.cancel_task(self.waiting)
        self.emit(Stopped())

    @command
    def again(self) -> None:
        """A tick, and after the second one no more."""
        self.emit(Noted("again"))
        if self.log.count("again") == 2:
            self.cancel_schedule("again")

    @command
    def note(self, line: str) -> None:
        """A tick, or the result of a task."""
        self.emit(Noted(line))

    @command
    def lost(self, failed: TaskFailed) -> None:
        """A task was given up."""
        self.emit(Noted(f"given up after {failed.attempts}"))

    @event
    def noted(self, e: Noted) -> None:
        """One line more."""
        self.log = [*self.log, e.line]

    @event
    def worked(self, e: Worked) -> None:
        """It has begun."""
        self.waiting = e.task

    @event
    def stopped(self, e: Stopped) -> None:
        """It has ended."""
        self.waiting = ""

    @query
    def lines(self) -> list[str]:
        """What has come back."""
        return self.log


@policy(tells=(Shelf.note,))
def on_worked(event: Worked, context: PolicyContext[Desk]) -> None:
    """Whenever work has begun the shelf is told so."""
    context.tell(Shelf.note, event.shelf, "by policy")


model = Model("desks", actors=[Desk, Shelf, Tray], policies=[on_worked], tasks=[fetch, breaks, waits])
