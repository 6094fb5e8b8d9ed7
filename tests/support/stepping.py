"""Counts every suspension of every task of a loop, so that a test can do something at each of them in turn."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import coroutine
from typing import Any


class Stepping:
    """From `follow` on `reached` is called with the number of each suspension, in the order in which they happen."""

    def __init__(self, reached: Callable[[int], None]) -> None:
        self.suspensions = 0
        self._reached = reached

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Count in all tasks that are made from now on."""
        loop.set_task_factory(self._make)

    def _make(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        assert asyncio.iscoroutine(work)
        return asyncio.Task(self._counted(work), loop=loop, **options)

    async def _counted(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await self._steps(work)
        finally:
            work.close()

    @coroutine
    def _steps(self, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: work.send(None)  # noqa: E731
        while True:
            try:
                awaited = step()
            except StopIteration as ended:
                return ended.value
            self.suspensions += 1
            self._reached(self.suspensions)
            try:
                value = yield awaited
            except BaseException as error:
                step = _thrown(work, error)
            else:
                step = _sent(work, value)


def _sent(work: Coroutine[Any, Any, Any], value: Any) -> Callable[[], Any]:
    return lambda: work.send(value)


def _thrown(work: Coroutine[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: work.throw(error)
