"""Staged execution: what one iteration of the event loop brought goes on stage by stage, not command by command.

A command runs through some 140,000 instructions, whose code does not fit into a processor's first cache. Carried from
end to end each command reads all of that code again, from a cache that other programs fill too; a stage after the other
all commands of one iteration read it once (Larus and Parkes, "Using Cohort Scheduling to Enhance Server Performance",
USENIX 2002). It also means that what came together for one actor is in one turn, and what can be committed together is
in line together.

Plain calls, no coroutine. It runs on the event loop only. `aether.runtime.pipeline` says which stages there are.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Stage(Generic[T]):
    """Items that wait for the same work. The work gets all of them, perhaps none, once in each run of the pipeline.

    The work must not raise. What it adds to a later stage belongs to the same run; to an earlier one, to the next.
    """

    __slots__ = ("_items", "_pipeline", "_work")

    def __init__(self, pipeline: "StagePipeline") -> None:
        self._pipeline = pipeline
        self._work: Callable[[list[T]], None] | None = None
        self._items: list[T] = []

    def __len__(self) -> int:
        return len(self._items)

    def bind(self, work: Callable[[list[T]], None]) -> None:
        """Have `work` done to the items. Called once, by the owner of the work, before the first item."""
        self._work = work

    def wrap(self, around: Callable[[Callable[[list[T]], None]], Callable[[list[T]], None]]) -> None:
        """Put something around the work. Before the first item."""
        assert self._work is not None, "a stage was wrapped before its work was bound"
        self._work = around(self._work)

    def add(self, item: T) -> None:
        """Do the work to this item too: in this run if the stage is still to come, else in the next."""
        self._items.append(item)
        pipeline = self._pipeline
        if not pipeline.due:
            pipeline.call()

    def run(self) -> None:
        """Do the work to all items."""
        items, self._items = self._items, []
        work = self._work
        assert work is not None, "a stage was run before its work was bound"
        work(items)


class StagePipeline:
    """Stages in the order in which they were added. `soon` calls back in the event loop's next iteration.

    `due`: a run is asked for, or under way. `running`: what is added to a later stage is done in this synchronous step.
    """

    __slots__ = ("_soon", "_stages", "due", "running")

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        self.due = False
        self.running = False
        self._soon = soon
        self._stages: list[Stage[Any]] = []

    def add_stage(self) -> Stage[Any]:
        """A stage behind those that there are."""
        stage: Stage[Any] = Stage(self)
        self._stages.append(stage)
        return stage

    def call(self) -> None:
        """Run when the event loop has handed over what it has now."""
        self.due = True
        self._soon(self.run)

    def run(self) -> None:
        """Go through the stages once."""
        self.running = True
        try:
            for stage in self._stages:
                stage.run()
        finally:
            self.due = self.running = False
            if any(map(len, self._stages)):
                self.call()
