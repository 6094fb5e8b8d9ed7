"""What a pool writes to standard error: one form for the supervisor, the workers and the users' own loggers."""

import asyncio
import json
import re
from typing import Any

import aether
from tests.support.jetstream import fresh_namespace
from tests.support.nats_server import NatsServer
from tests.support.pool import Pool
from tests.support.talkative import Talker, model

MODEL = "tests.support.talkative:model"
READY = re.compile(r'"message": "2 workers ready"')
COMMANDS = ("plain", "waiting", "in_thread", "leave", "asked", "break_down")
OWN = {"from a library", "applied", "before", "after", "to a thread", "in a thread", "later", "asked"}


async def test_each_line_of_a_pool_is_json_and_those_of_handlers_name_their_command(nats_server: NatsServer) -> None:
    namespace = fresh_namespace()
    pool = Pool(MODEL, "--workers", "2", "--nats", nats_server.url, "--namespace", namespace, "--log-format", "json")
    await asyncio.to_thread(pool.wait_for, READY)
    async with aether.connect(nats_server.url, model=model, namespace=namespace) as client:
        for name in COMMANDS:
            try:
                await getattr(client.actor(Talker, "t", command_id=f"id of {name}"), name)()
            except aether.ActorFailed:
                assert name == "break_down"
    await asyncio.to_thread(pool.wait_for, re.compile('"message": "later"'))
    assert await asyncio.to_thread(pool.drain) == 0
    pool.close()
    lines: list[dict[str, Any]] = [json.loads(line) for line in pool.lines]
    assert {line["logger"] for line in lines} >= {"aether.supervisor", "aether.worker", "shop.orders"}
    own = [line for line in lines if line["logger"] == "shop.orders"]
    assert {line["message"] for line in own} == OWN
    for line in own:
        assert (line["actor"], line["command_id"]) == ("talker/t", f"id of {line['command']}")
        assert line["correlation_id"] == line["command_id"]
    failed = next(line for line in lines if line["message"] == "a handler failed")
    assert failed["exception"].endswith("ZeroDivisionError: a bug\nin two lines")
    assert not [line for line in lines if line["message"] in ("serving", "drained") and "command_id" in line]


async def test_the_level_holds_for_supervisor_and_workers(nats_server: NatsServer) -> None:
    options = ("--workers", "1", "--nats", nats_server.url, "--namespace", fresh_namespace(), "--log-level", "warning")
    pool = Pool(MODEL, *options)
    async with aether.connect(nats_server.url, model=model, namespace=options[5]) as client:
        await client.actor(Talker, "t", deadline_s=60).plain()
    assert await asyncio.to_thread(pool.drain) == 0
    pool.close()
    assert not [line for line in pool.lines if line.startswith("aether: ") or " INFO " in line]


async def test_a_level_that_is_none_is_a_configuration_error() -> None:
    pool = Pool(MODEL, "--log-level", "loud")
    assert await asyncio.to_thread(pool.process.wait) == 4
    pool.close()
    said = "aether: log_level is one of debug, info, warning, error, critical, not 'loud'\n"
    assert pool.lines == [said]
