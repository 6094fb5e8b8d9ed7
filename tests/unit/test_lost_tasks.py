"""Starts of tasks that the model has not, over a server by hand: what is taken, what goes back, and for how long."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from aether.errors import Unavailable
from aether.ports import TaskBacklog, TaskClaim
from aether.runtime import unknown_tasks
from aether.runtime.unknown_tasks import BACK_S, UnknownTasks
from aether.sends import StartTask, encode_send
from tests.support.errands import model
from tests.support.task_server import TaskServer, TaskSide, claim_of, start_of

NO_TIME = 1e9


@pytest.fixture
async def side() -> TaskSide:
    return TaskSide(model)


@pytest.fixture
async def look(side: TaskSide, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], None]]:
    """Begins to look."""
    for setting in ("FIRST_LOOK_S", "LOOK_EVERY_S"):
        monkeypatch.setattr(unknown_tasks, setting, 0.0)
    looking: list[asyncio.Task[None]] = []
    yield lambda: looking.append(asyncio.create_task(UnknownTasks(side.worker, {"echo"}).run()))
    for one in looking:
        one.cancel()
        with suppress(asyncio.CancelledError):
            await one
    if side.server.receive is not None:
        assert side.server.stopped > 0, "what is cancelled is followed for ever"


async def looks(server: TaskServer, more: int) -> None:
    """So many looks begin from now on."""
    wanted = server.looked + more
    async with asyncio.timeout(10):
        while server.looked < wanted:  # noqa: ASYNC110 - it looks
            await asyncio.sleep(0)


def start(number: int) -> StartTask:
    return start_of("charge", id=f"t{number}")


def claims(*numbers: int, deliveries: int = 1) -> list[TaskClaim]:
    return [claim_of(start(one), deliveries, sequence=one) for one in numbers]


def wait(server: TaskServer, *numbers: int) -> None:
    """So many starts of a lost task wait."""
    server.backlogs = [TaskBacklog("charge", len(numbers), 0), TaskBacklog("echo", 9, 9), TaskBacklog("mail", 0, 0)]
    server.starts["charge"] = [encode_send(start(one)) for one in numbers]


async def test_it_looks_again_later_than_at_first(
    side: TaskSide, look: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown_tasks, "LOOK_EVERY_S", NO_TIME)
    look()
    await looks(side.server, 1)
    for _ in range(50):
        await asyncio.sleep(0)
    assert side.server.looked == 1


async def test_it_looks_again_after_the_server_was_away(side: TaskSide, look: Callable[[], None]) -> None:
    side.server.backlog_errors = [Unavailable("no server")] * 2
    wait(side.server, 1)
    look()
    await looks(side.server, 5)
    assert side.server.receive is not None


async def test_what_is_cancelled_is_followed_while_such_starts_wait(
    side: TaskSide, look: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    wait(side.server, 1)
    look()
    await looks(side.server, 3)
    assert side.server.stopped == 0
    side.server.backlogs = []
    await looks(side.server, 3)
    assert side.server.stopped == 1
    assert side.server.opened == []
    wait(side.server, 1)
    await looks(side.server, 3)
    said = [one.__dict__["task"] for one in caplog.records if "the model does not have" in one.getMessage()]
    assert said == ["charge", "charge"], "once each time that they begin to wait"


async def test_the_cancelled_ones_end_and_the_others_go_back_which_is_no_attempt(
    side: TaskSide, look: Callable[[], None]
) -> None:
    server = side.server
    wait(server, 1, 2, 3)
    server.starts["charge"].insert(0, b"of a later version")
    server.give("charge", claims(1)[0]._replace(payload=b"of a later version", sequence=8), *claims(2, deliveries=99))
    server.arrived = claims(3)
    look()
    await looks(server, 2)
    assert server.receive is not None
    server.receive("t3", "operator")
    await looks(server, 3)
    assert server.said == [("again", 8, BACK_S), ("again", 2, BACK_S), ("done", 3)]
    assert server.notes["t2"].given_back == 1
    assert server.told[0]["id"] == start(3).result_id


async def test_no_more_is_taken_than_was_open(side: TaskSide, look: Callable[[], None]) -> None:
    """What is started meanwhile is for the next look."""
    server = side.server
    wait(server, 1, 2)
    server.give("charge", *claims(*range(1, 10)))
    look()
    await looks(server, 2)
    assert server.receive is not None
    server.receive("t2", "actor")
    opened = len(server.opened)
    await looks(server, 1)
    while len(server.opened) == opened:  # noqa: ASYNC110 - it looks
        await asyncio.sleep(0)
    server.backlogs = []
    await looks(server, 2)
    taken = sum(one[1] for one in server.asked)
    assert (taken, server.asked[0]) == (2, ("charge", 2, 0.0))


async def test_a_cancelled_one_that_another_worker_has_is_looked_for_until_it_ends(
    side: TaskSide, look: Callable[[], None]
) -> None:
    server = side.server
    wait(server, 1, 2, 9)
    server.backlogs = [TaskBacklog("charge", 0, 2)]
    server.give("charge", *claims(1, 2))
    look()
    await looks(server, 2)
    assert server.receive is not None
    server.receive("t2", "actor")
    server.receive("t9", "actor")
    await looks(server, 4)
    assert ("done", 2) in server.said
    server.give("charge", *claims(9))
    await looks(server, 4)
    assert ("done", 9) in server.said
