"""Background tasks: none ends unnoticed, and each goes by its policy."""

import asyncio
import logging

import pytest

from aether import background
from aether.background import Background
from aether.core.backoff import Backoff

AT_ONCE = Backoff(first_s=0.0001, cap_s=0.0002)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long before a task is started again."""
    monkeypatch.setattr(background, "AGAIN", AT_ONCE)


@pytest.mark.parametrize("error", [LookupError("a bug"), SystemExit(1), asyncio.CancelledError(), None])
async def test_what_should_never_end_is_started_again_however_it_ends(
    error: BaseException | None, caplog: pytest.LogCaptureFixture
) -> None:
    began: list[int] = []
    goes_on = asyncio.Event()

    async def work() -> None:
        began.append(1)
        if len(began) == 3:
            goes_on.set()
            await asyncio.Event().wait()
        if error is not None:
            raise error

    tasks = Background()
    task = tasks.forever("counting", work)
    await asyncio.wait_for(goes_on.wait(), 5)
    assert not task.done()
    assert [record.__dict__["task"] for record in caplog.records] == ["counting", "counting"]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    await tasks.stop()
    assert task.cancelled()
    assert len(began) == 3


async def test_the_end_of_a_vital_task_is_told() -> None:
    async def work() -> None:
        raise LookupError("a bug")

    told: list[BaseException] = []
    tasks = Background(told.append)
    await asyncio.wait((tasks.vital("beating", work()),))
    await asyncio.sleep(0)
    assert [type(error) for error in told] == [LookupError]
    resting = tasks.vital("resting", asyncio.Event().wait())
    await tasks.stop()
    assert resting.cancelled()
    assert len(told) == 1


async def test_a_short_task_that_fails_is_logged_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    async def work() -> None:
        raise LookupError("a bug")

    tasks = Background()
    task = tasks.once("saving", work())
    await asyncio.wait((task,))
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.__dict__["task"] == "saving"
    assert record.exc_info is not None
    assert not tasks.tasks
