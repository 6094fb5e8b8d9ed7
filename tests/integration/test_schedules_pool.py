"""Schedules in a real pool: ticks that are due while every worker is down, while workers die, while the server dies.

The histories are the judge: the nth tick of a schedule that is run again and again is there once, and not before its
time.
"""

import asyncio
import os
import random
import signal
from datetime import UTC, datetime, timedelta

import pytest

import aether
from aether import ActorId, InvalidCommand
from aether.config import ConnectionConfig, StorageConfig
from aether.connecting import connect_untyped
from aether.jetstream.adapters import connect_worker
from aether.system.clock import SystemClock
from tests.support.alarms import Alarm, model
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool
from tests.support.raw_history import RawEvent, raw_events

MODEL = "tests.support.alarms:model"
ALARMS = 12
GUARD_S = 60
EARLY = timedelta(milliseconds=2)
"""The time of an event is up to a millisecond early."""


def rang(events: list[RawEvent]) -> list[datetime]:
    return [event.time for event in events if event.type == "Rang"]


async def until_rung(url: str, namespace: str, key: str, count: int) -> list[RawEvent]:
    """The history of an alarm, once it has rung so often."""
    async with asyncio.timeout(GUARD_S):
        while True:
            stored = await raw_events(url, namespace)
            events = next((one for one in stored.values() if one[0].source == f"/{namespace}/alarm/{key}"), [])
            if len(rang(events)) >= count:
                return events
            await asyncio.sleep(0.05)


def check_each_tick_once(events: list[RawEvent], seconds: float) -> None:
    """Of an alarm that has one schedule, which makes up for all ticks."""
    since = next(event.time for event in events if event.type == "Set")
    ticks = [event for event in events if event.type == "Rang"]
    for number, tick in enumerate(ticks, 1):
        due = since + timedelta(seconds=seconds) * number
        assert datetime.fromisoformat(str(tick.data["due"])) == due
        assert tick.time + EARLY >= due


async def test_ticks_that_were_due_while_every_worker_was_down_are_run() -> None:
    namespace = fresh_namespace()
    with NatsServer() as server:
        options = ["--workers", "2", "--nats", server.url, "--namespace", namespace]
        with Pool(MODEL, *options):
            async with aether.connect(server.url, model=model, namespace=namespace) as client:
                await client.actor(Alarm, "once", deadline_s=30).once("x", 1)
                await client.actor(Alarm, "all", deadline_s=30).often("x", 1, "all")
                await client.actor(Alarm, "gone", deadline_s=30).once("x", 3600)
                await client.actor(Alarm, "gone", deadline_s=30).cancel("x")
        opening = connect_worker(ConnectionConfig(url=server.url), namespace, StorageConfig(), SystemClock())
        async with opening as connection, asyncio.timeout(GUARD_S):
            while await connection.timers.armed():  # noqa: ASYNC110 - the server gives them out
                await asyncio.sleep(0.05)
        with Pool(MODEL, *options):
            assert len(rang(await until_rung(server.url, namespace, "once", 1))) == 1
            check_each_tick_once(await until_rung(server.url, namespace, "all", 4), 1)
            async with aether.connect(server.url, model=model, namespace=namespace) as client:
                assert await client.actor(Alarm, "gone", deadline_s=30).count() == 0


async def test_killed_workers_neither_lose_nor_repeat_a_tick() -> None:
    namespace, chance = fresh_namespace(), random.Random(17)  # noqa: S311 - no secret
    with (
        NatsServer() as server,
        Pool(MODEL, "--workers", "3", "--nats", server.url, "--namespace", namespace) as pool,
    ):
        async with aether.connect(server.url, model=model, namespace=namespace) as client:
            for n in range(ALARMS):
                await client.actor(Alarm, f"k{n}", deadline_s=30).often("x", 1, "all")
                await client.actor(Alarm, f"k{n}", deadline_s=30).other("y", 1, f"other-{n}", 2)
            for killed in range(3):
                pids = pool.worker_pids(3 + killed)
                os.kill(pids[chance.randrange(3)], signal.SIGKILL)
                await until_rung(server.url, namespace, "k0", 2 * killed + 2)
            for n in range(ALARMS):
                check_each_tick_once(await until_rung(server.url, namespace, f"k{n}", 8), 1)
                await until_rung(server.url, namespace, f"other-{n}", 3)


async def test_a_server_that_dies_neither_loses_nor_repeats_a_tick() -> None:
    namespace = fresh_namespace()
    with NatsServer() as server:
        variables = {**os.environ, "AETHER_NATS_STORE": str(server.store)}
        options = ["--workers", "2", "--nats", server.url, "--namespace", namespace, "--sync", "barrier"]
        with Pool(MODEL, *options, variables=variables):
            async with aether.connect(server.url, model=model, namespace=namespace) as client:
                for n in range(ALARMS):
                    await client.actor(Alarm, f"k{n}", deadline_s=30).often("x", 1, "all")
                for killed in range(3):
                    server.kill()
                    server.start()
                    await until_rung(server.url, namespace, "k0", 2 * killed + 2)
                for n in range(ALARMS):
                    check_each_tick_once(await until_rung(server.url, namespace, f"k{n}", 8), 1)


async def test_ticks_that_were_due_while_the_server_was_down_are_run_in_the_order_of_their_times() -> None:
    namespace = fresh_namespace()
    with NatsServer() as server:
        options = ["--workers", "1", "--nats", server.url, "--namespace", namespace]
        with Pool(MODEL, *options):
            async with aether.connect(server.url, model=model, namespace=namespace) as client:
                alarm = client.actor(Alarm, "a", deadline_s=30)
                for number in reversed(range(30)):
                    await alarm.once(f"x{number}", 4 + number / 10)
                due = datetime.now(UTC) + timedelta(seconds=7)
        server.kill()
        while datetime.now(UTC) < due:  # noqa: ASYNC110 - it is down when they are due
            await asyncio.sleep(0.05)
        server.start()
        with Pool(MODEL, *options):
            events = await until_rung(server.url, namespace, "a", 30)
    names = [event.data["name"] for event in events if event.type == "Rang"]
    assert names == [f"x{number}" for number in range(30)]


async def test_a_schedule_whose_kind_is_gone_is_cancelled_for_good() -> None:
    namespace, alarm = fresh_namespace(), ActorId("alarm", "k")
    with NatsServer() as server:
        options = ["--workers", "2", "--nats", server.url, "--namespace", namespace]
        with Pool(MODEL, *options):
            async with aether.connect(server.url, model=model, namespace=namespace) as client:
                await client.actor(Alarm, "k", deadline_s=30).often("x", 1)
        with Pool("tests.support.transfers:model", *options, variables={**os.environ, "AETHER_TELL_ATTEMPTS_MAX": "1"}):
            async with connect_untyped(server.url, namespace=namespace) as untyped, asyncio.timeout(GUARD_S):
                while not [one async for one in untyped.dead_letters("alarm", deadline_s=30)]:  # noqa: ASYNC110 - it ticks
                    await asyncio.sleep(0.05)
                assert (await untyped.cancel_schedule(alarm, "x", deadline_s=30)).command == "ring"
                while await untyped.schedules():  # noqa: ASYNC110 - the commit is relayed to the timers
                    await asyncio.sleep(0.05)
                with pytest.raises(InvalidCommand, match="has no schedule 'x'"):
                    await untyped.cancel_schedule(alarm, "x", deadline_s=30)
        with Pool(MODEL, *options):
            opening = aether.connect(server.url, model=model, namespace=namespace)
            async with opening as client, asyncio.timeout(GUARD_S):
                assert await client.actor(Alarm, "k", deadline_s=30).once("x", 3600) == 2
                while [one.name for one in await client.untyped.schedules()] != ["x"]:  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(0.05)
