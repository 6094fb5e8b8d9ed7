"""The watchdog of an event loop: it names what blocks the loop, and where; a loop that moves it leaves alone."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from aether.system.watchdog import Watchdog

SILENT_S = 0.2
BLOCKS_S = 0.8


def sleeps() -> None:
    time.sleep(BLOCKS_S)


def computes() -> None:
    until_s = time.monotonic() + BLOCKS_S
    while time.monotonic() < until_s:
        sum(range(100))


@cache
def long_search() -> str:
    """What takes one call of C long enough to search, with the interpreter's lock kept."""
    text, took_s = "a" * 20 + "b", 0.0
    while took_s < BLOCKS_S:
        text, began_s = "a" + text, time.monotonic()
        search(text)
        took_s = time.monotonic() - began_s
    return text


def search(text: str) -> None:
    re.match(r"(a+)+$", text)


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
    text = long_search()
    records = await silences(lambda: search(text), caplog)
    assert any(record.__dict__.get("actor") == "account/a" for record in records)


async def test_a_handler_that_has_ended_is_not_blamed_when_the_process_stood_still(
    caplog: pytest.LogCaptureFixture,
) -> None:
    text = long_search()
    records = await silences(lambda: search(text), caplog, {"after": "overdue of book/1"})
    still = [record for record in records if "stood still" in record.message]
    assert all("while no handler ran" in record.message and "after" not in record.__dict__ for record in still)
    assert still, [record.message for record in records]


async def test_an_idle_loop_is_woken_twice_in_the_time_after_which_it_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, delays, moved = asyncio.get_running_loop(), list[float](), asyncio.Event()
    call_later = loop.call_later

    def noted(delay_s: float, *call: Any, **options: Any) -> asyncio.TimerHandle:
        delays.append(delay_s)
        if len(delays) == 3:
            moved.set()
        return call_later(delay_s, *call, **options)

    monkeypatch.setattr(loop, "call_later", noted)
    with Watchdog(SILENT_S, dict, lambda silent_s: None):
        await moved.wait()
    assert set(delays) == {SILENT_S / 2}


async def test_a_second_silence_is_named_too(caplog: pytest.LogCaptureFixture) -> None:
    noticed: list[float] = []
    with caplog.at_level(logging.WARNING), Watchdog(SILENT_S, lambda: HANDLER, noticed.append):
        for count in (1, 2):
            sleeps()
            while len(noticed) < count:  # noqa: ASYNC110 - the watchdog's word is what is waited for
                await asyncio.sleep(0.001)
    said = [record.message for record in caplog.records if record.name == "aether.watchdog"]
    assert len([text for text in said if "was silent" in text]) == 2
    assert len([text for text in said if "was silent" not in text]) == 2


async def test_a_loop_that_moves_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    assert await silences(None, caplog) == []
