"""Starts of a task that the model has not, on each adapter: one that is cancelled ends, the others stay."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from msgspec import Raw

from aether.config import RuntimeConfig
from aether.errors import AetherError, UnknownCommand
from aether.model.definition import DeclaredCommand
from aether.ports import Inbox, TaskBacklog, Tasks
from aether.runtime import unknown_tasks
from aether.runtime.counters import Counters
from aether.runtime.task_notes import decode_note
from aether.runtime.task_worker import TaskWorker
from aether.runtime.unknown_tasks import UnknownTasks
from aether.sends import StartTask, encode_send
from aether.system.clock import SystemClock
from tests.contract.harness import SHARDS, World
from tests.contract.test_tasks import LONG_TTL_S, Starts, backlog_becomes, taker

STARTS = 70
"""More than are taken at once."""


def unknown_command(kind: str, name: str) -> DeclaredCommand:
    raise UnknownCommand("no command")


def foreign(error: AetherError) -> AetherError:
    return error


def worker(tasks: Tasks, inbox: Inbox, counters: Counters) -> TaskWorker:
    return TaskWorker(
        tasks=tasks,
        inbox=inbox,
        shards=SHARDS,
        clock=SystemClock(),
        config=RuntimeConfig(),
        counters=counters,
        jitter=lambda: 0.0,
        ttl_s=LONG_TTL_S,
        resources=lambda: None,
        command_type=unknown_command,
        foreign=foreign,
    )


def start_of(number: int) -> bytes:
    return encode_send(StartTask(id=f"t{number}", task="charge", args=Raw(b"{}"), source="till/a", position=number + 1))


async def until(world: World, reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not reached():
            world.pass_time(1.0)
            await asyncio.sleep(0.01)


async def test_a_cancelled_start_of_a_task_that_no_model_has_ends_and_the_others_stay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in ("FIRST_LOOK_S", "LOOK_EVERY_S"):
        monkeypatch.setattr(unknown_tasks, setting, 0.02)
    monkeypatch.setattr(unknown_tasks, "BACK_S", 0.2)
    node = await taker(world, "charge")
    await Starts(node.inbox).store("charge", *(start_of(number) for number in range(STARTS)))
    assert [start_of(number) for number in range(STARTS)] == await node.tasks.stored("charge")
    assert await node.tasks.stored("mail") == []
    counters = Counters()
    looking = asyncio.create_task(UnknownTasks(worker(node.tasks, node.inbox, counters), ()).run())
    for number, reason in ((3, "actor"), (STARTS - 1, "operator")):
        await node.tasks.cancel(f"t{number}", reason)
    await until(world, lambda: counters.by_task.get(("charge", "cancelled")) == 2)
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking
    await backlog_becomes(node.tasks, TaskBacklog("charge", 0, STARTS - 2))
    note = decode_note(await node.tasks.row("t0"))
    assert note is not None
    assert note.given_back >= 1
    assert await node.tasks.row("t3") is None
