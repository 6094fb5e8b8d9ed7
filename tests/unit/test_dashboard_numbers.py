"""The numbers of the dashboard's overview: rates, latencies and gaps from readings, and who is asked how often."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from aether.core.cluster.overview import Overview
from aether.core.metrics.histogram import Histogram
from aether.core.metrics.readings import Readings
from aether.gateway.dashboard.numbers import (
    ASK_AFTER_S,
    KEPT,
    Numbers,
    Reading,
    StateReads,
    intervals,
    recent,
    state_reads,
)
from tests.support.actors import Account
from tests.support.gateway import served


def reading(at_s: float, waiting: int = 0, **outcomes: int) -> Reading:
    """A reading of one command: so many of each outcome so far, each of them 2 ms long."""
    found, took = Readings(), Histogram()
    for outcome, count in outcomes.items():
        found.put("aether_commands_total", count, "account", "deposit", outcome)
        for _ in range(count):
            took.observe(0.002)
    found.put_histogram("aether_command_seconds", took, "account", "deposit")
    found.put("aether_waiting_commands", waiting)
    return Reading(at_s, datetime.now(UTC), Overview([], []), found, ())


def test_an_interval_has_rates_per_second_and_latencies_in_milliseconds() -> None:
    last = intervals([reading(0, ok=10), reading(2, 3, ok=30, rejected=4, failed=1, timed_out=1)])[-1]
    assert last is not None
    assert (last.commands, last.refusals, last.failures, last.waiting) == (13.0, 2.0, 1.0, 3)
    assert last.p50_ms is not None
    assert 1 <= last.p50_ms <= 2.5


def test_where_no_viewer_looked_is_a_gap_and_what_happened_there_is_no_peak() -> None:
    found = intervals([reading(0, ok=1), reading(2, ok=3), reading(30, ok=5_000), reading(32, ok=5_002)])
    assert len(found) == KEPT - 1
    rates = [None if one is None else one.commands for one in found[-16:]]
    assert rates == [None, 1.0, *[None] * 13, 1.0]
    assert intervals([reading(0, ok=1)]) == [None] * (KEPT - 1)


def test_no_command_has_no_latency() -> None:
    last = intervals([reading(0, ok=3), reading(2, ok=3)])[-1]
    assert last is not None
    assert (last.commands, last.p50_ms, last.p99_ms) == (0, None, None)


def test_the_last_minute_has_what_ended_in_it() -> None:
    rows = recent([reading(0, ok=100), reading(50, ok=110), reading(100, ok=120, failed=5)])
    assert [(row.kind, row.command, row.count, row.failed, row.rate) for row in rows] == [
        ("account", "deposit", 15, 5, 0.3)
    ]
    assert recent([reading(0, ok=100)]) == []


def test_reads_of_states_are_no_commands() -> None:
    readings = [reading(0, ok=1), reading(2, ok=3)]
    for one, ok in zip(readings, (1, 5), strict=True):
        one.readings.put("aether_commands_total", ok, "account", "aether.state", "ok")
        one.readings.put("aether_commands_total", ok - 1, "account", "aether.state", "timed_out")
        took = Histogram()
        for _ in range(10 * ok):
            took.observe(4)
        one.readings.put_histogram("aether_command_seconds", took, "account", "aether.state")
    assert [(row.command, row.count) for row in recent(readings)] == [("deposit", 2)]
    assert state_reads(readings) == StateReads(8, 4)
    assert state_reads(readings[:1]) == StateReads(0, 0)
    last = intervals(readings)[-1]
    assert last is not None
    assert (last.commands, last.failures) == (1.0, 0.0)
    assert last.p99_ms is not None
    assert last.p99_ms < 3


async def test_a_reading_goes_on_when_the_page_that_asked_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as one:
        may_answer, metrics = asyncio.Event(), one.pool.client.untyped.metrics

        async def slow(*, deadline_s: float | None = None) -> object:
            await may_answer.wait()
            return await metrics(deadline_s=deadline_s)

        monkeypatch.setattr(one.pool.client.untyped, "metrics", slow)
        numbers = Numbers(one.pool.client.untyped, 5.0)
        page = asyncio.ensure_future(numbers.latest())
        await asyncio.sleep(0)
        page.cancel()
        await asyncio.wait([page])
        may_answer.set()
        await asyncio.gather(*numbers._background.tasks)
        assert len(numbers._kept) == 1
        numbers.close()


async def test_workers_are_asked_once_however_many_look(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as one:
        await one.pool.client.actor(Account, "a").deposit(1)
        asked = 0
        untyped = one.pool.client.untyped
        metrics = untyped.metrics

        async def counted(*, deadline_s: float | None = None) -> object:
            nonlocal asked
            asked += 1
            return await metrics(deadline_s=deadline_s)

        monkeypatch.setattr(untyped, "metrics", counted)
        numbers = Numbers(untyped, 5.0)
        found = await asyncio.gather(*(numbers.readings() for _ in range(20)))
        assert asked == 1
        assert {len(readings) for readings in found} == {1}
        last = found[0][-1]
        assert last.readings.value("aether_commands_total", "account", "deposit", "ok") == 1
        numbers._kept[-1] = replace(last, at_s=last.at_s - 2 * ASK_AFTER_S)
        assert len(await numbers.readings()) == 1, "what is there is shown while the next one is asked for"
        await asyncio.gather(*numbers._background.tasks)
        assert (asked, len(await numbers.readings())) == (2, 2)
        numbers.close()
