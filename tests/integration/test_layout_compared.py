"""Streams and buckets that others made: refused by the name of the setting, and repaired where that can be done."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aether.config import ConnectionConfig, StorageConfig
from aether.errors import ConfigError
from aether.jetstream.api import Answered, Method, stream_info
from aether.jetstream.connection.nats_connection import NatsConnection, connect
from aether.jetstream.provisioning import create_layout, repair
from aether.jetstream.stream_configs import bucket_config, configs, stream_config
from aether.names import Names
from tests.support.nats_server import NatsServer

STORAGE = StorageConfig(shards=8)
_create = Method("STREAM.CREATE.{}", Answered)
_update = Method("STREAM.UPDATE.{}", Answered)


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[NatsConnection]:
    async with connect(ConnectionConfig(url=server.url)) as connection:
        yield connection


async def make(connection: NatsConnection, config: dict[str, Any]) -> None:
    await _create(connection, config["name"], config)


async def alter(connection: NatsConnection, name: str, **settings: Any) -> None:
    config = (await stream_info(connection, name)).config or {}
    await _update(connection, name, {**config, **settings})


async def test_a_plain_bucket_is_refused_by_name_and_repaired(nats_server: NatsServer, namespace: str) -> None:
    names = Names(namespace, 8)
    plain = {"name": f"KV_{names.table}", "subjects": [f"$KV.{names.table}.>"], "max_msgs_per_subject": 1}
    async with connected(nats_server) as connection:
        await make(connection, {**plain, "storage": "file", "discard": "new", "allow_rollup_hdrs": True})
        with pytest.raises(ConfigError) as refused:
            await create_layout(connection, namespace, STORAGE)
        text = refused.value.message
        assert refused.value.setting == "allow_direct"
        for setting in ("allow_direct", "allow_msg_ttl", "subject_delete_marker_ttl"):
            assert f"{names.table}: {setting} is " in text
        assert "aether repair" in text
        found = await repair(connection, namespace, 1.0, change=True)
        assert {one.setting for one in found} == {"allow_direct", "allow_msg_ttl", "subject_delete_marker_ttl"}
        await create_layout(connection, namespace, STORAGE)
        assert await repair(connection, namespace, 1.0, change=True) == []


@pytest.mark.parametrize(
    ("place", "settings"),
    [
        ("stream", {"allow_direct": False}),
        ("stream", {"max_bytes": 10_000_000}),
        ("stream", {"max_age": 3_600_000_000_000}),
        ("stream", {"republish": None}),
        ("stream", {"subject_transform": {"src": "aether.*.evt.>", "dest": "else.{{wildcard(1)}}.>"}}),
        ("table", {"max_age": 120_000_000_000}),
        ("table", {"max_msg_size": 100}),
        ("snapshots", {"max_bytes": 1_000}),
        ("snapshots", {"allow_direct": False}),
        ("checkpoints", {"max_age": 120_000_000_000}),
    ],
    ids=str,
)
async def test_what_was_changed_by_hand_is_refused_and_changed_back(
    nats_server: NatsServer, namespace: str, place: str, settings: dict[str, Any]
) -> None:
    names = Names(namespace, 8)
    name = {
        "stream": names.stream,
        "table": f"KV_{names.table}",
        "snapshots": f"KV_{names.snapshots}",
        "checkpoints": f"KV_{names.checkpoints}",
    }[place]
    async with connected(nats_server) as connection:
        await create_layout(connection, namespace, STORAGE)
        await alter(connection, name, **settings)
        (setting,) = settings
        with pytest.raises(ConfigError, match=rf"{name}: {setting} is ") as refused:
            await create_layout(connection, namespace, STORAGE)
        assert refused.value.setting == setting
        untouched = await repair(connection, namespace, 1.0, change=False)
        assert [one.setting for one in untouched] == [setting]
        with pytest.raises(ConfigError):
            await create_layout(connection, namespace, STORAGE)
        await repair(connection, namespace, 1.0, change=True)
        await create_layout(connection, namespace, STORAGE)


async def test_what_cannot_be_changed_is_said_to_be_made_anew(nats_server: NatsServer, namespace: str) -> None:
    names = Names(namespace, 8)
    async with connected(nats_server) as connection:
        await make(connection, {**bucket_config(names.table, 1, expiring=True), "storage": "memory"})
        with pytest.raises(ConfigError, match=r"storage of .* cannot be changed: it must be made anew"):
            await create_layout(connection, namespace, STORAGE)
        found = await repair(connection, namespace, 1.0, change=True)
        assert [(one.setting, one.can_be_changed) for one in found] == [("storage", False)]


async def test_a_refusal_of_overlapping_subjects_names_the_other_stream(
    nats_server: NatsServer, namespace: str
) -> None:
    names = Names(namespace, 8)
    async with connected(nats_server) as connection:
        await make(connection, {"name": f"AUDIT_{namespace}", "subjects": [f"aether.{namespace}.evt.>"]})
        with pytest.raises(ConfigError, match=rf"{names.stream} cannot be made: .* by the stream AUDIT_{namespace}"):
            await create_layout(connection, namespace, STORAGE)


async def test_namespaces_of_earlier_and_later_versions_stay_valid(nats_server: NatsServer, namespace: str) -> None:
    names = Names(namespace, 8)
    async with connected(nats_server) as connection:
        for config in configs(names, 1):
            await make(connection, config)
        await create_layout(connection, namespace, STORAGE)
        later = f"{namespace}l"
        stream = stream_config(Names(later, 8), 1)
        lean = {key: stream[key] for key in stream if key not in ("allow_msg_schedules", "allow_msg_ttl")}
        await make(connection, {**lean, "subjects": [f"aether.{later}.evt.>"], "compression": "s2"})
        await create_layout(connection, later, STORAGE)


async def test_the_command_says_what_it_changed(nats_server: NatsServer, namespace: str) -> None:
    names = Names(namespace, 8)
    async with connected(nats_server) as connection:
        await create_layout(connection, namespace, STORAGE)
        await alter(connection, f"KV_{names.table}", max_age=120_000_000_000)

    def run(*options: str) -> list[dict[str, Any]]:
        aether = Path(sys.executable).parent / "aether"
        line = [str(aether), "repair", "--nats", nats_server.url, "--namespace", namespace, *options]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=True)
        return [json.loads(each) for each in done.stdout.splitlines()]

    row = {"stream": f"KV_{names.table}", "setting": "max_age", "found": 120_000_000_000, "needed": "0"}
    assert await asyncio.to_thread(run, "--dry-run") == [{**row, "outcome": "can be changed"}]
    assert await asyncio.to_thread(run) == [{**row, "outcome": "changed"}]
    assert await asyncio.to_thread(run) == []


async def test_a_namespace_that_is_made_beside_others_is_logged_once_it_is_not_there(
    own_server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    def said() -> list[tuple[str, str]]:
        text = "a namespace is made that was not there; this server has others"
        found = [{**one.__dict__} for one in caplog.records if one.getMessage() == text]
        return [(one["namespace"], one["others"]) for one in found]

    async with connected(own_server) as connection:
        await create_layout(connection, "people", STORAGE)
        assert said() == []
        await create_layout(connection, "persons", STORAGE)
        assert said() == [("persons", "people")]
        await create_layout(connection, "persons", STORAGE)
        assert len(said()) == 1
