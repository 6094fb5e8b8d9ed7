"""What is noted of a worker while it runs: which handler blocks its event loop, and which one ended its process."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from aether.config import RuntimeConfig
from aether.runtime.runtime import Runtime
from aether.system.handler_note import WorkerNote
from aether.system.watchdog import Watchdog


@contextmanager
def noted_in(fd: int, threads: int) -> Iterator[WorkerNote | None]:
    """Meanwhile the supervisor finds in the memory of this descriptor what ends the process; -1 for no memory."""
    if fd < 0:
        yield None
        return
    note = WorkerNote(fd, threads)
    note.take_stacks()
    try:
        yield note
    finally:
        note.leave()


@asynccontextmanager
async def watched(config: RuntimeConfig, runtime: Runtime, note: WorkerNote | None) -> AsyncIterator[None]:
    """Meanwhile what blocks the event loop is named in the log and counted."""

    def doing() -> dict[str, str]:
        last, runs = note.loop.last() if note is not None else (None, False)
        if last is None:
            return {}
        if not runs:
            return {"after": f"{last.command} of {last.kind}/{last.key}"}
        return {"actor": f"{last.kind}/{last.key}", "command": last.command, "command_id": last.command_id}

    def noticed(_: float) -> None:
        runtime.counters.loop_silences += 1

    def looked() -> None:
        if note is not None:
            note.others_run()

    if not config.loop_silent_s:
        yield
        return
    with Watchdog(config.loop_silent_s, doing, noticed, looked):
        yield
