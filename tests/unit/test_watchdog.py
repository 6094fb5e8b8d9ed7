"""The watchdog of an event loop: it names what blocks the loop, and where; a loop that moves it leaves alone."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping

import pytest

from aether.system.watchdog import Watchdog

SILENT_S = 0.05
BLOCKS_S = 0.3


def sleeps() -> None:
    time.sleep(BLOCKS_S)


def computes() -> None:
    until_s = time.monotonic() + BLOCKS_S
    while time.monotonic() < until_s:
        sum(range(100))


def searches() -> None:
    """One call of C that keeps the interpreter's lock."""
    length, began_s = 20, time.monotonic()
    while time.monotonic() - began_s < BLOCKS_S:
        re.match(r"(a+)+$", "a" * length + "b")
        length += 1


HANDLER = {"actor": "account/a"}


async def silences(
    block: object, caplog: pytest.LogCaptureFixture, doing: Mapping[str, str] = HANDLER
) -> list[logging.LogRecord]:
    noticed: list[float] = []
    with caplog.at_level(logging.WARNING), Watchdog(SILENT_S, lambda: doing, noticed.append):
        await asyncio.sleep(0)
        if callable(block):
            block()
        while callable(block) and not noticed:  # noqa: ASYNC110 - the watchdog's word is what is waited for
            await asyncio.sleep(0.001)
    return [record for record in caplog.records if record.name == "aether.watchdog"]


@pytest.mark.parametrize("block", [sleeps, computes])
async def test_what_blocks_is_named_while_it_blocks(block: object, caplog: pytest.LogCaptureFixture) -> None:
    first, *_, last = await silences(block, caplog)
    assert "is silent" in first.message
    assert first.__dict__["actor"] == "account/a"
    assert f"in {getattr(block, '__name__', '')}" in first.__dict__["at"]
    assert "was silent" in last.message
    assert float(last.__dict__["silent_s"]) >= SILENT_S


async def test_a_call_that_keeps_the_interpreters_lock_is_named_when_it_returns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = await silences(searches, caplog)
    assert any(record.__dict__.get("actor") == "account/a" for record in records)


async def test_a_handler_that_has_ended_is_not_blamed_when_the_process_stood_still(
    caplog: pytest.LogCaptureFixture,
) -> None:
    records = await silences(searches, caplog, {"after": "overdue of book/1"})
    still = [record for record in records if "stood still" in record.message]
    assert all("while no handler ran" in record.message and "after" not in record.__dict__ for record in still)
    assert still, [record.message for record in records]


async def test_a_loop_that_moves_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    assert await silences(None, caplog) == []
