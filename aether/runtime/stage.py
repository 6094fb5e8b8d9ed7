"""Staged execution: what one iteration of the event loop brought goes on stage by stage, not command by command.

A command runs through some 140,000 instructions, whose code does not fit into a processor's first cache. Carried from
end to end each command reads all of that code again, from a cache that other programs fill too; a stage after the other
all commands of one iteration read it once (Larus and Parkes, "Using Cohort Scheduling to Enhance Server Performance",
USENIX 2002). It also means that what came together for one actor is in one turn, and what can be committed together is
in line together.

Plain calls, no coroutine. It runs on the event loop only.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Stage(Generic[T]):
    """Items that wait for the same to be done to them: `work` gets all of them, perhaps none, in each run.

    `work` must not raise. What it adds to a later stage belongs to the same run; to an earlier one, to the next.
    """

    __slots__ = ("_waiting", "_work", "pipeline")

    def __init__(self, work: Callable[[list[T]], None]) -> None:
        self.pipeline: StagePipeline | None = None
        self._work = work
        self._waiting: list[T] = []

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> bool:
        """Whether the pipeline runs: what is added to a later stage now is done in this synchronous step."""
        return self.pipeline is not None and self.pipeline.running

    def add(self, item: T) -> None:
        """Do it to this one too, in the event loop's next turn at the latest."""
        self._waiting.append(item)
        pipeline = self.pipeline
        if pipeline is not None and not pipeline.due:
            pipeline.call()

    def run(self) -> None:
        """Do it to all that wait."""
        waiting, self._waiting = self._waiting, []
        self._work(waiting)


class StagePipeline:
    """The stages of one runtime, in their order. `soon` calls back in the event loop's next turn."""

    __slots__ = ("_soon", "_stages", "due", "running")

    def __init__(self, soon: Callable[[Callable[[], None]], object], stages: Sequence[Stage[Any]]) -> None:
        self.due = False
        self.running = False
        self._soon = soon
        self._stages = list(stages)
        for stage in self._stages:
            stage.pipeline = self

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
